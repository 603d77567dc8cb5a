"""A client that does not read holds neither the server nor more than a bounded queue of it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.api import outbox
from server.api.outbox import Outbox

HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}\r\n\r\n"
)


@asynccontextmanager
async def silent_client() -> AsyncIterator[tuple[Outbox, asyncio.Event]]:
    """The outbox of a client that shakes hands and never reads again, and what is set once it is broken off."""
    made: asyncio.Future[Outbox] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, timeout=0.1)
        await socket.prepare(request)
        assert request.transport is not None
        made.set_result(Outbox(socket, request.transport.abort))
        try:
            await socket.receive()
        finally:
            ended.set()
        return socket

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(HANDSHAKE.encode())
        await reader.readexactly(1)
        transport: Any = writer.transport
        transport.pause_reading()
        yield await made, ended
        writer.transport.abort()


async def test_a_queue_that_is_full_breaks_the_connection_off() -> None:
    async with silent_client() as (box, ended):
        message = b"x" * 2**20
        for _ in range(64):
            box.put(message)
        async with asyncio.timeout(10):
            await ended.wait()
        assert box._bytes <= outbox.MOST_BYTES + len(message) and not box._messages
        box.put(message)
        assert not box._messages, "nothing is kept for who is gone"


async def test_a_client_that_is_slow_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SEND_SECONDS", 0.2)
    async with silent_client() as (box, ended):
        for _ in range(7):
            box.put(b"x" * 2**20)
        async with asyncio.timeout(10):
            await ended.wait()
        assert not box._messages


async def test_messages_go_in_their_order_and_an_idle_box_has_no_task() -> None:
    async with silent_client() as (box, _):
        for number in range(100):
            box.put(b"%d" % number)
        await box.sent()
        assert box._sending is None and box._bytes == 0
