"""Reading a request's body within its limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web

from server.api.gate import Gate
from server.wire.body import BadBodyError, inflate, inflated_size
from server.wire.limits import ENDPOINTS, KIB, MIB, Limit

T = TypeVar("T")

CHUNK = 256 * 1024
FREE_BYTES = 256 * KIB
"""What of a body may arrive before it has to have a place: most are no longer."""
STALL_SECONDS = 20.0
"""How long nothing at all may come of a body that has a place."""
DRAIN_FACTOR = 4
"""A body this many times over its limit is cut off; up to there it is read and thrown away, so that osquery listens."""
BODY_SECONDS = 120
"""osquery itself gives up after 16 s without an answer; a client slower than this holds a connection for nothing."""
THREAD_BYTES = 1 * MIB
"""A larger compressed body is inflated in a thread, so that other devices are answered meanwhile."""


class BodyTooLargeError(BadBodyError):
    """The body is over its endpoint's limit; it was drained."""


class BodyLateError(BadBodyError):
    """The body did not arrive in time."""


async def read_body(request: web.Request, endpoint: str) -> bytes:
    """Return the body of a request to an endpoint, inflated. Raises ``BadBodyError``."""
    limit = ENDPOINTS[endpoint]
    raw = await _raw(request, limit)
    if not _is_packed(request):
        return raw
    return await _inflated(raw, limit, limit.inflated)


@asynccontextmanager
async def admitted(request: web.Request, endpoint: str, arriving: Gate, gate: Gate) -> AsyncIterator[bytes]:
    """The body of a request, inflated, in a place of its true size behind ``gate``, for as long as it is needed.

    A place behind ``arriving`` is taken only for what has come, so that whoever announces much and sends nothing
    keeps nobody out. Raises ``BadBodyError``, ``BusyError``.
    """
    limit = ENDPOINTS[endpoint]
    async with arriving.growing() as place:
        raw = await _raw(request, limit, place.grow)
        packed = _is_packed(request)
        size = inflated_size(raw, limit) if packed else len(raw)
        async with gate.place(size):
            held = [await _inflated(raw, limit, size) if packed else raw]
            del raw
            place.leave()
            yield held.pop()  # whoever has read it lets go of it, and nobody else holds it


async def apart(size: int, read: Callable[[], T]) -> T:
    """What ``read`` makes of a body of so many bytes; a large one in a thread, one at a time.

    Taken apart in the event loop, 60 MB would keep everybody else waiting for seconds.
    """
    if size <= THREAD_BYTES:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_READING, read)


_READING = ThreadPoolExecutor(1, thread_name_prefix="muster-reading")


async def _raw(request: web.Request, limit: Limit, grow: Callable[[int], Awaitable[None]] | None = None) -> bytes:
    if request.content.is_eof():
        raw = request.content.read_nowait()  # it came with its head, as small ones do
        if len(raw) > limit.body:
            raise BodyTooLargeError(f"body of {len(raw)} bytes is larger than {limit.body}")
        return raw
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _received(request, limit.body, grow)
    except TimeoutError as error:
        raise BodyLateError(f"the body did not arrive within {BODY_SECONDS} seconds") from error


def _is_packed(request: web.Request) -> bool:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding not in ("gzip", "x-gzip"):
        raise BadBodyError(f"content encoding {encoding[:40]!r} is not gzip")
    return True


async def _inflated(raw: bytes, limit: Limit, most: int) -> bytes:
    if len(raw) > THREAD_BYTES or most > 16 * THREAD_BYTES:
        return await asyncio.to_thread(inflate, raw, limit, most)
    return inflate(raw, limit, most)


async def _received(request: web.Request, largest: int, grow: Callable[[int], Awaitable[None]] | None) -> bytes:
    received, size, granted = bytearray(), 0, FREE_BYTES
    while chunk := await _chunk(request):
        size += len(chunk)
        if size <= largest:
            if grow is not None and size > granted:
                await grow(size - granted)
                granted = size
            received += chunk
        elif size > DRAIN_FACTOR * largest:
            raise BodyTooLargeError(f"body is larger than {largest} bytes")
        else:
            received.clear()
    if size > largest:
        raise BodyTooLargeError(f"body of {size} bytes is larger than {largest}")
    return bytes(received)


async def _chunk(request: web.Request) -> bytes:
    """The next part of a body; empty at its end."""
    async with asyncio.timeout(STALL_SECONDS):
        return await request.content.read(CHUNK)
