"""What a device itself knows of its answers: the last word it had on a query, every day."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.simulate.presence import DAY
from server.simulate.state import State

ANSWERED, FAILED, DENIED = "answered", "failed", "denylisted"


@dataclass(frozen=True, slots=True)
class Word:
    """How a query fared at an instant of the device's own clock, and what was true then."""

    at: int
    kind: str
    state: State


@dataclass(slots=True)
class Ledger:
    """The last words of one device by query and day, and the first instant it told of."""

    words: dict[str, dict[int, Word]] = field(default_factory=dict)
    first_at: int | None = None

    def note(self, query: str, word: Word) -> None:
        """Keep a word. Of two of the same second, an answer counts more than what is only said of the query."""
        self.told(word.at)
        days = self.words.setdefault(query, {})
        known = days.get(word.at // DAY)
        if known is None or known.at < word.at or (known.at == word.at and word.kind == ANSWERED):
            days[word.at // DAY] = word

    def told(self, at: int) -> None:
        """Note that a line of that instant was written."""
        if self.first_at is None or at < self.first_at:
            self.first_at = at
