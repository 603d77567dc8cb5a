"""The one open connection by which the server reaches the device; polling where no such connection gets through.

Whatever comes by it can come twice or not at all: what matters is kept or answered durably elsewhere, and the hello of
the device says what it has, so that the server can say again what was lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from enum import Enum
from typing import Any

import aiohttp
import orjson

from collector.uplink.backoff import Backoff
from collector.uplink.context import Context
from collector.uplink.hello import Hello
from collector.uplink.http import RefusedChannelError, UndeliveredError
from collector.uplink.messages import Heard, Messages
from collector.uplink.network import Network
from collector.uplink.polling import Polled, Polling

PATH = "/api/collector/channel"
MOST_MESSAGE_BYTES = 16 * 1024 * 1024
"""A config is the largest message."""
HELLO_SECONDS = 60.0
SHORT_SECONDS = 10.0
"""A connection that ends sooner was none."""
SHORT_ONES = 3
"""After so many in a row it is seen whether polls fare better."""
FIRST_RETRY_SECONDS = 60.0
RETRY_SECONDS = 900.0
"""While polls get through, the channel is tried again after a minute, then after twice as long each time."""
CLOSE_SECONDS = 1.0
BURST_FRAMES = 1000
MOST_TOLD = 20
"""Problems that are not told again while no channel opens; there are few, and a server may make up more."""
BURST_BYTES = 1024 * 1024

_LOG = logging.getLogger(__name__)


class End(Enum):
    """How an attempt at a connection ended."""

    HELD = "held"
    """It had been of use."""
    REFUSED = "refused"
    """Something answered, but opened no channel."""
    FAILED = "failed"
    """It could not be had, or ended at once."""
    LEFT = "left"
    """It was let go of for a reason of its own; what to wait for was waited for."""


class Channel:
    """The component that keeps the device within the server's reach."""

    name = "channel"

    def __init__(self, context: Context, hello: Hello, messages: Messages, network: Network) -> None:
        self._context = context
        self._hello = hello
        self._messages = messages
        self._network = network
        self._polling = Polling(context.http, hello, messages)
        self._backoff = Backoff()
        self._short = 0
        self._retry = FIRST_RETRY_SECONDS
        self._by_polls = False
        self._told: set[str] = set()
        self._farewell = ""
        self._poked = asyncio.Event()
        network.tell(self.poke)

    def poke(self, reason: str) -> None:
        """There is reason to believe that the connection is dead, or that one can be had now: try at once."""
        _LOG.debug("the channel is tried anew: %s", reason)
        self._poked.set()

    async def fetch(self) -> bool:
        """Have the server say at once what is new, whether or not the channel is open; whether it did."""
        key = await self._context.enrolment.node_key()
        try:
            heard = (await self._polling.poll(key)).heard
        except UndeliveredError as error:
            _LOG.info("the server was not reached by a poll: %s", error)
            return False
        if heard is None or heard.node_invalid or heard.busy_seconds:
            return False
        self._context.standing.heard_at = time.time()
        return True

    async def run(self) -> None:
        """Keep connected, until cancelled."""
        while True:
            key = await self._context.enrolment.node_key()
            self._poked.clear()
            end = await self._attempt(key)
            if end is End.LEFT:
                continue
            if end is End.HELD:
                self._by_polls = False
                self._short = 0
                self._retry = FIRST_RETRY_SECONDS
                self._backoff.reset()
            else:
                self._short += 1
            if (end is End.REFUSED or self._short >= SHORT_ONES) and await self._polled(key):
                continue
            await self._pause(self._backoff.failed())

    # The websocket.

    async def _attempt(self, key: str) -> End:
        try:
            connection = await self._context.http.websocket(PATH, key=key, most=MOST_MESSAGE_BYTES)
        except RefusedChannelError as error:
            self._tell(str(error))
            return End.REFUSED
        except UndeliveredError as error:
            self._tell(str(error))
            return End.FAILED
        begun = time.monotonic()
        try:
            left = await self._held(key, connection)
        finally:
            with suppress(TimeoutError):  # of a dead connection no farewell comes
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
        if left:
            return End.LEFT
        return End.HELD if time.monotonic() - begun >= SHORT_SECONDS else End.FAILED

    async def _held(self, key: str, connection: aiohttp.ClientWebSocketResponse) -> bool:
        """Talk until the connection ends; whether it was left for a reason of its own."""
        peer = connection.get_extra_info("peername")
        if peer:
            self._network.reached((str(peer[0]), int(peer[1])))
        self._context.standing.channel = "connected"
        self._told = set()
        self._farewell = ""
        self._context.sender.network_is_back()
        _LOG.info("the channel to the server is open")
        reading = asyncio.create_task(self._read(connection))
        greeting = asyncio.create_task(self._greet(connection))
        poked = asyncio.create_task(self._poked.wait())
        tasks: set[asyncio.Task[Any]] = {reading, greeting, poked}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            heard = reading.result() if reading.done() else None
            if greeting.done():
                greeting.result()
            if reading.done() or not poked.done():
                why = self._farewell or connection.close_code or "no farewell"
                _LOG.info("the channel to the server was closed (%s)", why)
            return poked.done() or (heard is not None and await self._minded(key, heard))
        finally:
            self._context.standing.channel = ""
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, connection: aiohttp.ClientWebSocketResponse) -> Heard:
        """Take in what comes until the connection ends; returns what ended it."""
        async with aclosing(bursts(connection, self._closed)) as found:
            async for frames in found:
                self._context.standing.heard_at = time.time()
                heard = await self._messages.frames(frames)
                self._polling.seconds = heard.poll_seconds or self._polling.seconds
                if heard.node_invalid or heard.busy_seconds:
                    return heard
        return Heard()

    def _closed(self, message: aiohttp.WSMessage) -> None:
        """Keep what the server says as it closes, such as that another collector came with the same key."""
        if message.type is aiohttp.WSMsgType.CLOSE and message.extra:
            self._farewell = f"{message.data}: {str(message.extra)[:200]}"

    async def _greet(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(aiohttp.ClientError, ConnectionError):  # the reader notices, too
            while True:
                await connection.send_str(orjson.dumps(await self._hello.message()).decode())
                await asyncio.sleep(HELLO_SECONDS)

    async def _minded(self, key: str, heard: Heard) -> bool:
        """Do what the server wants of the connection itself; whether it wanted anything."""
        if heard.node_invalid:
            self._context.enrolment.invalid(key)
        elif heard.busy_seconds:
            _LOG.info("the server asks to be left alone for %.0f s", heard.busy_seconds)
            await self._pause(heard.busy_seconds, whatever=True)
        return heard.node_invalid or heard.busy_seconds is not None

    # Polls.

    async def _polled(self, key: str) -> bool:
        """Poll until the channel is to be tried again; whether the server was reached so."""
        retry_at = time.monotonic() + self._retry
        reached = False
        while not reached or time.monotonic() < retry_at:
            try:
                polled = await self._polling.poll(key)
                problem = "" if polled.heard else f"a poll was answered with {polled.status}"
            except UndeliveredError as error:
                polled, problem = Polled(), str(error)
            if polled.heard is None:
                self._tell(problem)
                self._context.standing.channel = ""
                return False
            if await self._minded(key, polled.heard):
                return True
            if not reached:
                reached = True
                self._retry = min(RETRY_SECONDS, 2 * self._retry)
                self._reached_by_polls(retry_at)
            self._context.standing.heard_at = time.time()
            if await self._pause(min(self._polling.seconds, max(0.0, retry_at - time.monotonic()))):
                self._retry = FIRST_RETRY_SECONDS
                return True
        return True

    def _reached_by_polls(self, retry_at: float) -> None:
        self._backoff.reset()
        if not self._by_polls:
            _LOG.info(
                "no websocket gets through to the server: it is polled, and the channel tried again in %.0f s",
                retry_at - time.monotonic(),
            )
        self._by_polls = True
        self._context.standing.channel = "polling"
        self._context.sender.network_is_back()

    async def _pause(self, seconds: float, *, whatever: bool = False) -> bool:
        """Wait; whether it ended sooner since the network changed, which ``whatever`` does not mind."""
        if whatever:
            await asyncio.sleep(seconds)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        if self._poked.is_set():
            self._backoff.reset()
            return True
        return False

    def _tell(self, problem: str) -> None:
        """Say why the server is not reached; what is said already only to those who want it all."""
        level = logging.DEBUG if problem in self._told else logging.INFO
        self._told = {*sorted(self._told)[-MOST_TOLD:], problem}
        _LOG.log(level, "no channel to the server: %s", problem)


async def bursts(
    connection: aiohttp.ClientWebSocketResponse, ended: Callable[[aiohttp.WSMessage], None]
) -> AsyncGenerator[list[str | bytes], None]:
    """The frames of a connection until it ends, those together that came together; ``ended`` is given the end."""
    pending = asyncio.ensure_future(connection.receive())
    try:
        while True:
            frames: list[str | bytes] = []
            size = 0
            while len(frames) < BURST_FRAMES and size < BURST_BYTES:
                if frames:
                    await asyncio.wait({pending}, timeout=0)
                    if not pending.done():
                        break
                message = await pending
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    ended(message)
                    if frames:
                        yield frames
                    return
                frames.append(message.data)
                size += len(message.data)
                pending = asyncio.ensure_future(connection.receive())
            yield frames
    finally:
        pending.cancel()
        with suppress(asyncio.CancelledError):
            await pending
