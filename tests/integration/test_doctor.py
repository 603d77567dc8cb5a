"""``muster doctor`` against real databases that are broken in every way it names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.app import examine
from server.drivers import postgres_connect, sqlite
from server.store.driver import Transaction
from server.store.findings import Finding
from tests.support import postgres
from tests.support.disks import small_disk
from tests.support.load import stored
from tests.support.server import Peer, Server, database_of, muster

DAY = 86_400


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_of(request.param, tmp_path) as url:
        muster("init", "--database", url)
        yield url


def examined(database: str, code: int, *options: str) -> dict[str, dict[str, Any]]:
    """What was found, by check; a check that was made twice would be told once."""
    done = muster("doctor", "--database", database, "--json", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert {"ok": 0, "warning": 0, "problem": 3, "not ready": 4}[told["state"]] == code
    assert len({check["check"] for check in told["checks"]}) == len(told["checks"])
    return {check["check"]: check for check in told["checks"]}


def change(database: str, statement: str) -> None:
    """Do to a database what nobody should."""
    if database.startswith("sqlite"):
        connection = sqlite3.connect(database.removeprefix("sqlite:///"))
        connection.execute(statement)
        connection.commit()
        connection.close()
    else:
        asyncio.run(postgres.run(statement, database))


def bad(found: dict[str, dict[str, Any]]) -> set[str]:
    """The checks that found something, apart from what the tests' own cluster is known for."""
    return {name for name, check in found.items() if check["state"] != "ok"} - {"durability"}


def expected(database: str) -> int:
    """The exit code where nothing but the tests' cluster is at fault: it forgoes fsync."""
    return 0 if database.startswith("sqlite") or fsync(database) == "on" else 3


def fsync(database: str) -> str:
    return str(asyncio.run(postgres.run("SHOW fsync", database))[0][0])


def test_a_new_database_is_well(database: str) -> None:
    found = examined(database, expected(database))
    assert bad(found) == set()
    assert {"database", "schema", "leader", "clock", "days", "rejects", "writable"} <= found.keys()
    assert "integrity" not in examined(database, expected(database), "--quick")
    text = muster("doctor", "--database", database, check=False).stdout
    assert len(text.splitlines()) == len(found)


def test_durability_that_is_off_is_named(tmp_path: Path) -> None:
    with database_of("postgres", tmp_path) as database:
        muster("init", "--database", database)
        state = examined(database, expected(database))["durability"]["state"]
        assert state == ("ok" if fsync(database) == "on" else "problem")


def test_nothing_is_changed(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 't.db'}"
    muster("init", "--database", database)

    def folder() -> dict[str, tuple[str, int]]:
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in tmp_path.iterdir()
        }

    before = folder()
    examined(database, 0)
    assert folder() == before


def test_a_running_server_and_its_lease(database: str) -> None:
    server = Server(database)
    found = examined(database, expected(database))
    assert str(server.pid) in found["leader"]["says"]
    assert bad(found) == set()
    if database.startswith("sqlite"):
        assert str(server.pid) in found["server"]["says"]
    server.kill()
    change(database, "UPDATE muster_leases SET expires_at = '2020-01-01T00:00:00Z'")
    found = examined(database, expected(database))
    assert bad(found) == {"leader"}
    assert "since 2020-01-01T00:00:00Z" in found["leader"]["says"]
    if database.startswith("sqlite"):
        assert found["server"]["says"] == "none runs on this file"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM muster_migrations WHERE number > 1", "muster migrate"),
        ("DROP TABLE muster_migrations", "muster init"),
        ("INSERT INTO muster_migrations VALUES (9999, 'the_future', 'x', 'x')", "newer version"),
        ("UPDATE muster_migrations SET sha256 = 'x' WHERE number = 1", "was edited"),
    ],
)
def test_another_schema(database: str, statement: str, says: str) -> None:
    change(database, statement)
    found = examined(database, 4)
    assert says in found["schema"]["says"]
    assert "days" not in found


def test_days_that_are_not_closed_and_rejects(database: str) -> None:
    secret = json.loads(muster("secret", "add", "x", "--database", database, "--json").stdout)["secret"]
    server = Server(database)
    peer = Peer(server, secret)
    peer.enroll(system_info={"uuid": "u", "hostname": "h"})
    assert peer.snapshot("q", int(time.time()) - 200 * DAY, [{"a": "1"}]) == {}
    server.stop()
    assert stored(database, "SELECT COUNT(*) FROM rejects") == [(1,)]
    change(database, "UPDATE muster_devices SET in_scope_from = '2026-01-01T00:00:00Z'")
    found = examined(database, 3)
    assert found["days"]["state"] == "problem"
    assert "muster serve" in found["days"]["mend"]
    assert found["rejects"]["state"] == "warning"
    assert bad(found) == {"days", "rejects"}


def test_a_commit_that_is_yet_to_come(database: str) -> None:
    seq = int((time.time() + DAY) * 1_000_000)
    change(database, "DELETE FROM muster_meta WHERE key = 'seq'")
    change(database, f"INSERT INTO muster_meta (key, value) VALUES ('seq', '{seq}')")
    assert bad(examined(database, expected(database))) == {"clock"}


@pytest.mark.parametrize("kind", ["missing", "text", "folder", "empty"])
def test_no_database(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.db"
    if kind == "text":
        path.write_text("not a database, but long enough to be taken for one" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    found = examined(f"sqlite:///{path}", 4)
    where = "schema" if kind == "empty" else "database"
    assert found[where]["state"] == "not ready"


def test_a_torn_page(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    muster("init", "--database", f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'muster_verdicts'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    found = examined(f"sqlite:///{path}", 3)
    assert found["integrity"]["state"] == "problem"


def test_another_journal(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 't.db'}"
    muster("init", "--database", database)
    change(database, "PRAGMA journal_mode = DELETE")
    assert bad(examined(database, 0)) == {"journal"}


def test_a_small_disk_that_is_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path, 80) as mounted:
        if mounted is None:
            pytest.skip("mounting is not allowed here")
        database = f"sqlite:///{tmp_path / 't.db'}"
        muster("init", "--database", database)
        assert bad(examined(database, 0)) == {"disk"}
        mounted.fill(0)
        assert bad(examined(database, 3)) == {"disk"}
        mounted.read_only()
        found = examined(database, 3)
        assert bad(found) == {"disk", "writable"}
        assert str(tmp_path) in found["writable"]["says"]
        done = muster("serve", "--database", database, "--listen", "127.0.0.1:0", check=False)
        assert done.returncode == 4
        assert f"{tmp_path} cannot be written to" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_one_may_not_write_to(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 't.db'}"
    muster("init", "--database", database)
    (tmp_path / "t.db").chmod(0o400)
    assert bad(examined(database, 3)) == {"writable"}


def test_a_postgres_that_is_read_only(tmp_path: Path) -> None:
    with database_of("postgres", tmp_path) as database:
        muster("init", "--database", database)
        name = database.split("/")[3].split("?")[0]
        asyncio.run(postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        assert bad(examined(database, 3)) == {"writable"}


def another_collation() -> str:
    """One that is not known to order text by its bytes; where the system has no other, C under an unusual name."""
    found = asyncio.run(
        postgres.run("SELECT collname FROM pg_collation WHERE collprovider = 'c' AND collname ~ '^[a-z]+_.*utf'")
    )
    return str(found[0][0]) if found else "C.Utf-8"


@pytest.mark.parametrize("wrong", ["encoding", "collation"])
def test_a_postgres_that_writes_or_orders_otherwise(wrong: str) -> None:
    name = "C" if wrong == "encoding" else another_collation()
    encoding = "SQL_ASCII" if wrong == "encoding" else "UTF8"
    options = f"TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE '{name}' LC_CTYPE '{name}'"
    database = postgres.new_database_now(options)
    try:
        says = examined(database, 4)["database"]["says"]
        assert f"its {wrong} is {encoding if wrong == 'encoding' else name}" in says
        assert "CREATE DATABASE" in says
    finally:
        postgres.drop_database_now(database)


def test_no_postgres() -> None:
    found = examined(postgres.url_of("muster_is_not_there"), 4)
    assert "muster init" in found["database"]["says"]
    found = examined("postgresql://127.0.0.1:1/muster", 4)
    assert "cannot be opened" in found["database"]["says"]


def test_what_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_tx: Transaction) -> list[Finding]:
        return []

    monkeypatch.setattr(sqlite, "OLDEST_SQLITE", (99, 1, 0))
    monkeypatch.setattr(postgres_connect, "OLDEST_POSTGRES", 99)
    path = tmp_path / "t.db"
    path.touch()
    (old,) = [f for f in asyncio.run(examine(f"sqlite:///{path}", nothing, whole=True)) if f.state == "not ready"]
    assert old.says == f"SQLite {sqlite3.sqlite_version} is too old: 99.1.0 or newer is needed."
    (old,) = asyncio.run(examine(postgres.cluster(), nothing, whole=True))
    assert "is too old: 99 or newer is needed" in old.says


def test_a_role_that_may_not_use_the_database(tmp_path: Path) -> None:
    with database_of("postgres", tmp_path) as url:
        muster("init", "--database", url)
        role = f"muster_test_{tmp_path.name.replace('-', '_')}"
        asyncio.run(postgres.run(f"CREATE ROLE {role} LOGIN"))
        try:
            weak = url.replace("://postgres:", f"://{role}:", 1)
            found = muster("doctor", "--database", weak, check=False)
            assert (found.returncode, "permission denied for table" in found.stdout) == (4, True)
            asked = muster("sql", "SELECT 1", "--database", weak, check=False)
            assert asked.returncode == 4
            assert "name the one that Muster was set up with" in asked.stderr
        finally:
            asyncio.run(postgres.run(f"DROP ROLE {role}"))
