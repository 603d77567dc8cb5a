"""The server's side of channel and poll, as a test wants it, and a device's channel that talks to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web

from collector.live.question import Answer, Question
from collector.live.queue import Cancel
from collector.osqueryd import Osquery
from collector.settings import Settings
from collector.spool import Spool
from collector.uplink.backoff import Backoff
from collector.uplink.channel import Channel
from collector.uplink.context import Context, Standing
from collector.uplink.hello import Hello
from collector.uplink.http import Http
from collector.uplink.memory import Memory
from collector.uplink.messages import Messages
from collector.uplink.network import Network

SECONDS = 10.0
HELLO = {"type": "hello", "device_id": "d", "server_time": 1, "poll_seconds": 2, "calendar": []}


class ChannelServer:
    """Answers as its fields say; everything that comes is kept."""

    def __init__(self) -> None:
        self.refuse = 0
        """The status that is answered instead of a websocket; 0: one is opened."""
        self.close_at_once = False
        self.poll_status = 200
        self.poll_body: dict[str, Any] = {"messages": [HELLO]}
        self.keys: list[str] = []
        self.hellos: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.polls: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.attempts = 0
        self.sockets: list[web.WebSocketResponse] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        application = web.Application()
        application.router.add_get("/api/collector/channel", self._channel)
        application.router.add_post("/api/collector/poll", self._poll)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close everything, as a server that ends."""
        if self._runner is not None:
            for socket in self.sockets:
                await socket.close()
            await self._runner.cleanup()
            self._runner = None

    async def send(self, *messages: dict[str, Any] | str | bytes) -> None:
        """Send to whoever connected last."""
        for message in messages:
            if isinstance(message, bytes):
                await self.sockets[-1].send_bytes(message)
            else:
                await self.sockets[-1].send_str(message if isinstance(message, str) else json.dumps(message))

    async def hello(self) -> dict[str, Any]:
        """The next hello over a channel."""
        async with asyncio.timeout(SECONDS):
            return await self.hellos.get()

    async def polled(self) -> dict[str, Any]:
        """The hello of the next poll."""
        async with asyncio.timeout(SECONDS):
            return await self.polls.get()

    async def _channel(self, request: web.Request) -> web.StreamResponse:
        self.attempts += 1
        self.keys.append(request.headers.get("Authorization", ""))
        if self.refuse:
            return web.Response(status=self.refuse, text="no")
        socket = web.WebSocketResponse(max_msg_size=2**26)
        await socket.prepare(request)
        if self.close_at_once:
            await socket.close()
            return socket
        self.sockets.append(socket)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self.hellos.put(json.loads(message.data))
        return socket

    async def _poll(self, request: web.Request) -> web.Response:
        await self.polls.put((await request.json())["hello"])
        return web.json_response(self.poll_body, status=self.poll_status)


class Asked:
    """Takes questions as the queue would."""

    def __init__(self) -> None:
        self.bursts: asyncio.Queue[list[Question | Cancel]] = asyncio.Queue()

    async def take(self, burst: Sequence[Question | Cancel], failures: Sequence[Answer] = ()) -> None:
        await self.bursts.put(list(burst))

    async def next(self) -> list[Question | Cancel]:
        async with asyncio.timeout(SECONDS):
            return await self.bursts.get()


class Key:
    """The part of enrolling that a channel sees."""

    def __init__(self) -> None:
        self.taken_back: list[str] = []

    async def node_key(self) -> str:
        return f"key{len(self.taken_back)}"

    def invalid(self, key: str) -> None:
        self.taken_back.append(key)

    def served(self, key: str) -> None:
        pass


class Lanes:
    """The part of the sender that a channel sees."""

    def network_is_back(self) -> None:
        pass


class Device:
    """A device's channel."""

    def __init__(self, server: ChannelServer, folder: Path, draw: Callable[[float, float], float]) -> None:
        settings = Settings(server=f"http://127.0.0.1:{server.port}", state_dir=folder, proxy="none")
        self.spool = Spool(folder / "spool.db", 2**22)
        self.asked, self.key, self.standing = Asked(), Key(), Standing()
        self.queued = ["q1"]
        self.network = Network(tick=0.05, clock=lambda: self.clock())
        self.clock: Callable[[], float] = lambda: 0.0
        self.http = Http(settings)
        self.context = Context(
            settings=settings,
            spool=self.spool,
            http=self.http,
            enrolment=cast("Any", self.key),
            sender=cast("Any", Lanes()),
            standing=self.standing,
            turns=cast("Any", None),
            network=self.network,
            memory=Memory(),
            osquery=lambda seconds: Osquery(folder / "none.em", seconds),
        )
        self.messages = Messages(self.spool, self.asked)
        hello = Hello(self.spool, self.context.osquery, self._queued, lambda: "denies live questions")
        self.channel = Channel(self.context, hello, self.messages, self.network)
        self.channel._backoff = Backoff(first=0.02, most=0.05, draw=draw)

    async def _queued(self) -> list[str]:
        return self.queued


@asynccontextmanager
async def connected(server: ChannelServer, folder: Path) -> AsyncIterator[Device]:
    """A device whose channel runs, to a server that listens already."""
    device = Device(server, folder, draw=lambda low, high: high)
    running = asyncio.create_task(device.channel.run())
    try:
        yield device
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await device.http.close()
        device.spool.close()
