"""What the server says, by the channel or in answer to a poll: kept, or given to whom it concerns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from collector.live.question import ID_CHARS, NOT_TEXT, Answer, Question, failed
from collector.live.queue import Cancel
from collector.spool import Spool, SpoolFullError

HELLO = "hello"
CONFIG = "config"
POSTURE = "posture"
KEPT = (HELLO, CONFIG, POSTURE)
"""The kinds of messages of which the newest is kept, as it came, in the spool's note of that name."""
HASHES = "hashes"
"""The note of the hashes of the config and the posture kept: they can be read without the whole."""
LEAST_POLL_SECONDS = 2.0
MOST_POLL_SECONDS = 3600.0
MOST_BUSY_SECONDS = 900.0

_LOG = logging.getLogger(__name__)


class Live(Protocol):
    """Who takes questions."""

    async def take(self, burst: Sequence[Question | Cancel], failures: Sequence[Answer] = ()) -> None:
        """Take a burst of them."""


@dataclass(slots=True)
class Heard:
    """What of it concerns the connection."""

    greeted: bool = False
    poll_seconds: float | None = None
    node_invalid: bool = False
    busy_seconds: float | None = None
    """The server wants to be left alone for so long."""


class Messages:
    """Takes in messages. Unknown ones are left alone, and of malformed ones each sort is told once."""

    def __init__(self, spool: Spool, live: Live, changed: Callable[[str], None] = lambda kind: None) -> None:
        self._spool = spool
        self._live = live
        self._changed = changed
        """Told the kind of a message that was kept and is another than before; of a hello its calendar counts."""
        self._complained: set[str] = set()

    async def frames(self, frames: Iterable[str | bytes]) -> Heard:
        """Take in a burst from the channel."""
        messages = []
        for frame in frames:
            try:
                messages.append(orjson.loads(frame))
            except orjson.JSONDecodeError:
                self._complain("a message", "it is no JSON")
        return await self.messages(messages)

    async def messages(self, messages: Iterable[Any]) -> Heard:
        """Take in a burst. What cannot be stored on a full disk is left: the server says it again."""
        heard = Heard()
        burst: list[Question | Cancel] = []
        failures: list[Answer] = []
        for message in messages:
            kind = message.get("type") if isinstance(message, dict) else None
            if not isinstance(kind, str):
                self._complain("a message", "it has no type")
            elif kind in KEPT:
                await self._keep(kind, message, heard)
            elif kind in ("ask", "cancel"):
                self._asked(kind, message, burst, failures)
            elif kind == "node_invalid":
                heard.node_invalid = True
            elif kind == "busy":
                heard.busy_seconds = min(MOST_BUSY_SECONDS, _seconds(message.get("seconds")) or 60.0)
        if burst or failures:
            try:
                await self._live.take(burst, failures)
            except SpoolFullError as error:
                _LOG.warning("questions are left: %s", error)
        return heard

    def _asked(
        self, kind: str, message: dict[str, Any], burst: list[Question | Cancel], failures: list[Answer]
    ) -> None:
        name, sql = message.get("id"), message.get("sql")
        if not isinstance(name, str) or not 0 < len(name) <= ID_CHARS:
            self._complain(kind, f"its id is no text of 1 to {ID_CHARS} characters")
        elif kind == "cancel":
            burst.append(Cancel(name))
        elif not isinstance(sql, str):
            self._complain(kind, "its SQL is no text")
            failures.append(failed(name, NOT_TEXT))
        else:
            burst.append(Question(name, sql))

    async def _keep(self, kind: str, message: dict[str, Any], heard: Heard) -> None:
        problem = _PROBLEMS[kind](message)
        if problem:
            self._complain(kind, problem)
            return
        try:
            new = await asyncio.to_thread(self._kept, kind, message)
        except SpoolFullError as error:
            _LOG.warning("the server's %s cannot be kept: %s", kind, error)
            return
        finally:
            if kind == HELLO:
                heard.greeted = True
                seconds = _seconds(message.get("poll_seconds"))
                heard.poll_seconds = seconds and max(LEAST_POLL_SECONDS, min(seconds, MOST_POLL_SECONDS))
        if new:
            self._changed(kind)

    def _kept(self, kind: str, message: dict[str, Any]) -> bool:
        """Keep a message; whether it is news."""
        notes = {kind: orjson.dumps(message)}
        if kind == HELLO:
            new = bool(_calendar(self._spool.get(HELLO)) != message.get("calendar"))
        else:
            new = True
            notes[HASHES] = orjson.dumps(hashes(self._spool) | {kind: message["hash"]})
        self._spool.put([], notes)
        return new

    def _complain(self, kind: str, problem: str) -> None:
        if f"{kind}: {problem}" not in self._complained:
            self._complained.add(f"{kind}: {problem}")
            _LOG.warning("%s from the server cannot be read and is left aside: %s; this is said once", kind, problem)


def hashes(spool: Spool) -> dict[str, str]:
    """The hashes of the config and the posture that are kept, by kind. Blocks."""
    note = spool.get(HASHES)
    try:
        found = orjson.loads(note or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return {kind: value for kind, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _calendar(note: bytes | None) -> Any:
    try:
        found = orjson.loads(note or b"{}")
    except orjson.JSONDecodeError:
        return None
    return found.get("calendar") if isinstance(found, dict) else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, 10**9))


def _hello_problem(message: dict[str, Any]) -> str | None:
    return None if isinstance(message.get("calendar", []), list) else "its calendar is no list"


def _config_problem(message: dict[str, Any]) -> str | None:
    text = message.get("config")
    if not isinstance(message.get("hash"), str) or not isinstance(text, str):
        return "its config or its hash is no text"
    if not _objects(message.get("queries")):
        return "its queries are no list of objects"
    try:  # osqueryd loses its whole schedule over a config that it cannot read
        readable = isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        readable = False
    return None if readable else "its config is no JSON object"


def _posture_problem(message: dict[str, Any]) -> str | None:
    if not isinstance(message.get("hash"), str):
        return "its hash is no text"
    return None if _objects(message.get("verdicts")) else "its verdicts are no list of objects"


def _objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_PROBLEMS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    HELLO: _hello_problem,
    CONFIG: _config_problem,
    POSTURE: _posture_problem,
}
