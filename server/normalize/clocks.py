"""A device's clock: asking it for the time, and what its answers say of how far it is ahead of ours.

A device is asked by distributed query. Its clock showed what it answers at some moment between the question and the
answer, so the answer bounds how far the clock is ahead: an answer that came late bounds it loosely, and is kept so.
The question's id carries the moment it was asked, so that any server process may take the answer, however late.

All times are whole unix seconds; those named ``…_at`` are the device's own. "Ahead" is what its clock shows minus what
ours does: negative for a clock that is behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from server.normalize.times import DAY
from server.wire.messages import Row

TIME_QUERY = "SELECT t.unix_time, u.total_seconds FROM time AS t LEFT JOIN uptime AS u ON 1"
EVERY_SECONDS = 6 * 3600
AGAIN_SECONDS = 600
"""When to ask again after no answer, a loose one, or one of a clock that is wrong: wrong clocks get set."""
TOLERATED = 60
"""A clock is wrong when it is surely further off than this. What is less is not corrected."""
EARLIEST, LATEST = -DAY, 253_402_300_799
"""What a clock may show: from a dead clock's 1970, less a time zone, to the end of the year 9999."""

_SAME_BOOT = 60
_OLDEST_ANSWER = 14 * DAY
_SERVERS_APART = 5
"""Seconds by which the clocks of two server processes may differ."""
_LONGEST_UPTIME = 100 * 366 * DAY
_QUESTION = re.compile(r"muster_time_([0-9]{1,15})")
_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One answer: what the clock showed, when the machine started by that clock, and the bounds it gives."""

    asked: int
    device_at: int
    booted_at: int | None
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A device's clock as it ran from a start, or from being set, until it was last read.

    ``first_read`` and ``last_read`` are our time, of the questions; it is ahead by ``least`` to ``most`` seconds.
    """

    first_read: int
    last_read: int
    booted_at: int | None
    first_at: int
    last_at: int
    least: int
    most: int

    @property
    def wrong(self) -> bool:
        """Whether it is surely off by more than is tolerated."""
        return self.least > TOLERATED or self.most < -TOLERATED

    @property
    def loose(self) -> bool:
        """Whether the bounds are too wide to tell much."""
        return self.most - self.least > 2 * TOLERATED

    @property
    def ahead(self) -> int:
        """The best guess."""
        return (self.least + self.most) // 2


def question_id(now: float) -> str:
    """The id of a question asked now."""
    return f"muster_time_{int(now * 1000)}"


def is_time_question(question: str) -> bool:
    """Whether an id is that of a question for the time."""
    return _QUESTION.fullmatch(question) is not None


def reading_of(question: str, rows: Sequence[Row], now: float) -> Reading | None:
    """What the rows of an answer that arrived now say; None for an answer to another question, or a useless one."""
    asked_in = _QUESTION.fullmatch(question)
    if asked_in is None or len(rows) != 1:
        return None
    asked = int(asked_in[1]) / 1000
    device_at = _number(rows[0].get("unix_time"), LATEST)
    if device_at is None or not now - _OLDEST_ANSWER <= asked <= now + _SERVERS_APART:
        return None
    asked = min(asked, now)
    uptime = _number(rows[0].get("total_seconds"), _LONGEST_UPTIME)
    booted_at = None if uptime is None or uptime > device_at else device_at - uptime
    # The device cuts its time off to the second.
    least, most = math.floor(device_at - now), math.ceil(device_at + 1 - asked)
    return Reading(asked=int(asked), device_at=device_at, booted_at=booted_at, least=least, most=most)


def heed(clocks: Iterable[Clock], reading: Reading) -> Clock:
    """The clock a reading is of: a known one with what the reading adds (its ``first_read`` stays), or a new one.

    The same reading again changes nothing, and an answer that came late is counted for the clock it was read from.
    """
    for clock in newest_first(clocks):
        if _same(clock, reading):
            return _read_again(clock, reading)
        if clock.last_read <= reading.asked:
            break
    return Clock(
        first_read=reading.asked,
        last_read=reading.asked,
        booted_at=reading.booted_at,
        first_at=reading.device_at,
        last_at=reading.device_at,
        least=reading.least,
        most=reading.most,
    )


def newest_first(clocks: Iterable[Clock]) -> list[Clock]:
    """The clocks, the one read last before the others."""
    return sorted(clocks, key=lambda clock: (clock.last_read, clock.first_read), reverse=True)


def next_question(clocks: Iterable[Clock], enrolled: int, doubted: int | None, early: int = 0) -> int:
    """When to ask a device next, in our time.

    ``enrolled`` is when it got its node key; ``doubted`` when last a line was dated by its arrival, if ever; ``early``
    are seconds by which to be early, so that a fleet is not asked all at once.
    """
    latest = next(iter(newest_first(clocks)), None)
    if latest is None or latest.last_read < enrolled:
        return enrolled
    doubtful = latest.wrong or latest.loose or (doubted is not None and doubted >= latest.last_read)
    return latest.last_read + (AGAIN_SECONDS if doubtful else EVERY_SECONDS - early)


def _same(clock: Clock, reading: Reading) -> bool:
    """A clock that was set shows another time of the machine's start, so it counts as another clock."""
    apart = max(clock.least - reading.most, reading.least - clock.most)
    if apart > TOLERATED or (clock.booted_at is None) != (reading.booted_at is None):
        return False
    return clock.booted_at is None or abs(clock.booted_at - (reading.booted_at or 0)) <= _SAME_BOOT


def _read_again(clock: Clock, reading: Reading) -> Clock:
    newer = reading.asked > clock.last_read
    least, most = max(clock.least, reading.least), min(clock.most, reading.most)
    if least > most:  # it drifts: what was read last holds
        least, most = (reading.least, reading.most) if newer else (clock.least, clock.most)
    return replace(
        clock,
        last_read=max(clock.last_read, reading.asked),
        booted_at=reading.booted_at if newer else clock.booted_at,
        first_at=min(clock.first_at, reading.device_at),
        last_at=max(clock.last_at, reading.device_at),
        least=least,
        most=most,
    )


def _number(value: object, most: int) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= most else None
