"""Nothing that minimisation takes away is anywhere in the database, however it came."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.app import shipped_packs
from server.catalog.catalog import load_catalog
from server.store.driver import Driver, NotReadyError
from server.store.minimise_key import settled_key
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, contents, open_store, rows

T0 = 1_790_000_000
RULES = """
rules:
  - {query: users, columns: [description], action: hash, why: Names of people.}
  - {query: "*", columns: [login], action: hash, why: Names of people.}
  - {foreign: visits, columns: ["*"], action: drop, why: Not ours to know.}
"""
SECRET = "hunter2secret"


@asynccontextmanager
async def opened(tmp_path: Path, key: bytes = b"k" * 32) -> AsyncIterator[Store]:
    packs = tmp_path / "packs"
    if not packs.exists():
        shutil.copytree(shipped_packs(), packs)
        (packs / "minimise.yaml").write_text(RULES)
    catalog = load_catalog(packs)
    async with open_store(tmp_path, catalog) as made:
        yield Store(made.driver, catalog, max_age_days=SINCE_1970, minimise_key=key)


async def everything(store: Store) -> str:
    """All that is in the database, its own bookkeeping too."""
    tables = await rows(store, "SELECT table_name FROM muster_queries")
    named = [f"muster_{name}" for name in "instants runs_received coverage status_logs rejects devices queries".split()]
    every = [*named, "muster_columns", *(f"muster_rows_{name}" for (name,) in tables)]
    return repr([await contents(store), *[await rows(store, f'SELECT * FROM "{table}"') for table in every]])


def line(name: str, at: int, **parts: Any) -> dict[str, Any]:
    return {"name": name, "unixTime": at, "epoch": 0, "counter": 0, **parts}


def secret_lines(version: str) -> list[dict[str, Any]]:
    """The secret in every kind of line, in places that each of the nets has to find."""
    user = {"uid": "1", "gid": "1", "username": "a", "description": SECRET, "directory": "/", "shell": "/bin/sh"}
    bags: dict[str, list[dict[str, Any]]] = {
        f"pack/inventory/users@{version}": [user],
        "users": [user, user],
        "pack_x_shell_history": [{"uid": "0", "command": SECRET, "history_file": ".bash_history"}],
        "process_envs": [{"pid": "1", "key": "A", "value": SECRET}],
        "chrome_history": [{"url": SECRET, "title": SECRET}],
        "visits": [{"where": SECRET}],
        "anything": [{"login": SECRET}, {"what": f"x --password={SECRET} y"}, {"what": f"https://u:{SECRET}@x/"}],
        "settings": [{"path": "HKLM\\DefaultPassword", "data": SECRET}, {"client_secret": SECRET}],
        "keys": [{"text": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"}],
    }
    lines: list[dict[str, Any]] = []
    for name, bag in bags.items():
        lines.append(snapshot_line(name, T0, bag))
        lines.append(line(name, T0 + 60, diffResults={"added": bag, "removed": bag}))
        lines += [line(name, T0 + 120, action=action, columns=row) for row in bag for action in ("added", "removed")]
        lines.append(snapshot_line(name, 5, bag))  # of 1970: set aside
        lines.append(snapshot_line(name, T0 + 10**9, bag))  # of the future
        lines.append(line(name, T0, action="neither", columns=bag[0]))
        lines.append({"snapshot": bag, "unixTime": T0})
        lines.append({"snapshot": bag, "name": name})
        lines.append(line(name, T0, snapshot=[*bag, ["odd"]]))
    return lines


async def test_no_secret_is_anywhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        device = await add_device(store, "a")
        version = store.catalog.queries["users", "linux"].version
        lines = secret_lines(version)
        whole = json.dumps({"node_key": "k", "log_type": "result", "data": lines}).encode()
        broken = whole[:-40] + b"\x00 no end"
        for body in (whole, broken, whole.replace(b'"data"', b'"data": 7, "dat"')):
            await store.ingest(device, parse_log(body, "k"))
        messages = [f"Error executing scheduled query users: token={SECRET}", f"bad line --password {SECRET}"]
        statuses = [{"unixTime": T0, "severity": 2, "filename": "f", "line": 1, "message": text} for text in messages]
        text = json.dumps(
            {"node_key": "k", "log_type": "status", "data": [*statuses, {"message": f"password={SECRET}"}]}
        )
        await store.ingest(device, parse_log(text.encode()))
        found = await everything(store)
        at = found.find("hunter2")
        assert at < 0, found[max(0, at - 300) : at + 100]
        assert len(await rows(store, "SELECT 1 FROM rejects")) > 20
        assert len(await rows(store, "SELECT 1 FROM status_logs")) == 2
        [(table,)] = await rows(store, "SELECT table_name FROM muster_queries WHERE query = 'chrome_history'")
        assert set(await rows(store, f'SELECT url, title FROM "{table}_history"')) == {(None, None)}, (
            "counted, not kept"
        )


async def test_a_removed_row_finds_the_one_that_was_added(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        device = await add_device(store, "a")
        bob, ann = ({"login": name, "note": f"token={name}"} for name in ("bob", "ann"))
        runs = [
            snapshot_line("logins", T0, [bob, ann]),
            {**line("logins", T0 + 60, diffResults={"added": [], "removed": [bob]}), "counter": 1},
            {**line("logins", T0 + 120, action="removed", columns=ann), "counter": 2},
        ]
        for step, left in enumerate((2, 1, 0)):
            body = {"node_key": "k", "log_type": "result", "data": [runs[step]]}
            await store.ingest(device, parse_log(json.dumps(body).encode()))
            assert await rows(store, "SELECT count(*) FROM logins") == [(left,)]
        before = await contents(store)
        body = {"node_key": "k", "log_type": "result", "data": runs}
        await store.ingest(device, parse_log(json.dumps(body).encode()))
        assert await contents(store) == before, "a replay changes nothing"


async def test_hashes_join_and_count(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for name in ("a", "b"):
            device = await add_device(store, name)
            data = [snapshot_line("one", T0, [{"login": "bob"}]), snapshot_line("two", T0, [{"login": "bob"}])]
            body = {"node_key": "k", "log_type": "result", "data": data}
            await store.ingest(device, parse_log(json.dumps(body).encode()))
        joined = "SELECT count(*) FROM one JOIN two ON two.login = one.login AND two.device_id = one.device_id"
        assert await rows(store, joined) == [(2,)]
        assert await rows(store, "SELECT count(DISTINCT login) FROM one") == [(1,)]


async def test_the_same_key_or_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        driver: Driver = store.driver
        path = tmp_path / "key"
        key = await settled_key(driver, path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert await settled_key(driver, path) == key
        assert key.hex() not in await everything(store)
        (tmp_path / "other").write_text("ab" * 32)
        with pytest.raises(NotReadyError, match="not the key"):
            await settled_key(driver, tmp_path / "other")
        path.unlink()
        with pytest.raises(NotReadyError, match="put it back"):
            await settled_key(driver, path)
        assert not path.exists(), "a new key must not be made behind anybody's back"
        assert await settled_key(driver, tmp_path / "other", renew=True) == b"\xab" * 32
        assert await settled_key(driver, tmp_path / "other") == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "zz", "abcd", "é" * 64])
async def test_a_file_that_is_no_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    async with opened(tmp_path) as store:
        with pytest.raises(NotReadyError, match="key"):
            await settled_key(store.driver, tmp_path / "key")
