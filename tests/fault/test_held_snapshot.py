"""A reader that keeps one view of the database for minutes does not stop what comes in."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from server.drivers.sqlite import open_sqlite
from server.drivers.sqlite_log import WAL_BYTES, WriteAheadLog
from server.store.driver import Transaction
from tests.fault.conftest import Made
from tests.support import postgres
from tests.support.load import Load, devices_of
from tests.support.server import Peer, Server, snapshot_line

READ = ("SELECT COUNT(*) FROM held_history", "SELECT COUNT(*) FROM held", "SELECT COUNT(*) FROM posture")
LATE_SECONDS = 5.0
"""How late an answer may be while another's table waits for its readers."""


@contextmanager
def snapshot(database: Made) -> Iterator[None]:
    """Hold what ``READ`` has read, as an export or somebody's psql would."""
    if database.kind == "sqlite":
        connection = sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            connection.execute("BEGIN")
            first = [connection.execute(statement).fetchall() for statement in READ]
            yield
            assert [connection.execute(statement).fetchall() for statement in READ] == first
        finally:
            connection.close()
        return
    with postgres.held(database.url, *READ, isolation="repeatable_read", readonly=True):
        yield


@pytest.mark.parametrize("seconds", [6, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_a_snapshot_is_held_while_devices_send(database: Made, seconds: int) -> None:
    server = Server(database.url)
    wide = Peer(server, database.secret)
    wide.enroll(system_info={"uuid": "uuid-wide", "hostname": "wide"})
    now = int(time.time())
    assert wide.snapshot("held", now - 60, [{"a": "1"}]) == {}
    load = Load(devices_of(server, database.secret, 4, filler="x" * 4000))
    with load.going():
        with snapshot(database):
            end = time.monotonic() + seconds
            more = snapshot_line("held", now - 30, [{"a": "1", "b": "2"}])
            answer = wide_answer(wide, more)
            # On Postgres no column can be added while somebody reads the table; the device keeps its data.
            assert list(answer) == ([] if database.kind == "sqlite" else ["error"])
            before = load.acknowledged
            load.until(lambda: time.monotonic() > end, seconds + 30)
            assert load.acknowledged > before + 10 * seconds
        load.until(lambda: wide_answer(wide, more) == {}, 60)
    assert load.refused == 0
    assert max(device.slowest for device in load.devices) < LATE_SECONDS
    load.check(database.url)
    if database.kind == "sqlite":
        the_log_is_bounded(Path(database.url.removeprefix("sqlite:///")), load)
    assert server.stop() == 0


def wide_answer(peer: Peer, line: dict[str, object]) -> dict[str, object]:
    body = json.dumps({"node_key": peer.node_key, "log_type": "result", "data": [line]}).encode()
    value: dict[str, object] = json.loads(peer.server.request("POST", "/api/osquery/log", body)[1])
    return value


def the_log_is_bounded(path: Path, load: Load) -> None:
    """With the reader gone, the write-ahead log is used again from its start and cut to its measure."""
    log = path.with_name(f"{path.name}-wal")
    before = log.stat().st_size
    with load.going():
        load.more(400)
    assert log.stat().st_size <= max(min(before, WAL_BYTES), 8 * 2**20)


async def test_readers_that_overlap_do_not_make_the_log_grow_for_ever(tmp_path: Path) -> None:
    path, most, stop = tmp_path / "t.db", 2**20, threading.Event()

    def read(begin: float) -> None:
        """Read for a tenth of a second again and again; there is always somebody who does."""
        stop.wait(begin)
        while not stop.is_set():
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN")
            connection.execute("SELECT COUNT(*) FROM t").fetchall()
            stop.wait(0.1)
            connection.close()

    async def write(number: int, tx: Transaction) -> None:
        await tx.run("UPDATE t SET filler = ?", (f"{number:8}" * 12_500,))

    driver = open_sqlite(path, create=True)
    driver._log = WriteAheadLog(path, most)
    readers = [threading.Thread(target=read, args=(number / 30,)) for number in range(3)]
    try:
        await driver.write(lambda tx: tx.run("CREATE TABLE t (filler TEXT)"))
        await driver.write(lambda tx: tx.run("INSERT INTO t VALUES ('')"))
        for reader in readers:
            reader.start()
        longest = 0
        for number in range(150):
            await driver.write(partial(write, number))
            longest = max(longest, WriteAheadLog(path).size())
        assert longest < 2 * most, "fifteen megabytes were written"
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        await driver.close()
