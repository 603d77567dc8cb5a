"""The calendar days of the fleet, over changes of its time zone. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from server.normalize.times import FORMAT, iso, unix

FIRST_DAY = date(1970, 1, 1)
"""No day before it is judged."""
ALWAYS = "0001-01-01"
"""The first day of a fleet's first zone."""
_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """A day and its bounds, the end exclusive.

    It has 23 to 25 hours, as the zone's clocks have it; the first one of another zone has more or fewer.
    """

    day: str
    starts_at: str
    ends_at: str
    zone: str


class Calendar:
    """The days of a fleet: each has the zone in force on it and begins at the instant at which the one before ended.

    ``zones`` are first days and the zones from then on; without any it is UTC. A zone from some day on begins where
    the last day of the one before it ended, so that a change touches no day that has begun.
    """

    def __init__(self, zones: Iterable[tuple[str, str]] = ()) -> None:
        self.zones = dict(sorted(({ALWAYS: "UTC"} | dict(zones)).items()))
        self._firsts = list(self.zones)
        self._days: dict[date, Day] = {}

    def zone(self, day: date) -> str:
        """The zone in force on a day."""
        return self.zones[self._firsts[bisect_right(self._firsts, day.isoformat()) - 1]]

    def day(self, day: date) -> Day:
        """The bounds of a day; for years 2 to 9998."""
        found = self._days.get(day)
        if found is None:
            zone = self.zone(day)
            begins = midnight(day, self.zone(day - _ONE))
            found = self._days[day] = Day(day.isoformat(), begins, midnight(day + _ONE, zone), zone)
        return found

    def starts_before(self, day: str, days: int) -> str:
        """When the day so many days before one (YYYY-MM-DD) begins."""
        return self.day(date.fromisoformat(day) - timedelta(days=days)).starts_at

    def today(self, now: float) -> date:
        """The day that an instant, in unix seconds, is in."""
        at = iso(now)
        # By the clock on the wall: another by one where the zone changes, or where clocks go back over midnight.
        day = datetime.fromtimestamp(unix(at), UTC).date()
        day = datetime.fromtimestamp(unix(at), ZoneInfo(self.zone(day))).date()
        while at < self.day(day).starts_at:
            day -= _ONE
        while at >= self.day(day).ends_at:
            day += _ONE
        return day

    def day_at(self, at: str) -> Day:
        """The day that an instant, as times are written, is in."""
        return self.day(self.today(unix(at)))


def day_of(day: date, zone: str) -> Day:
    """The bounds of a day where the zone is always the same."""
    return Calendar([(ALWAYS, zone)]).day(day)


def shifted(day: str, days: int) -> str:
    """The day (YYYY-MM-DD) so many days after one."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def midnight(day: date, zone: str) -> str:
    """When a date begins in a zone.

    Where clocks skip midnight it is the instant at which they do, where it comes twice the first one.
    """
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC).strftime(FORMAT)
