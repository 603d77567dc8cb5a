"""What is to be sent over a websocket: a bounded queue, and the end of the connection where nobody reads it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from aiohttp import WSMsgType, web

log = logging.getLogger(__name__)

MOST_MESSAGES = 1000
MOST_BYTES = 8 * 2**20
"""What may wait for one client: a config and some hundred questions. A message that many get is in memory once."""
SEND_SECONDS = 20.0
"""How long a client may leave its connection unread."""


class Outbox:
    """The messages on their way to one client. Whoever puts one never waits; an idle one has no task of its own."""

    __slots__ = ("_abort", "_bytes", "_ended", "_messages", "_sending", "_socket")

    def __init__(self, socket: web.WebSocketResponse, abort: Callable[[], None]) -> None:
        self._socket = socket
        self._abort = abort
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._ended = False

    def put(self, message: bytes) -> None:
        """Send a message, after those that wait; what does not fit breaks the connection off."""
        if self._ended:
            return
        self._messages.append(message)
        self._bytes += len(message)
        if len(self._messages) > MOST_MESSAGES or self._bytes > MOST_BYTES:
            self._break("more waits for it than is kept")
        elif self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send(), name="muster-channel-send")

    async def sent(self) -> None:
        """Wait until nothing waits any more, or the connection has ended."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))

    def end(self) -> None:
        """Forget what waits: the connection has ended."""
        self._ended = True
        self._messages.clear()

    def abort(self) -> None:
        """Break the connection off."""
        self.end()
        self._abort()

    async def _send(self) -> None:
        try:
            while self._messages:
                message = self._messages.popleft()
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_frame(message, WSMsgType.TEXT)
                self._bytes -= len(message)
        except TimeoutError:
            self._break("it does not read")
        except (ConnectionError, RuntimeError):  # closed, or closing; the reader notices too
            self.end()
        finally:
            self._sending = None

    def _break(self, why: str) -> None:
        log.warning("a channel is broken off: %s", why)
        self.abort()
