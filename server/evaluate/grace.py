"""The grace of new devices: for some days from the first in scope on they are not judged. Pure."""

from __future__ import annotations

from datetime import date, timedelta

from server.normalize.calendar import Calendar, Day


def grace_from(calendar: Calendar, day: Day, grace_days: int) -> str:
    """The instant from which on a device must have come into scope to be in its grace on a day.

    ``grace_days`` are counted from the day on which it does; without any it is the day's end, and no device is.
    """
    if not grace_days:
        return day.ends_at
    return calendar.day(date.fromisoformat(day.day) - timedelta(days=grace_days - 1)).starts_at


def in_grace(in_scope_from: str, day: Day, since: str) -> bool:
    """Whether a device with this beginning of its scope is in its grace on a day; ``since`` is ``grace_from``'s."""
    return since <= in_scope_from < day.ends_at
