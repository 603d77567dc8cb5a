"""HTTP to the one server there is: over TLS, through a proxy if there is one, with bounded time and answers."""

from __future__ import annotations

import asyncio
import io
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from collector import VERSION
from collector.settings import Settings
from collector.uplink.said import BROKEN, plain
from collector.uplink.tls import Tls

CONNECT_SECONDS = 20.0
REQUEST_SECONDS = 90.0
"""For a whole request; the server may take 15 s to answer when it is pressed."""
MOST_ANSWER_BYTES = 1024 * 1024
MOST_REDIRECTS = 3
KEEP_SECONDS = 20.0
"""An idle connection is closed after that long: batches that come closer together share one."""
HEARTBEAT_SECONDS = 30.0
CHUNK = 64 * 1024
LARGE = 1024 * 1024
"""Bytes of a body that is written piece by piece, lest nothing else gets its turn meanwhile."""


class UndeliveredError(Exception):
    """There is no answer of the server's; the message says why, in plain words and without secrets."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Answer(NamedTuple):
    """What the server, or something before it, answered."""

    status: int
    body: bytes
    retry_after: float | None = None
    """Seconds, by the header."""

    @property
    def value(self) -> dict[str, Any]:
        """The JSON object of the body; empty if it is none."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


class Http:
    """One session; its methods raise ``UndeliveredError``. Certificates are read again when their files change."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``SettingsError`` for certificates that cannot be used."""
        self._server = settings.server.rstrip("/")
        self._proxy = settings.proxy
        self._tls = Tls(settings)
        self._session: aiohttp.ClientSession | None = None
        self._heard = False

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        key: str = "",
        compressed: bool = False,
        seconds: float = REQUEST_SECONDS,
        most: int = MOST_ANSWER_BYTES,
    ) -> Answer:
        """Send a JSON body and return the answer, of ``most`` bytes at most, whatever its status is."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", **_authorized(key)}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        url = self._server + path
        try:
            async with asyncio.timeout(seconds):
                for _ in range(MOST_REDIRECTS + 1):
                    answer, target = await self._posted(url, body, headers, most)
                    if target is None:
                        return answer
                    url = self._redirected(url, target)
                raise UndeliveredError("the server answers with one redirection after the other")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            timed_out = isinstance(error, TimeoutError)
            raise UndeliveredError(self._said(error, seconds), timed_out=timed_out) from error

    async def websocket(self, path: str, *, key: str, most: int) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket for messages of ``most`` bytes; answers other than 101 are told by the error's text."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS + 10):
                return await self._opened().ws_connect(
                    self._server + path,
                    headers=_authorized(key),
                    heartbeat=HEARTBEAT_SECONDS,
                    max_msg_size=most,
                    proxy=self._proxy_for_server(),
                    ssl=self._tls.context(),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise RefusedChannelError(error.status) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UndeliveredError(self._said(error), timed_out=isinstance(error, TimeoutError)) from error

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()

    async def _posted(self, url: str, body: bytes, headers: dict[str, str], most: int) -> tuple[Answer, str | None]:
        """The answer, and where it sends us instead."""
        async with self._opened().post(
            url,
            data=body if len(body) <= LARGE else io.BytesIO(body),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy_for_server(),
            ssl=self._tls.context(),
        ) as response:
            self._heard = True
            received = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK):
                received += chunk
                if len(received) > most:
                    raise UndeliveredError(f"the answer is longer than {most} bytes")
            target = response.headers.get("Location") if response.status in (307, 308) else None
            return Answer(response.status, bytes(received), _seconds(response.headers.get("Retry-After", ""))), target

    def _said(self, error: BaseException, seconds: float = 0) -> str:
        said = plain(error, seconds)
        # What a server that wants a certificate says is mostly lost with the connection it closes.
        unshown = said == BROKEN and self._tls.anonymous and not self._heard
        return f"{said}; if it asks for a client certificate, client_cert is to be set" if unshown else said

    def _redirected(self, url: str, target: str) -> str:
        """Where to send the same again: on the same server only, since what is sent is meant for no other."""
        new = urljoin(url, target)
        if urlsplit(new)[:2] != urlsplit(self._server)[:2]:
            raise UndeliveredError(f"the server sends us to another one, {urlsplit(new).hostname}; nothing goes there")
        return new

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=8, keepalive_timeout=KEEP_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"User-Agent": f"muster-collector/{VERSION}", "Accept-Encoding": "gzip"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _proxy_for_server(self) -> str | None:
        """As set, else as the environment says, which on macOS includes what the system is set to."""
        if self._proxy:
            return None if self._proxy == "none" else self._proxy
        server = urlsplit(self._server)
        proxy = getproxies().get(server.scheme)
        if not proxy or proxy_bypass(server.netloc):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


NO_SERVER = "answered, such as a proxy or the sign-in page of a network"
"""What an answer that is none of the server's is taken for."""


class RefusedChannelError(UndeliveredError):
    """The server, or something before it, answered but opened no websocket."""

    def __init__(self, status: int) -> None:
        by = f"; something else {NO_SERVER}" if status < 400 else ""
        super().__init__(f"it was answered {status} instead of a channel{by}")
        self.status = status


def _authorized(key: str) -> dict[str, str]:
    return {"Authorization": f"NodeKey {key}"} if key else {}


def _seconds(text: str) -> float | None:
    return float(text) if text.strip().isdecimal() else None
