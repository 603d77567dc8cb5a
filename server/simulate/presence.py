"""When a device is awake: working days for laptops, always for servers, and the absences of its part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from server.simulate.device import PLAIN, Device

HOUR, DAY = 3600, 86_400
SATURDAY = 5
_MORNINGS = 0.3


@dataclass(frozen=True, slots=True)
class Span:
    """The days over which the parts are played: ``first`` counts days since 1970, in UTC."""

    first: int
    days: int

    def at(self, share: float) -> int:
        """The day at a share (0 to 1) of the span."""
        return self.first + max(1, int(share * self.days))


@dataclass(frozen=True, slots=True)
class Session:
    """A stretch in which a device is awake, in true unix time; the end is exclusive."""

    start: int
    end: int


def window(device: Device, span: Span) -> tuple[int, int]:
    """The first day of what a device's part brings, and the day on which it is over where the part has an end."""
    begin = span.at(0.2 + 0.25 * device.dice.share("begin"))
    return begin, begin + max(3, int(span.days * (0.2 + 0.15 * device.dice.share("length"))))


def session(device: Device, span: Span, day: int) -> Session | None:
    """When the device is awake on a day; None where it is not."""
    begin, end = window(device, span)
    if device.part == "departed" and day >= begin:
        return None
    if device.part == "joined_late" and day < begin:
        return None
    if device.part == "holiday" and begin <= day < begin + min(7, end - begin + 1):
        return None
    if device.kind == "server":
        return Session(day * DAY, (day + 1) * DAY)
    return _working_day(device, day)


def _working_day(device: Device, day: int) -> Session | None:
    dice = device.dice
    weekend = date_of(day).weekday() >= SATURDAY
    if weekend and not dice.chance(0.12, "weekend", day):
        return None
    if not weekend and device.part in PLAIN and dice.chance(0.04, "day off", day):
        return None
    opens = day * DAY + device.site.opens + dice.between(-2700, 2700, "opens", day)
    if weekend:
        opens += dice.between(0, 7200, "late", day)
        return Session(opens, opens + dice.between(7200, 14_400, "short", day))
    return Session(opens, day * DAY + device.site.closes + dice.between(-2700, 3600, "closes", day))


def awake_at(device: Device, span: Span, now: float) -> bool:
    """Whether the device is awake at an instant of true time."""
    found = session(device, span, int(now) // DAY)
    return found is not None and found.start <= now < found.end


def rounds(device: Device, span: Span, day: int) -> tuple[int, ...]:
    """The instants of a day, in true time, at which an awake device runs its whole schedule.

    That is in the afternoon, and on a few days in the morning too: enough to see a day on which something was mended.
    """
    found = session(device, span, day)
    if found is None:
        return ()
    if device.kind == "server":
        jitter = device.dice.between(0, 3000, "round")
        morning, afternoon = day * DAY + 6 * 3600 + jitter, day * DAY + 18 * 3600 + jitter
    else:
        jitter = device.dice.between(30, 900, "round", day)
        morning, afternoon = found.start + jitter, found.end - 1200 - jitter
    return (morning, afternoon) if device.dice.chance(_MORNINGS, "morning", day) else (afternoon,)


def date_of(day: int) -> date:
    """The calendar day, in UTC, of a day counted since 1970."""
    return datetime.fromtimestamp(day * DAY, UTC).date()
