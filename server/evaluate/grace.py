"""The grace of new devices: for some days from the first in scope on they are not judged. Pure."""

from __future__ import annotations

from server.normalize.calendar import Calendar, Day


def grace_from(calendar: Calendar, day: Day, grace_days: int) -> str:
    """The instant from which on a device must have come into scope to be in its grace on a day.

    ``grace_days`` are counted from the day on which it does; without any it is the day's end, and no device is.
    """
    if not grace_days:
        return day.ends_at
    return calendar.starts_before(day.day, grace_days - 1)
