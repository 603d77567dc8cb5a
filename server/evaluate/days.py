"""Calendar days of the fleet's time zone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from server.normalize.times import FORMAT

FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Day:
    """A day and its bounds, the end exclusive: 23 to 25 hours, as the zone's clocks have it."""

    day: str
    starts_at: str
    ends_at: str
    zone: str


def day_of(day: date, zone: str) -> Day:
    """The bounds of a calendar day in a zone."""
    return Day(day.isoformat(), _midnight(day, zone), _midnight(day + timedelta(days=1), zone), zone)


def today(now: float, zone: str) -> date:
    """The calendar day it is in a zone."""
    return datetime.fromtimestamp(now, ZoneInfo(zone)).date()


def _midnight(day: date, zone: str) -> str:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC).strftime(FORMAT)
