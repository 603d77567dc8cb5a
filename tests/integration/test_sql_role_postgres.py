"""The role of users' SQL where Muster's own role may do little, or an administrator has made another."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from server.app import opened_database
from server.drivers.postgres_role import role_of
from server.store.ask import SqlRefusedError
from server.store.driver import NotReadyError
from tests.support import postgres
from tests.support.server import muster


class Owned:
    """A database that belongs to a role of its own."""

    def __init__(self, role: str, url: str) -> None:
        self.role = role
        self.owner = _as(url, role)
        self.reader = role_of(urlsplit(url).path.lstrip("/"))


def _as(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:pw@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(params=["CREATEROLE", "NOCREATEROLE"])
def owned(request: pytest.FixtureRequest) -> Iterator[Owned]:
    role = f"muster_test_{secrets.token_hex(4)}"
    asyncio.run(postgres.run(f"CREATE ROLE {role} LOGIN PASSWORD 'pw' {request.param}"))
    url = postgres.new_database_now(f"{postgres.BYTE_ORDER} OWNER {role}")
    found = Owned(role, url)
    try:
        yield found
    finally:
        postgres.drop_database_now(url)
        asyncio.run(postgres.run(f"DROP ROLE IF EXISTS {role}_reader"))
        asyncio.run(postgres.run(f"DROP ROLE {role}"))


@asynccontextmanager
async def reader(owned: Owned, options: str = "") -> AsyncIterator[str]:
    """The URL of a role that an administrator makes."""
    await postgres.run(f"CREATE ROLE {owned.role}_reader LOGIN PASSWORD 'pw' {options}")
    yield _as(owned.owner, f"{owned.role}_reader")


@pytest.mark.parametrize("owned", ["CREATEROLE"], indirect=True)
async def test_no_superuser_is_needed_and_no_reader_stops_the_writers(owned: Owned) -> None:
    await asyncio.to_thread(muster, "init", "--database", owned.owner)
    async with opened_database(owned.owner) as database:
        asked = asyncio.create_task(
            database.asker.ask(
                "SELECT pg_advisory_lock(1836413812), pg_advisory_lock_shared(0), pg_sleep(20) FROM days RIGHT JOIN"
                " (SELECT COUNT(*) FROM devices) d ON true",
                limit=1,
                seconds=3,
            )
        )
        while not await postgres.run(
            f"SELECT 1 FROM pg_stat_activity WHERE usename = '{owned.reader}' AND wait_event = 'PgSleep'"
        ):
            assert not asked.done()
        began = time.monotonic()
        await database.driver.write(lambda tx: tx.run("INSERT INTO muster_meta (key, value) VALUES ('x', 'y')"))
        assert not asked.done()
        assert time.monotonic() - began < 2
        with pytest.raises(SqlRefusedError, match="longer than 3 seconds"):
            await asked
        for statement in (
            "SELECT * FROM muster_tokens",
            "SELECT 1 INTO TEMP x",
            f"SELECT set_config('role', '{owned.role}', false)",
        ):
            with pytest.raises(SqlRefusedError):
                await database.asker.ask(statement, limit=1, seconds=5)
    granted = await postgres.run(
        f"SELECT has_database_privilege('{owned.reader}', '{urlsplit(owned.owner).path[1:]}', 'TEMP')", owned.owner
    )
    assert granted == [(False,)]


@pytest.mark.parametrize("owned", ["NOCREATEROLE"], indirect=True)
async def test_what_an_administrator_has_to_do_is_said_and_helps(owned: Owned) -> None:
    await asyncio.to_thread(muster, "init", "--database", owned.owner)
    ask = ("sql", "--database", owned.owner, "--json", "SELECT COUNT(*) FROM devices")
    refused = await asyncio.to_thread(muster, *ask, check=False)
    assert refused.returncode == 4
    assert f"ALTER ROLE {owned.role} CREATEROLE" in refused.stderr
    assert "CREATE ROLE muster_reader LOGIN" in refused.stderr
    assert "--sql-database" in refused.stderr
    async with reader(owned) as url:
        done = await asyncio.to_thread(muster, *ask, "--sql-database", url)
    assert json.loads(done.stdout)["rows"] == [[0]]
    await postgres.run(f"ALTER ROLE {owned.role} CREATEROLE")
    assert json.loads((await asyncio.to_thread(muster, *ask)).stdout)["rows"] == [[0]]


@pytest.mark.parametrize("owned", ["NOCREATEROLE"], indirect=True)
@pytest.mark.parametrize(
    ("mischief", "says"),
    [
        ("ALTER ROLE {reader} SUPERUSER", "superuser"),
        ("ALTER ROLE {reader} CREATEDB", "roles or databases"),
        ("GRANT pg_read_all_data TO {reader}", "member of another role"),
        ("GRANT SELECT ON muster_tokens TO {reader}", "muster_tokens"),
        ("GRANT UPDATE (value) ON muster_meta TO {reader}", "muster_meta"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC", "muster_"),
    ],
)
async def test_a_role_that_may_do_more_is_not_used(owned: Owned, mischief: str, says: str) -> None:
    await asyncio.to_thread(muster, "init", "--database", owned.owner)
    async with reader(owned) as url:
        await postgres.run(mischief.format(reader=f"{owned.role}_reader"), postgres.url_of(urlsplit(url).path[1:]))
        async with opened_database(owned.owner, sql_database=url) as database:
            with pytest.raises(NotReadyError, match=says):
                await database.asker.ask("SELECT 1", limit=1, seconds=5)
    async with opened_database(owned.owner, sql_database=owned.owner) as database:
        with pytest.raises(NotReadyError, match="could do more"):
            await database.asker.ask("SELECT 1", limit=1, seconds=5)


async def test_many_processes_at_once_make_one_role() -> None:
    url = await postgres.new_database()
    try:
        await asyncio.to_thread(muster, "init", "--database", url)
        done = await asyncio.gather(
            *(
                asyncio.to_thread(muster, "sql", "--database", url, "--json", "SELECT COUNT(*) FROM devices")
                for _ in range(4)
            )
        )
        assert [json.loads(one.stdout)["rows"] for one in done] == [[[0]]] * 4
    finally:
        await postgres.drop_database(url)


async def test_two_databases_of_a_cluster_have_roles_apart() -> None:
    urls = [await postgres.new_database() for _ in range(2)]
    names = [urlsplit(url).path[1:] for url in urls]
    try:
        for url in urls:
            await asyncio.to_thread(muster, "init", "--database", url)
            await asyncio.to_thread(muster, "sql", "--database", url, "SELECT 1")
        found = await postgres.run(f"SELECT has_table_privilege('{role_of(names[0])}', 'devices', 'SELECT')", urls[1])
        assert found == [(False,)]
        await postgres.drop_database(urls[0])
        async with opened_database(urls[1]) as database:
            assert (await database.asker.ask("SELECT 1", limit=1, seconds=9)).rows == [[1]]
    finally:
        for url in urls:
            await postgres.drop_database(url)


def test_names_of_roles() -> None:
    assert role_of("fleet") == "muster_sql_fleet"
    assert len(role_of("x" * 63).encode()) <= 63
    assert role_of("x" * 62 + "a") != role_of("x" * 62 + "b")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/x", "cannot be opened"),
        ("postgresql://u:s3cr/et@127.0.0.1:1/x", "URL cannot be read"),
        ("postgresql://u:s3cret@127.0.0.1:port/x", "URL cannot be read"),
        ("postgresql://u:s3cret@no-such-host.invalid/x", "cannot be opened"),
        ("postgresqll://u:s3cret@127.0.0.1/x", "u:***@127.0.0.1"),
        ("postgresql:/u:s3cret@127.0.0.1/x", "u:***@127.0.0.1"),
        ("u:s3cret:@s3cret@127.0.0.1/x", "'u:***@127.0.0.1"),
    ],
)
@pytest.mark.parametrize("command", [("init",), ("sql", "SELECT 1"), ("serve",)], ids=["init", "sql", "serve"])
def test_no_error_shows_a_password(tmp_path: Path, url: str, says: str, command: tuple[str, ...]) -> None:
    done = muster(*command, "--database", url, cwd=None, check=False)
    assert done.returncode in (2, 4)
    assert says in " ".join(done.stderr.split())
    assert "s3c" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_init_shows_no_password() -> None:
    url = postgres.new_database_now()
    try:
        parts = urlsplit(url)
        spelled = urlunsplit(parts._replace(netloc=f"{parts.username}:s3cret@{parts.netloc.rpartition('@')[2]}"))
        assert "s3cret" not in muster("init", "--database", spelled).stdout
        assert "s3cret" not in muster("init", "--database", spelled, check=False).stderr
    finally:
        postgres.drop_database_now(url)


@pytest.mark.parametrize(
    ("database", "reader_url"),
    [
        ("sqlite:///x.db", "postgresql://r@h/x"),
        ("postgresql://h/x", "sqlite:///x.db"),
        ("postgresql://h/x", "postgresql://h/x"),
    ],
)
def test_sql_database_needs_a_role_on_postgres(database: str, reader_url: str) -> None:
    done = muster("sql", "--database", database, "--sql-database", reader_url, "SELECT 1", check=False)
    assert done.returncode == 2
    assert "ROLE:PASSWORD@HOST" in done.stderr
