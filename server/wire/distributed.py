"""Reading the answers to distributed queries. They may come late, twice, or to questions nobody remembers."""

from __future__ import annotations

from typing import Any

from server.wire.log import text_of
from server.wire.messages import QuestionAnswer

NOT_TOLD = -1


def parse_answers(body: dict[str, Any]) -> list[QuestionAnswer]:
    """The answers in a /distributed/write body; what has not their form is left out."""
    queries, statuses, messages = (_object(body.get(part)) for part in ("queries", "statuses", "messages"))
    return [
        QuestionAnswer(
            question=question,
            status=_status(statuses.get(question)),
            message=text_of(messages.get(question)),
            rows=rows,
        )
        for question, rows in queries.items()
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    ]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _status(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else NOT_TOLD
