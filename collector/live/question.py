"""A live question and its answer, in the words of the wire."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from collector.spool import Line

ID_CHARS = 512
"""Longer ids cannot be asked: there is nothing to answer them by."""
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


def plain(sql: str) -> str:
    """The statement without what may stand around it."""
    return sql.strip("; \t\r\n")


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

    def line(self, at: int) -> Line:
        """The answer as it waits for the sender, under its question's id."""
        return Line("answer", self.id, at, self.text(at))


def failed(question: str, message: str, cost: dict[str, int] | None = None) -> Answer:
    """An answer without rows that says why."""
    return Answer(question, FAILED, message, cost=cost or {})
