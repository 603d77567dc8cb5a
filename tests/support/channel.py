"""A collector's channel as the server sees it: a websocket of the tests' own, and what comes over it, sorted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import orjson
from aiohttp.test_utils import TestServer

from server.api.channels import CHANNELS, Channels
from server.api.keys import PRESENCE, Presence
from server.app import web_app
from server.normalize.devices import DeviceFacts
from server.store.ask import Asker
from server.store.devices import COLLECTOR, Device, enroll
from server.store.store import Store

WAIT_SECONDS = 20.0


def hello(**told: Any) -> dict[str, Any]:
    """What a collector says that has nothing yet."""
    return {
        "type": "hello",
        "collector": "0.1.0",
        "osquery": "5.23.0",
        "config_hash": "",
        "posture_hash": "",
        "serves_config": False,
        "backlog": {"lines": 0, "bytes": 0, "oldest_at": None},
        "queued": [],
        "policy": "",
        **told,
    }


class ChannelPeer:
    """One open channel; messages that were not waited for stay for later."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._came: deque[dict[str, Any]] = deque()

    async def say(self, message: object) -> None:
        """Send a message."""
        await self.socket.send_str(orjson.dumps(message).decode())

    async def next(self, kind: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """The next message of a type; fails where none comes in time."""
        return await self.until(lambda message: message["type"] == kind, kind, seconds)

    async def until(
        self, wanted: Callable[[dict[str, Any]], bool], what: str, seconds: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """The next message of a kind; fails where none comes in time."""
        for message in self._came:
            if wanted(message):
                self._came.remove(message)
                return message
        async with asyncio.timeout(seconds):
            while True:
                came = await self.socket.receive()
                assert came.type is aiohttp.WSMsgType.TEXT, f"{came.type} {came.data!r} in place of {what}"
                new: dict[str, Any] = orjson.loads(came.data)
                if wanted(new):
                    return new
                self._came.append(new)

    async def closed(self, seconds: float = WAIT_SECONDS) -> int | None:
        """Wait for the end of the channel; returns its code. What came before stays to be asked for."""
        async with asyncio.timeout(seconds):
            while True:
                came = await self.socket.receive()
                if came.type is not aiohttp.WSMsgType.TEXT:
                    return came.data if came.type is aiohttp.WSMsgType.CLOSE else self.socket.close_code
                self._came.append(orjson.loads(came.data))

    def came(self, kind: str) -> list[dict[str, Any]]:
        """What came of a type and was not waited for."""
        return [message for message in self._came if message["type"] == kind]


async def eventually(true: Callable[[], Awaitable[bool]], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is true that nothing tells of; fails where it does not come about in time."""
    for _ in range(int(seconds / 0.02)):
        if await true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


@asynccontextmanager
async def channel(port: int, node_key: str, **options: Any) -> AsyncIterator[ChannelPeer]:
    """A channel that is open and has said nothing yet. Raises ``aiohttp.WSServerHandshakeError``."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{port}/api/collector/channel",
            headers={"Authorization": f"NodeKey {node_key}"},
            max_msg_size=0,
            **options,
        ) as socket,
    ):
        yield ChannelPeer(socket)


@asynccontextmanager
async def greeted(port: int, node_key: str, **told: Any) -> AsyncIterator[ChannelPeer]:
    """A channel whose collector has said hello, and was greeted."""
    async with channel(port, node_key) as peer:
        await peer.say(hello(**told))
        await peer.next("hello")
        yield peer


@dataclass
class App:
    """The application in this process, over a store, without a worker."""

    store: Store
    port: int
    channels: Channels
    presence: Presence

    async def collector(self, name: str) -> tuple[Device, str]:
        """A device with a collector that has enrolled, and the collector's key."""
        facts = DeviceFacts(
            hostname=name, hardware_uuid=f"uuid-of-{name}", serial="", platform="linux", os_name="", os_version="",
            osquery_version="5.23.0",
        )  # fmt: skip
        clock = self.store.clock
        key = await self.store.write(lambda tx: enroll(tx, facts, name, clock(), collector="0.1.0"))
        device = await self.store.device_of(key, COLLECTOR)
        assert device is not None
        return device, key

    async def post(self, path: str, key: str, body: object) -> tuple[int, Any]:
        """A request of a collector."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"NodeKey {key}"}) as session,
            session.post(f"http://127.0.0.1:{self.port}/api/collector/{path}", json=body) as answer,
        ):
            return answer.status, await answer.json()

    async def poll(self, key: str, **told: Any) -> list[dict[str, Any]]:
        """The messages of a poll."""
        status, answer = await self.post("poll", key, {"hello": hello(**told)})
        assert status == 200, answer
        messages: list[dict[str, Any]] = answer["messages"]
        return messages


@asynccontextmanager
async def app_over(store: Store) -> AsyncIterator[App]:
    """An application over a store, on a port of its own."""
    app = web_app(store, cast(Asker, None))
    async with TestServer(app) as server:
        assert server.port is not None
        yield App(store, server.port, app[CHANNELS], app[PRESENCE])
