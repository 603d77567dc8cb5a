"""Reading a request's body within its limit."""

from __future__ import annotations

import asyncio

from aiohttp import web

from server.wire.body import BadBodyError, inflate
from server.wire.limits import ENDPOINTS, MIB

CHUNK = 256 * 1024
USUAL_RATIO = 10
"""What gzip makes of osquery's lines; it only decides how many bodies are let in at a time."""
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
    if request.content.is_eof():
        raw = request.content.read_nowait()  # it came with its head, as small ones do
        if len(raw) > limit.body:
            raise BodyTooLargeError(f"body of {len(raw)} bytes is larger than {limit.body}")
    else:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                raw = await _received(request, limit.body)
        except TimeoutError as error:
            raise BodyLateError(f"the body did not arrive within {BODY_SECONDS} seconds") from error
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip"):
        raise BadBodyError(f"content encoding {encoding[:40]!r} is not gzip")
    if len(raw) > THREAD_BYTES:
        return await asyncio.to_thread(inflate, raw, limit)
    return inflate(raw, limit)


def expected_bytes(request: web.Request, endpoint: str) -> int:
    """How much a body will hold once it is inflated, as far as its head tells."""
    limit = ENDPOINTS[endpoint]
    if request.content_length is None:
        return limit.body
    factor = 1 if request.headers.get("Content-Encoding", "identity") == "identity" else USUAL_RATIO
    return min(request.content_length * factor, limit.inflated)


async def _received(request: web.Request, largest: int) -> bytes:
    received, size = bytearray(), 0
    async for chunk in request.content.iter_chunked(CHUNK):
        size += len(chunk)
        if size <= largest:
            received += chunk
        elif size > DRAIN_FACTOR * largest:
            raise BodyTooLargeError(f"body is larger than {largest} bytes")
        else:
            received.clear()
    if size > largest:
        raise BodyTooLargeError(f"body of {size} bytes is larger than {largest}")
    return bytes(received)
