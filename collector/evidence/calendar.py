"""The fleet's days as the server told them, and as they go on where it has not been heard for long."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

DAY = 86_400
LONGEST = 3 * DAY
"""Seconds a day may have: 23 or 25 hours where clocks change, any number where the fleet's zone becomes another."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the fleet: its date, and when it begins and ends (unix times)."""

    day: str
    starts_at: int
    ends_at: int

    def has(self, at: float) -> bool:
        """Whether an instant is in it."""
        return self.starts_at <= at < self.ends_at


class Calendar:
    """Days one after the other."""

    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days

    def day_at(self, now: float) -> Day | None:
        """The day of an instant; beyond those told days have 24 hours. None where there are no dates any more."""
        for day in self._days:
            if day.has(now):
                return day
        first, last = self._days[0], self._days[-1]
        if now < first.starts_at:
            days = math.floor((now - first.starts_at) / DAY)
            return _moved(first.day, days, first.starts_at + days * DAY)
        days = math.floor((now - last.ends_at) / DAY)
        return _moved(last.day, days + 1, last.ends_at + days * DAY)


def _moved(day: str, days: int, starts_at: int) -> Day | None:
    try:
        return Day((date.fromisoformat(day) + timedelta(days=days)).isoformat(), starts_at, starts_at + DAY)
    except (ValueError, OverflowError):
        return None


def read_calendar(note: bytes | None) -> Calendar | None:
    """The calendar in the server's hello as it was kept; None where there is none that can be used."""
    try:
        told = json.loads(note or b"{}").get("calendar")
        days = [
            Day(date.fromisoformat(one["day"]).isoformat(), int(one["starts_at"]), int(one["ends_at"])) for one in told
        ]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    days.sort(key=lambda day: day.starts_at)
    return Calendar(days) if days and all(0 < day.ends_at - day.starts_at <= LONGEST for day in days) else None
