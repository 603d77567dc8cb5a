"""The messages between the server and a collector, over its channel or in the answer to a poll: JSON with a type."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.wire.body import BadBodyError, decode
from server.wire.collector import backlog_of
from server.wire.limits import QUESTION_CHARS, QUESTIONS_QUEUED
from server.wire.log import text_of
from server.wire.messages import Backlog

HELLO = "hello"
HASH_DIGITS = 32
SHORT_CHARS = 128
POLICY_CHARS = 500

NODE_INVALID = b'{"type":"node_invalid"}'
"""The key is in use no more: the collector throws it away and enrols again."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A message that is sent only to whoever has another one of its type, and the hash by which that is told."""

    hash: str
    message: bytes


def hello(device_id: str, now: float, poll_seconds: int, calendar: Sequence[tuple[str, int, int]]) -> bytes:
    """Greet a collector: who it is here, the time, and the fleet's days to come with their bounds in unix seconds."""
    days = [{"day": day, "starts_at": starts, "ends_at": ends} for day, starts, ends in calendar]
    return _made(HELLO, device_id=device_id, server_time=int(now), poll_seconds=poll_seconds, calendar=days)


def config(text: bytes, queries: Sequence[Mapping[str, Any]]) -> Hashed:
    """What the device is asked: the config as osquery gets it, and what a person may want to know of its queries."""
    return _hashed("config", config=text.decode(), queries=queries)


def posture(day: str, verdicts: Sequence[Mapping[str, Any]]) -> Hashed:
    """How the device fares on a day."""
    return _hashed("posture", day=day, verdicts=verdicts)


def ask(question: str, sql: str) -> bytes:
    """Have a question answered now."""
    return _made("ask", id=question, sql=sql)


def cancel(question: str) -> bytes:
    """Have a question that has not begun left alone: its answer is of no use."""
    return _made("cancel", id=question)


def busy(seconds: int) -> bytes:
    """Have the collector leave, and come again after so long."""
    return _made("busy", seconds=seconds)


def polled(messages: Sequence[bytes]) -> bytes:
    """The answer to a poll, which carries messages as the channel does."""
    return b'{"messages":[' + b",".join(messages) + b"]}"


def _made(kind: str, **said: object) -> bytes:
    return orjson.dumps({"type": kind, **said})


def _hashed(kind: str, **said: object) -> Hashed:
    digest = hashlib.sha256(_made(kind, **said)).hexdigest()[:HASH_DIGITS]
    return Hashed(digest, _made(kind, hash=digest, **said))


# -- what a collector says ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a collector says of itself; ``queued`` are the ids of questions it has and has not answered."""

    collector: str
    osquery: str
    config_hash: str
    posture_hash: str
    serves_config: bool
    policy: str
    queued: frozenset[str]
    backlog: Backlog | None


def parse_message(raw: str | bytes) -> Hello | None:
    """Read a message of a collector; None for one of a type that is not known. Raises ``BadBodyError``."""
    value = decode(raw.encode("utf-8", "replace") if isinstance(raw, str) else raw)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise BadBodyError("a message is a JSON object with a type")
    return hello_of(value) if value["type"] == HELLO else None


def hello_of(value: Any) -> Hello:
    """Read a collector's hello; what is missing or has not its form is taken as not told. Raises ``BadBodyError``."""
    if not isinstance(value, dict):
        raise BadBodyError("hello is a JSON object")
    queued = value.get("queued")
    ids = queued[:QUESTIONS_QUEUED] if isinstance(queued, list) else []
    return Hello(
        collector=text_of(value.get("collector"))[:SHORT_CHARS],
        osquery=text_of(value.get("osquery"))[:SHORT_CHARS],
        config_hash=text_of(value.get("config_hash"))[:SHORT_CHARS],
        posture_hash=text_of(value.get("posture_hash"))[:SHORT_CHARS],
        serves_config=value.get("serves_config") is True,
        policy=text_of(value.get("policy"))[:POLICY_CHARS],
        queued=frozenset(one for one in ids if isinstance(one, str) and 0 < len(one) <= QUESTION_CHARS),
        backlog=backlog_of(value.get("backlog")),
    )
