"""osquery's side of HTTP: what it sends, and what it takes for a success."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import Any

import aiohttp
import orjson

from server.simulate.measure import Measure

TIMEOUT_SECONDS = 16.0
CONNECTIONS = 512
"""Open at once: tens of thousands of devices would use up the ports of one address."""
HEADER_KEY_SINCE = (5, 23)
"""The version from which on osquery shows its node key in a header too."""


class DeliveryError(Exception):
    """osquery takes the request for failed: no answer, none that is JSON, or one that says ``error``."""


class NodeInvalidError(DeliveryError):
    """The server does not know the node key: osquery throws it away and enrols again."""


class Transport:
    """A connection pool to one server. ``url`` is the server's, without a path."""

    def __init__(self, url: str, measure: Measure, *, each_connection: bool = False, timeout: float = TIMEOUT_SECONDS):
        self._base = url.rstrip("/") + "/api/osquery/"
        self._measure = measure
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, force_close=each_connection, ssl=False)
        # Waiting for a place in the pool is the simulator's own doing and no reason to give up on the server.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(_began)
        trace.on_connection_reuseconn.append(_began)
        self._session = aiohttp.ClientSession(connector=connector, timeout=patience, trace_configs=[trace])

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def post(
        self, endpoint: str, body: bytes, *, version: str, node_key: str = "", compress: bool = False
    ) -> bytes:
        """Send a body; returns the answer's bytes if osquery would take them for a success.

        A request whose connection breaks is sent once more at once, with the same body; one that times out is not.
        Raises ``DeliveryError`` or ``NodeInvalidError``.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": f"osquery/{version}"}
        if node_key and tuple(map(int, version.split(".")[:2])) >= HEADER_KEY_SINCE:
            headers["Authorization"] = f"NodeKey {node_key}"
        if compress:
            headers["Content-Encoding"] = "gzip"
            body = _gzip(body)
        try:
            try:
                answer = await self._once(endpoint, body, headers)
            except aiohttp.ServerTimeoutError:  # a connection error too, but one that osquery does not repeat
                raise
            except aiohttp.ClientConnectionError:
                self._measure.errors["connection"] += 1
                answer = await self._once(endpoint, body, headers)
        except TimeoutError as error:
            self._measure.errors["timeout"] += 1
            raise DeliveryError("no answer in time") from error
        except aiohttp.ClientError as error:
            self._measure.errors["connection"] += 1
            raise DeliveryError(f"no connection: {error}") from error
        return self._judged(answer)

    async def _once(self, endpoint: str, body: bytes, headers: dict[str, str]) -> bytes:
        timing = {"began": time.perf_counter()}
        sending = self._session.post(self._base + endpoint, data=body, headers=headers, trace_request_ctx=timing)
        async with sending as response:
            answer = await response.read()
        self._measure.request(endpoint, time.perf_counter() - timing["began"], len(body), len(answer))
        return answer

    def _judged(self, answer: bytes) -> bytes:
        """The HTTP status plays no part, and an empty answer is a success."""
        if not answer.strip():
            return b"{}"
        try:
            value: Any = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            self._measure.errors["not JSON"] += 1
            raise DeliveryError("the answer is not JSON") from error
        if isinstance(value, dict) and value.get("node_invalid") is True and not value.get("node_key"):
            self._measure.errors["node_invalid"] += 1
            raise NodeInvalidError("the node key is not known")
        if isinstance(value, dict) and "error" in value:
            self._measure.errors["error"] += 1
            raise DeliveryError(str(value["error"]))
        return answer


async def _began(_session: aiohttp.ClientSession, context: Any, _parameters: object) -> None:
    """A request has its place in the pool: what it takes from here on is the server's latency."""
    context.trace_request_ctx["began"] = time.perf_counter()


def _gzip(body: bytes) -> bytes:
    machine = zlib.compressobj(1, wbits=31)
    return machine.compress(body) + machine.flush()


async def pause(seconds: float, stop: asyncio.Event) -> bool:
    """Wait; returns False at once when told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return True
    return False
