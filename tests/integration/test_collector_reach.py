"""The device's channel to the server: what it says, what it takes, how it comes back, and polls in its place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from collector import VERSION
from collector.live.question import Question
from collector.live.queue import Cancel
from collector.uplink import channel as timing
from collector.uplink.network import Network
from tests.support.channel_server import HELLO, ChannelServer, Device, connected
from tests.support.live import until

CONFIG = {
    "type": "config",
    "hash": "c1",
    "config": '{"schedule":{}}',
    "queries": [{"name": "users@1", "sql": "SELECT 1"}],
}
POSTURE = {"type": "posture", "hash": "p1", "day": "2026-11-24", "verdicts": [{"control": "c", "status": "pass"}]}


@pytest.fixture
async def server() -> AsyncIterator[ChannelServer]:
    made = ChannelServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def device(server: ChannelServer, tmp_path: Path) -> AsyncIterator[Device]:
    async with connected(server, tmp_path) as made:
        yield made


async def test_hello_says_what_the_device_has(server: ChannelServer, device: Device) -> None:
    hello = await server.hello()
    assert hello == {
        "type": "hello",
        "collector": VERSION,
        "osquery": "",
        "config_hash": "",
        "posture_hash": "",
        "serves_config": False,
        "backlog": {"lines": 0, "bytes": 0, "oldest_at": None},
        "queued": ["q1"],
        "policy": "denies live questions",
    }
    assert server.keys == ["NodeKey key0"]
    assert device.standing.channel == "connected"


async def test_it_says_hello_again_and_again(
    server: ChannelServer, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "HELLO_SECONDS", 0.05)
    for _ in range(3):
        await server.hello()
    assert server.attempts == 1


async def test_what_is_kept_is_kept_as_it_came_and_said_by_its_hash(server: ChannelServer, device: Device) -> None:
    await server.hello()
    await server.send(HELLO, CONFIG, POSTURE)
    await until(lambda: device.spool.get("posture"))
    notes = {kind: json.loads(device.spool.get(kind) or b"") for kind in ("hello", "config", "posture")}
    assert notes == {"hello": HELLO, "config": CONFIG, "posture": POSTURE}
    await server.sockets[-1].close()
    hello = await server.hello()
    assert (hello["config_hash"], hello["posture_hash"]) == ("c1", "p1")


@pytest.mark.parametrize(
    "bad",
    [
        {**CONFIG, "config": "{"},
        {**CONFIG, "config": "[]"},
        {**CONFIG, "config": {"schedule": {}}},
        {**CONFIG, "hash": 5},
        {**CONFIG, "queries": ["users"]},
        {**CONFIG, "queries": None},
    ],
    ids=["no JSON", "no object", "no text", "hash", "queries", "no queries"],
)
async def test_a_config_that_cannot_be_used_leaves_the_one_before(
    server: ChannelServer, device: Device, bad: dict[str, Any]
) -> None:
    await server.hello()
    await server.send(CONFIG, {**bad, **({"hash": "c2"} if bad["hash"] == "c1" else {})})
    await server.send({"type": "ask", "id": "after", "sql": "SELECT 1"})
    await device.asked.next()
    assert json.loads(device.spool.get("config") or b"") == CONFIG
    await server.sockets[-1].close()
    assert (await server.hello())["config_hash"] == "c1"


async def test_what_comes_together_is_one_burst(server: ChannelServer, device: Device) -> None:
    await server.hello()
    asks = [{"type": "ask", "id": str(n), "sql": "SELECT 1"} for n in range(50)]
    await server.send({"type": "news", "of": "the future"}, "no json", *asks, {"type": "cancel", "id": "7"})
    found: list[Question | Cancel] = []
    bursts = 0
    while len(found) < 51:
        found += await device.asked.next()
        bursts += 1
    assert found == [*(Question(str(n), "SELECT 1") for n in range(50)), Cancel("7")]
    assert bursts < 25


async def test_a_message_over_the_bound_ends_the_connection_not_the_channel(
    server: ChannelServer, device: Device
) -> None:
    await server.hello()
    with suppress(ConnectionError):  # it is not read to its end
        await server.send({**CONFIG, "config": json.dumps({"x": "y" * (16 * 2**20)})})
    await server.hello()
    assert server.attempts >= 2
    assert device.spool.get("config") is None
    await server.send({**CONFIG, "config": json.dumps({"x": "y" * (15 * 2**20)})})
    await until(lambda: device.spool.get("config"))


async def test_it_comes_back_after_the_server_was_away(server: ChannelServer, device: Device) -> None:
    await server.hello()
    await server.stop()
    await until(lambda: device.standing.channel == "")
    await server.start()
    await server.hello()
    await until(lambda: device.standing.channel == "connected")


async def test_why_the_server_closes_is_said(
    server: ChannelServer, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await server.hello()
    await server.sockets[-1].close(code=1008, message=b"another channel was opened with this key")
    await server.hello()
    assert "closed (1008: another channel was opened with this key)" in caplog.text


async def test_an_unknown_key_is_given_back(server: ChannelServer, device: Device) -> None:
    await server.hello()
    await server.send({"type": "node_invalid"})
    await server.hello()
    assert device.key.taken_back == ["key0"]
    assert server.keys == ["NodeKey key0", "NodeKey key1"]


async def test_a_key_that_the_upgrade_is_refused_for_is_given_back(server: ChannelServer, tmp_path: Path) -> None:
    server.refuse, server.poll_status, server.poll_body = 401, 401, {"node_invalid": True}
    async with connected(server, tmp_path) as device:
        await server.polled()
        server.refuse = 0
        await server.hello()
        assert device.key.taken_back[0] == "key0"


async def test_busy_is_minded(server: ChannelServer, device: Device) -> None:
    await server.hello()
    begun = time.monotonic()
    await server.send({"type": "busy", "seconds": 0.4})
    await server.hello()
    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize("refused", [200, 403, 404, 426, 502])
async def test_where_websockets_are_refused_it_polls_and_comes_back(
    server: ChannelServer, tmp_path: Path, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "FIRST_RETRY_SECONDS", 0.3)
    server.refuse = refused
    server.poll_body = {"messages": [HELLO, {"type": "ask", "id": "a", "sql": "SELECT 1"}]}
    async with connected(server, tmp_path) as device:
        assert (await server.polled())["queued"] == ["q1"]
        assert await device.asked.next() == [Question("a", "SELECT 1")]
        await until(lambda: device.standing.channel == "polling")
        assert device.spool.get("hello")
        await server.polled()  # the channel is tried in vain, and polls go on
        server.refuse = 0
        await server.hello()
        await until(lambda: device.standing.channel == "connected")


async def test_a_channel_that_is_closed_at_once_three_times_is_none(server: ChannelServer, tmp_path: Path) -> None:
    server.close_at_once = True
    async with connected(server, tmp_path) as device:
        await server.polled()
        assert server.attempts == 3
        await until(lambda: device.standing.channel == "polling")
        server.close_at_once = False
        device.channel.poke("the network changed")
        await server.hello()


async def test_a_server_that_is_away_is_not_polled_for_long(server: ChannelServer, tmp_path: Path) -> None:
    server.refuse, server.poll_status = 502, 502
    async with connected(server, tmp_path) as device:
        await server.polled()
        await server.polled()
        assert device.standing.channel == ""
        server.refuse = 0
        await server.hello()


async def test_a_poll_is_told_to_wait(server: ChannelServer, tmp_path: Path) -> None:
    server.refuse, server.poll_status = 503, 503
    server.poll_body = {"error": "too much at once", "retry_after": 0.4}
    async with connected(server, tmp_path):
        await server.polled()
        begun = time.monotonic()
        await server.polled()
        assert time.monotonic() - begun >= 0.4


async def test_after_sleep_the_connection_is_made_anew(server: ChannelServer, device: Device) -> None:
    await server.hello()
    watching = asyncio.create_task(device.network.run())
    try:
        await asyncio.sleep(0)  # it begins to watch
        device.clock = lambda: 3600.0
        # The old one is dead and nobody says so: its server's end stays open.
        await server.hello()
        assert server.attempts == 2
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_the_network_is_watched() -> None:
    own = ["10.0.0.5"]
    told: list[str] = []
    came = asyncio.Event()

    def tell(reason: str) -> None:
        told.append(reason)
        came.set()

    network = Network(tick=0.01, clock=lambda: time.monotonic(), address=lambda peer: own[0])
    network.tell(tell)
    network.reached(("192.0.2.1", 443))
    watching = asyncio.create_task(network.run())
    try:
        async with asyncio.timeout(10):
            own[0] = "10.9.9.9"
            await came.wait()
            came.clear()
            own[0] = ""
            await until(lambda: network._own == "")
            own[0] = "10.9.9.9"
            await came.wait()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert told == ["the device's address changed", "the network is back"]


async def test_what_is_new_can_be_asked_for(server: ChannelServer, device: Device) -> None:
    await server.hello()
    server.poll_body = {"messages": [POSTURE]}
    assert await device.channel.fetch()
    assert json.loads(device.spool.get("posture") or b"") == POSTURE
    server.poll_status, server.poll_body = 503, {"error": "later", "retry_after": 5}
    assert not await device.channel.fetch()
    assert server.attempts == 1
