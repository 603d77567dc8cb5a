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
        connector = aiohttp.TCPConnector(limit=0, force_close=each_connection, ssl=False)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=timeout))

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
        started = time.perf_counter()
        async with self._session.post(self._base + endpoint, data=body, headers=headers) as response:
            answer = await response.read()
        self._measure.request(endpoint, time.perf_counter() - started, len(body), len(answer))
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
