"""What is known of the day's evidence, kept over restarts in a note of the spool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.evidence.calendar import Day

NOTE = "evidence"
KEPT_SECONDS = 40 * 86_400
"""How far from now an entry may be; by then the query is asked under another name."""


@dataclass(slots=True)
class State:
    """Instants (unix times) by the query's scheduled name. Each counts for the day that it is in."""

    seen: dict[str, int] = field(default_factory=dict)
    """Last observed, by whomever."""
    said: dict[str, int] = field(default_factory=dict)
    """Last time a status line said that it failed or was refused."""
    barred: dict[str, int] = field(default_factory=dict)
    """osqueryd ended while it ran, or it took too long."""
    running: tuple[str, str, int] | None = None
    """The query that runs, osqueryd's process that runs it, and since when."""

    def dumped(self, now: float) -> bytes:
        """As a note, without what is long past."""
        kept = {
            key: {name: at for name, at in of.items() if abs(at - now) < KEPT_SECONDS}
            for key, of in (("seen", self.seen), ("said", self.said), ("barred", self.barred))
        }
        return json.dumps({**kept, "running": self.running}).encode()


def read_state(note: bytes | None) -> State:
    """The state as it was kept; an empty one where it cannot be read."""
    try:
        found = json.loads(note or b"{}")
        running = found.get("running")
        return State(
            _instants(found.get("seen")),
            _instants(found.get("said")),
            _instants(found.get("barred")),
            (str(running[0]), str(running[1]), int(running[2])) if running else None,
        )
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
        return State()


def _instants(found: Mapping[str, int] | None) -> dict[str, int]:
    return {str(name): int(at) for name, at in (found or {}).items()}


def is_of(day: Day, at: int | None) -> bool:
    """Whether something was done on that day."""
    return at is not None and day.has(at)
