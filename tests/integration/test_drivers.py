"""What each driver does when its own database fails in ways the other's does not."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from server.app import opened_database, opened_store
from server.drivers import postgres as postgres_driver
from server.drivers.sqlite import SqliteDriver, open_sqlite
from server.drivers.sqlite_log import WriteAheadLog
from server.store.driver import DatabaseUnavailableError, Transaction
from server.store.migrate import migrate
from server.wire.log import parse_log
from server.wire.messages import LogBody
from tests.support import postgres
from tests.support.server import snapshot_line
from tests.support.stores import add_device, on, open_store, rows

T0 = 1_790_000_000


@pytest.fixture
def on_postgres() -> Iterator[None]:
    with on("postgres"):
        yield


def body_of(*folks: str) -> LogBody:
    line = snapshot_line("folks", T0, [{"who": who} for who in folks])
    return parse_log(json.dumps({"node_key": "k", "data": [line]}).encode())


@asynccontextmanager
async def sqlite_in(directory: Path) -> AsyncIterator[SqliteDriver]:
    driver = open_sqlite(directory / "some.db", create=True)
    try:
        yield driver
    finally:
        await driver.close()


async def test_what_a_commit_that_failed_had_made_is_not_believed_in(tmp_path: Path, on_postgres: None) -> None:
    async with open_store(tmp_path) as store:

        async def twice_at_the_end(tx: Transaction) -> None:
            await tx.run("CREATE TABLE late_check (a BIGINT PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
            await tx.many("INSERT INTO late_check (a) VALUES (?)", [(1,), (1,)])

        await store.write(lambda tx: tx.rows("SELECT 1"))  # notices what was made before
        before = store.driver.generation
        with pytest.raises(DatabaseUnavailableError):
            await store.write(twice_at_the_end)
        assert store.driver.generation > before


async def test_a_postgres_that_lets_nobody_in_for_a_while_is_waited_for(
    tmp_path: Path, on_postgres: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        name = (await rows(store, "SELECT current_database()"))[0][0]
        monkeypatch.setattr(postgres_driver, "RETRY_SECONDS", 0.1)
        await postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        with pytest.raises(DatabaseUnavailableError):
            await store.ingest(device, body_of("ann"))
        with pytest.raises(DatabaseUnavailableError):
            await store.read(lambda tx: tx.row("SELECT 1"))
        await postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert (await asyncio.wait_for(store.ingest(device, body_of("ann")), 8)).answers == 1


async def test_what_another_process_changed_just_before_a_transaction_is_noticed_in_it(tmp_path: Path) -> None:
    async with sqlite_in(tmp_path) as driver:
        await driver.write(lambda tx: tx.run("CREATE TABLE a (b TEXT)"))
        before = driver.generation
        told: list[str] = []

        def another_is_faster(statement: str) -> None:
            if statement.startswith("BEGIN") and not told:
                told.append(statement)
                with closing(sqlite3.connect(tmp_path / "some.db")) as other, other:
                    other.execute("ALTER TABLE a ADD COLUMN c TEXT")

        driver._connection.set_trace_callback(another_is_faster)

        async def work(tx: Transaction) -> tuple[int, list[str]]:
            return driver.generation, (await tx.select("SELECT * FROM a"))[0]

        generation, columns = await driver.write(work)
        assert told and columns == ["b", "c"]
        assert generation > before


async def test_rows_are_not_set_aside_because_the_file_is_damaged(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await store.ingest(device, body_of("ann"))
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'muster_instants'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)
    async with open_store(tmp_path) as store:
        with pytest.raises(DatabaseUnavailableError):
            await store.ingest(device, body_of("bob"))
        assert await rows(store, "SELECT * FROM rejects") == []


class _GivenUp(Future[Any]):
    """Whoever waits goes at the moment it is asked whether somebody does."""

    def done(self) -> bool:
        known = super().done()
        self.cancel()
        return known


async def test_a_request_given_up_at_the_moment_its_commit_fails_does_not_end_the_writer(tmp_path: Path) -> None:
    async with sqlite_in(tmp_path) as driver:
        ready = threading.Event()

        async def fills_the_disk(tx: Transaction) -> None:
            ready.wait(5)
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full

        first = asyncio.create_task(driver.write(fills_the_disk))
        await asyncio.sleep(0)
        driver._jobs.put((fills_the_disk, _GivenUp()))
        ready.set()
        with pytest.raises(DatabaseUnavailableError):
            await first
        assert await asyncio.wait_for(driver.write(lambda tx: tx.rows("SELECT 1")), 5) == [(1,)]


async def test_a_log_that_cannot_be_begun_anew_does_not_end_the_writer(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    async with sqlite_in(tmp_path) as driver:
        await driver.write(lambda tx: tx.run("CREATE TABLE a (b TEXT)"))
        log = WriteAheadLog(file, most_bytes=0)
        assert log.size() > 0
        (tmp_path / "other.db").write_bytes(b"no database" * 100)
        with closing(sqlite3.connect(tmp_path / "other.db")) as damaged:
            log.keep_short(damaged, 5)


async def test_a_command_waits_longer_for_a_busy_file_than_a_server_lets_devices_wait(tmp_path: Path) -> None:
    url, patience = f"sqlite:///{tmp_path / 'test.db'}", "PRAGMA busy_timeout"
    async with opened_database(url, create=True) as database:
        await migrate(database.driver, time.time())
        assert await database.driver.write(lambda tx: tx.rows(patience)) == [(60_000,)]
    async with opened_store(url, None, serves=True) as (store, _):
        assert await store.write(lambda tx: tx.rows(patience)) == [(5_000,)]
