"""The uplink against a real server: what is spooled is in its tables once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import VERSION
from collector.osqueryd import Osquery
from collector.spool import Line
from tests.support.collector_peer import CollectorPeer
from tests.support.core.running import Core, core
from tests.support.relay import relay
from tests.support.server import Server, ask, muster_here, serving
from tests.support.uplink import Uplink, uplink


@pytest.fixture(scope="module")
def osqueryd() -> Iterator[Core]:
    with core() as running:
        yield running


def put(device: Uplink, numbers: range) -> None:
    """Spool a snapshot of one row for each, a minute after the one before."""
    lines = []
    for number in numbers:
        at = int(time.time()) - 86_400 + 60 * number
        line = {
            "snapshot": [{"uid": str(number)}],
            "action": "snapshot",
            "name": "made_up",
            "hostIdentifier": "stand-in",
            "calendarTime": "",
            "unixTime": at,
            "epoch": 0,
            "counter": 0,
            "numerics": False,
        }
        lines.append(Line("snapshot", "made_up", at, json.dumps(line).encode()))
    device.spool.put(lines)


async def stored(database: str) -> list[int]:
    """Every row that was ever true, in its order."""
    found = await asyncio.to_thread(ask, database, "SELECT uid FROM made_up_history ORDER BY valid_from, uid")
    return [int(uid) for (uid,) in found]


async def test_what_is_spooled_is_stored_once(osqueryd: Core, tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        (tmp_path / "enroll_secret").write_text(made["enroll_secret"])
        async with uplink(tmp_path, f"http://127.0.0.1:{server.port}", osqueryd.socket) as device:
            put(device, range(5))
            await device.until(lambda: not device.waiting())
        assert await stored(empty) == list(range(5))
        told = await asyncio.to_thread(ask, empty, "SELECT hostname, version FROM posture_collectors")
        assert told == [["stand-in", VERSION]]


async def test_a_batch_whose_answer_is_lost_counts_once(osqueryd: Core, tmp_path: Path) -> None:
    with serving(tmp_path) as (server, made):
        (tmp_path / "enroll_secret").write_text(made["enroll_secret"])
        async with relay(server.port) as between:
            async with uplink(tmp_path, f"http://127.0.0.1:{between.port}", osqueryd.socket) as device:
                put(device, range(3))
                await device.until(lambda: not device.waiting())
                between.deaf = 2
                put(device, range(3, 6))
                await device.until(lambda: not device.waiting())
            assert between.lost == 2
        assert await stored(server.database) == list(range(6))
        answers = "SELECT COUNT(*) FROM coverage WHERE query = 'made_up' AND status <> 'ok'"
        assert await asyncio.to_thread(ask, server.database, answers) == [[0]]


async def test_a_server_killed_and_an_uplink_killed_lose_nothing(osqueryd: Core, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/t.db"
    begun = await asyncio.to_thread(muster_here, "init", "--database", database, "--json")
    (tmp_path / "enroll_secret").write_text(json.loads(begun.stdout)["enroll_secret"])
    server = await asyncio.to_thread(Server, database)
    try:
        async with (
            relay(server.port) as between,
            uplink(tmp_path, f"http://127.0.0.1:{between.port}", osqueryd.socket) as device,
        ):
            for turn in range(4):
                put(device, range(10 * turn, 10 * turn + 10))
                if turn % 2:
                    device.kill()
                    device.start()
                else:
                    await device.until(lambda: device.waiting() <= 10)
                    await asyncio.to_thread(server.kill)
                    server = await asyncio.to_thread(Server, database)
                    between.target = server.port
            await device.until(lambda: not device.waiting())
        assert await stored(server.database) == list(range(40))
    finally:
        assert await asyncio.to_thread(server.stop) == 0


async def test_a_key_revoked_on_the_server_is_replaced_once(osqueryd: Core, tmp_path: Path) -> None:
    with serving(tmp_path) as (server, made):
        (tmp_path / "enroll_secret").write_text(made["enroll_secret"])
        async with uplink(tmp_path, f"http://127.0.0.1:{server.port}", osqueryd.socket) as device:
            put(device, range(2))
            await device.until(lambda: not device.waiting())
            first = (device.state / "node_key").read_text()
            devices = await asyncio.to_thread(ask, server.database, "SELECT device_id FROM devices")
            with Osquery(osqueryd.socket, 10) as connection:
                (system,) = connection.query("SELECT * FROM system_info").rows
            copy = CollectorPeer(server, made["enroll_secret"])  # a machine that enrols as this one takes its key away
            assert (await asyncio.to_thread(copy.enroll, system_info=system))[0] == 200
            put(device, range(2, 4))
            await device.until(lambda: not device.waiting())
            assert (device.state / "node_key").read_text() != first
            assert device.said().count(": enrolled") == 2
        assert await stored(server.database) == list(range(4))
        assert await asyncio.to_thread(ask, server.database, "SELECT device_id FROM devices") == devices
