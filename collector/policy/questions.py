"""The policy as the live queue asks it: which questions are live, and which are the schedule's own, asked early."""

from __future__ import annotations

import json
import logging

from collector.policy.policy import Policy
from collector.policy.tables import Notes

log = logging.getLogger(__name__)

CONFIG = "config"
"""The spool's note of the config that the server last sent."""


class QuestionCheck:
    """Says why a question may not run. A question is live unless its SQL is that of a query in the config held."""

    def __init__(self, policy: Policy, notes: Notes) -> None:
        self._policy = policy
        self._notes = notes
        self._note: bytes | None = None
        self._scheduled: frozenset[str] = frozenset()

    def __call__(self, sql: str) -> str | None:
        """The reason, or None. May block."""
        return self._policy.check(sql, live=not self.scheduled(sql))

    def scheduled(self, sql: str) -> bool:
        """Whether the SQL is that of a query in the config held."""
        note = self._notes.get(CONFIG)
        if note != self._note:
            self._scheduled, self._note = _statements(note), note
        return plain(sql) in self._scheduled


def plain(sql: str) -> str:
    """The statement without what may stand around it."""
    return sql.strip("; \t\r\n")


def _statements(note: bytes | None) -> frozenset[str]:
    try:
        queries = json.loads(note or b"{}").get("queries", [])
        return frozenset(plain(query["sql"]) for query in queries)
    except (ValueError, TypeError, KeyError, AttributeError):
        log.exception("the note of the config cannot be read")
        return frozenset()
