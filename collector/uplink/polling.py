"""The server's messages by plain requests, where websockets do not get through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from collector.uplink.hello import Hello
from collector.uplink.messages import MOST_BUSY_SECONDS, Heard, Messages

PATH = "/api/collector/poll"
MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""As many messages as wait, one of them with the config."""
SECONDS = 90.0
POLL_SECONDS = 30.0
"""Between polls, until the server says otherwise."""


class Reply(Protocol):
    """An answer to a request."""

    @property
    def status(self) -> int:
        """HTTP's."""

    @property
    def body(self) -> bytes:
        """All of it."""

    @property
    def value(self) -> dict[str, Any]:
        """The JSON object of it; empty if it is none."""


class Posts(Protocol):
    """Who sends requests; raises ``UndeliveredError``."""

    async def post(self, path: str, body: bytes, *, key: str, seconds: float, most: int) -> Reply:
        """Send one, and return the answer."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What came of a poll."""

    heard: Heard | None = None
    """None: the answer is not the server's messages."""
    status: int = 200


class Polling:
    """Polls, once each time it is asked to."""

    def __init__(self, http: Posts, hello: Hello, messages: Messages) -> None:
        self._http = http
        self._hello = hello
        self._messages = messages
        self.seconds = POLL_SECONDS
        """Until the next poll, as the server said last."""

    async def poll(self, key: str) -> Polled:
        """Say hello and take in what the server has to say. Raises ``UndeliveredError``."""
        body = orjson.dumps({"hello": await self._hello.message()})
        reply = await self._http.post(PATH, body, key=key, seconds=SECONDS, most=MOST_ANSWER_BYTES)
        value = reply.value
        if value.get("node_invalid") is True:
            return Polled(Heard(node_invalid=True), reply.status)
        if reply.status in (429, 503):
            wait = value.get("retry_after")
            seconds = float(wait) if isinstance(wait, int | float) and wait > 0 else 60.0
            return Polled(Heard(busy_seconds=min(seconds, MOST_BUSY_SECONDS)), reply.status)
        messages = value.get("messages")
        if reply.status != 200 or not isinstance(messages, list):
            return Polled(status=reply.status)
        heard = await self._messages.messages(messages)
        self.seconds = heard.poll_seconds or self.seconds
        return Polled(heard)
