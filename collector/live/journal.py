"""What must outlive the uplink: questions that wait, the one that runs, and the texts osqueryd ended over.

A question is noted before it runs and its answer is stored in the transaction that takes the note away: whenever the
process is killed, each question is run at most once and answered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from collector.live.question import Question, Told
from collector.policy.ledger import NOTE as LEDGER
from collector.policy.ledger import Ledger
from collector.spool import Spool

QUEUE = "live"
DENIED = "live_denied"
"""The notes' keys."""
DENIED_SECONDS = 24 * 3600
"""How long a text is not run again, as osqueryd itself does."""
MOST_DENIED = 1000

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """The question that runs."""

    question: Question
    process: str = ""
    """osqueryd's process that it was given to."""
    cancelled: bool = False


@dataclass(slots=True)
class State:
    """The questions that are not answered yet."""

    waiting: list[Question] = field(default_factory=list)
    running: Running | None = None


class Journal:
    """Both notes in the spool. Its methods block and raise ``SpoolFullError``; one thread at a time uses it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ledger = Ledger(spool)
        self._denied: dict[str, int] | None = None

    def load(self) -> State:
        """What was not answered when the uplink ended."""
        found = _object(self._spool.get(QUEUE))
        state = State(waiting=[one for one in map(_question, _list(found.get("waiting"))) if one])
        running = found.get("running")
        question = _question(running)
        if question and isinstance(running, dict):
            state.running = Running(question, str(running.get("process", "")), bool(running.get("cancelled")))
        return state

    def store(self, state: State, told: Sequence[Told]) -> None:
        """Keep the state as it is, with answers, denied texts, and what the device's owner may read of it."""
        asked = [one.asked for one in told if one.asked]
        notes = {QUEUE: _dumped(state)}
        if asked:
            notes[LEDGER] = self._ledger.with_all(asked)
        if self._denied is not None:
            notes[DENIED] = orjson.dumps(self._denied)
        self._spool.put([one.line for one in told], notes)

    def answered(self) -> set[str]:
        """The questions whose answers are not delivered yet."""
        return self._spool.answers()

    def deny(self, question: Question, now: int) -> None:
        """Do not run this text for a day; durable with the next ``store``."""
        denied = {text: until for text, until in self._texts().items() if until > now}
        denied[question.digest] = now + DENIED_SECONDS
        self._denied = dict(sorted(denied.items(), key=lambda item: item[1])[-MOST_DENIED:])

    def denied_until(self, question: Question, now: int) -> int | None:
        """Until when this text is not run; None if it may be. A clock set back does not make it longer."""
        until = self._texts().get(question.digest)
        return until if until is not None and now < until <= now + DENIED_SECONDS else None

    def _texts(self) -> dict[str, int]:
        if self._denied is None:
            found = _object(self._spool.get(DENIED))
            self._denied = {text: until for text, until in found.items() if isinstance(until, int)}
        return self._denied


def _dumped(state: State) -> bytes:
    running = state.running
    return orjson.dumps(
        {
            "waiting": [{"id": one.id, "sql": one.sql} for one in state.waiting],
            "running": running
            and {
                "id": running.question.id,
                "sql": running.question.sql,
                "process": running.process,
                "cancelled": running.cancelled,
            },
        }
    )


def _question(value: Any) -> Question | None:
    if not isinstance(value, dict):
        return None
    question, sql = value.get("id"), value.get("sql")
    return Question(question, sql) if isinstance(question, str) and isinstance(sql, str) else None


def _object(note: bytes | None) -> dict[str, Any]:
    if note is None:
        return {}
    try:
        value = orjson.loads(note)
    except orjson.JSONDecodeError:
        _LOG.warning("a note on live questions cannot be read and is left aside")
        return {}
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
