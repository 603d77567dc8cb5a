"""A server that dies with channels open: what it had pushed is asked once more by the next, and counts once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from server.normalize.questions import parse_question
from tests.fault.conftest import Made
from tests.support.channel import ChannelPeer, hello
from tests.support.collector_peer import CollectorPeer
from tests.support.server import Server, ask, muster_here

CONTROL = "only-root-has-uid-0"
DEVICES = 5


def asked(message: dict[str, Any]) -> bool:
    return message["type"] == "ask" and parse_question(message["id"]) is not None


async def test_what_was_pushed_before_a_kill_is_asked_once_more(database: Made) -> None:
    server = await asyncio.to_thread(Server, database.url)
    collectors = [CollectorPeer(server, database.secret) for _ in range(DEVICES)]
    for number, collector in enumerate(collectors):
        details = {"system_info": {"uuid": f"uuid {number}", "hostname": f"host-{number}"}}
        assert (await asyncio.to_thread(collector.enroll, **details))[0] == 200
    async with aiohttp.ClientSession() as session:
        peers = [await connected(session, collector) for collector in collectors]
        for number in range(DEVICES):
            command = ("device", "ask", f"host-{number}", "--control", CONTROL, "--database", database.url)
            await asyncio.to_thread(muster_here, *command)
        pushed = [(await peer.until(asked, "the question"))["id"] for peer in peers]
        await asyncio.to_thread(server.kill)
        assert {await peer.closed() for peer in peers} == {aiohttp.WSCloseCode.ABNORMAL_CLOSURE}
        server = await asyncio.to_thread(Server, database.url)
        for collector in collectors:
            collector.server = server
        peers = [await connected(session, collector) for collector in collectors]
        again = [(await peer.until(asked, "the question"))["id"] for peer in peers]
        assert again == pushed
        for collector, question in zip(collectors, again, strict=True):
            told = {"id": question, "status": "failed", "message": "no such table: users", "rows": []}
            for _ in range(2):  # as by a collector that ran it twice
                assert (await asyncio.to_thread(collector.send, collector.batch(answers=[told])))[0] == 200
        for peer in peers:
            await peer.socket.close()
    assert await asyncio.to_thread(server.stop) == 0
    outcomes = await asyncio.to_thread(ask, database.url, "SELECT outcome, sent FROM posture_asked")
    assert outcomes == [["failed", 1]] * DEVICES
    connected_now = await asyncio.to_thread(ask, database.url, "SELECT SUM(connected) FROM posture_collectors")
    assert connected_now == [[0]]


async def connected(session: aiohttp.ClientSession, collector: CollectorPeer) -> ChannelPeer:
    address = f"http://127.0.0.1:{collector.server.port}/api/collector/channel"
    peer = ChannelPeer(await session.ws_connect(address, headers=collector.authorization))
    await peer.say(hello())
    await peer.next("hello")
    return peer
