"""Large snapshots left unread, since the same bytes were read before, end in the same database as those read."""

from __future__ import annotations

import json
import random
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest

from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.server import snapshot_line
from tests.support.stores import add_device, contents, open_store, rows, shipped_catalog

T0 = 1_790_000_000
USERS = shipped_catalog().queries["users", "linux"]


def packages(version: int, *, wider: bool = False) -> list[dict[str, str]]:
    more = {"arch": "amd64"} if wider else {}
    return [{"name": f"package-{n}", "version": f"{version}.{n}", **more} for n in range(80)]


async def send(store: Store, device: Device, *lines: dict[str, Any], familiar: Container[bytes] | None = None) -> int:
    """Send lines as osquery writes them; returns how many snapshots were left unread."""
    raw = json.dumps({"data": list(lines), "log_type": "result", "node_key": "k"}, separators=(",", ":")).encode()
    body = parse_log(raw, familiar=store.familiar if familiar is None else familiar)
    done = await store.ingest(device, body)
    assert not done.rejected
    assert done.answers == len(lines)
    return sum(line.unread for line in body.results)


async def test_an_unchanged_large_snapshot_is_neither_read_nor_written(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        unread = [await send(store, device, snapshot_line("packages", T0 + n, packages(1))) for n in range(4)]
        assert unread == [0, 1, 1, 1]
        assert await rows(store, "SELECT COUNT(*) FROM packages_history") == [(80,)]
        assert await rows(store, "SELECT first_at < last_at FROM coverage") == [(True,)]


async def test_familiar_rows_are_read_where_they_are_news(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = await add_device(store, "a"), await add_device(store, "b")
        await send(store, first, snapshot_line("packages", T0, packages(1)))
        await send(store, first, snapshot_line("packages", T0 + 60, packages(2)))
        assert await send(store, second, snapshot_line("packages", T0, packages(2))) == 1
        assert await send(store, first, snapshot_line("packages", T0 + 120, packages(1))) == 1
        assert await send(store, first, snapshot_line("packages", T0 + 90, packages(1))) == 1  # late
        assert await rows(store, "SELECT hostname, COUNT(*), MIN(version) FROM packages GROUP BY 1 ORDER BY 1") == [
            ("a", 80, "1.0"),
            ("b", 80, "2.0"),
        ]
        assert await rows(store, "SELECT COUNT(*) FROM packages_history") == [(240 + 80,)]


async def test_what_is_set_aside_unread_shows_a_sample_of_its_rows(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, snapshot_line("packages", T0, packages(1)))
        line = snapshot_line("packages", 300_000_000_000, packages(1))
        raw = json.dumps({"data": [line], "node_key": "k"}, separators=(",", ":")).encode()
        body = parse_log(raw, familiar=store.familiar)
        assert [result.unread for result in body.results] == [True]
        done = await store.ingest(device, body)
        assert ["package-0" in bad.sample for bad in done.rejected] == [True]


@pytest.mark.parametrize("seed", range(3))
async def test_any_course_ends_the_same_read_or_unread(tmp_path: Path, seed: int) -> None:
    dumps = []
    for name in ("read", "unread"):
        chance = random.Random(seed)
        directory = tmp_path / name
        directory.mkdir()
        async with open_store(directory) as store:
            devices = [await add_device(store, host) for host in "ab"]
            unread = 0
            for _ in range(40):
                lines = []
                for query in chance.sample(["packages", "users", f"users@{USERS.version}"], 2):
                    answer = packages(chance.randrange(3), wider=chance.random() < 0.2)
                    if query != "packages":
                        answer = [{"uid": str(n), "username": f"u{n}-{len(answer[0])}"} for n in range(90)]
                    lines.append(snapshot_line(query, T0 + chance.randrange(600), answer))
                body = await _quietly(store, chance.choice(devices), lines, () if name == "read" else None)
                unread += body
            assert (unread > 10) == (name == "unread")
            dumps.append(_without_ids(await contents(store)))
    assert dumps[0] == dumps[1]


async def _quietly(store: Store, device: Device, lines: list[dict[str, Any]], familiar: Container[bytes] | None) -> int:
    """As ``send``, and of two answers of one second one may be set aside."""
    raw = json.dumps({"data": lines, "log_type": "result", "node_key": "k"}, separators=(",", ":")).encode()
    body = parse_log(raw, familiar=store.familiar if familiar is None else familiar)
    await store.ingest(device, body)
    return sum(line.unread for line in body.results)


def _without_ids(dump: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[str]]:
    """What is told, without what is random or told by the clock."""
    kept = ("packages_history", "users_history", "coverage", "muster_instants")
    return {name: sorted(repr(row[1:]) for row in dump[name]) for name in kept}
