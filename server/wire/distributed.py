"""Reading the answers to distributed queries. They may come late, twice, or to questions nobody remembers."""

from __future__ import annotations

from typing import Any

from server.wire.log import text_of
from server.wire.messages import Cost, QuestionAnswer

NOT_TOLD = -1
LARGEST_COST = 2**53


def parse_answers(body: dict[str, Any]) -> list[QuestionAnswer]:
    """The answers in a /distributed/write body; what has not their form is left out."""
    queries, statuses, messages, stats = (
        _object(body.get(part)) for part in ("queries", "statuses", "messages", "stats")
    )
    return [
        QuestionAnswer(
            question=question,
            status=_status(statuses.get(question)),
            message=text_of(messages.get(question)),
            rows=rows,
            cost=cost_of(stats.get(question)),
        )
        for question, rows in queries.items()
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    ]


def cost_of(told: Any) -> Cost:
    """What an answer says it cost; what is no such number is not told."""
    found = _object(told)
    return Cost(
        wall_time_ms=_number(found.get("wall_time_ms")),
        user_time=_number(found.get("user_time")),
        system_time=_number(found.get("system_time")),
        memory=_number(found.get("memory")),
    )


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        value = int(value)
    told = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_COST
    return value if told else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _status(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else NOT_TOLD
