"""A live question and its answer, in the words of the wire."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from collector.policy.ledger import Asked
from collector.policy.questions import plain
from collector.spool import Line

ID_CHARS = 1024
"""A question with a longer id is left aside, for the server takes no answer to it."""
SQL_BYTES = 256 * 1024
"""osqueryd takes up to a megabyte; what a person asks is a page at most."""

ANSWERED = "answered"
FAILED = "failed"
REFUSED = "refused"
DENYLISTED = "denylisted"
CANCELLED = "cancelled"

INTERRUPTED = "interrupted: the collector ended while it ran"
TOO_MANY = "too many questions: the device has as many waiting as it keeps"
ABSENT = "osqueryd does not answer on its socket"
NOT_TEXT = "the question's SQL is not text"
INTERNAL = "the collector failed over it; its log says how"


@dataclass(frozen=True, slots=True)
class Question:
    """What the server asked."""

    id: str
    sql: str

    @property
    def name(self) -> str:
        """What its answer is called in the spool."""
        return self.id.replace("\0", "")

    @property
    def digest(self) -> str:
        """By which its text is known, whatever its id and what stands around it."""
        return hashlib.sha256(plain(self.sql).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question."""

    id: str
    status: str
    message: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)
    cost: dict[str, int] = field(default_factory=dict)
    """Empty where nothing ran."""

    def text(self, at: int) -> bytes:
        """The JSON object as it goes to the server."""
        body: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "message": self.message,
            "rows": self.rows,
            "cost": self.cost,
            "at": at,
        }
        return orjson.dumps(body)

    def told(self, question: Question | None = None) -> Told:
        """The answer as it is stored now; to a ``question`` that its owner may read of."""
        at = int(time.time())
        asked = None
        if question is not None:
            asked = Asked(self.id, at, question.sql, self.status, len(self.rows), self.message)
        return Told(Line("answer", self.id, at, self.text(at)), asked)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer on its way into the spool."""

    line: Line
    """For the sender, under its question's id."""
    asked: Asked | None
    """For the device's owner; None for what was never a question."""


def failed(question: str, message: str, cost: dict[str, int] | None = None) -> Answer:
    """An answer without rows that says why."""
    return Answer(question, FAILED, message, cost=cost or {})
