"""When lines happened, from what their device's clock said.

The law: a second of a device's clock is dated once. What it was taken for then, it is taken for ever after, whatever
is learned of the clock later, so that a line that comes again lands where it did. Until a device's clock is found to
be off, its seconds are taken as they are and nothing need be kept; from then on every second that was dated lies in a
stretch, and stretches do not overlap. The law ends where data is too old to be stored.

Its price: a second that a clock shows twice, because it was set back, is dated as it was the first time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from server.normalize.clocks import EARLIEST, LATEST, TOLERATED, Clock, newest_first
from server.normalize.times import DAY

MEASURED = "measured"
"""Corrected by what was measured since the same start of the machine."""
RECEIVED = "received"
"""The time was absurd: the newest such line was dated by its arrival, others by their distance from a neighbour."""
UNSURE = "unsure"
"""Taken as the device said, though its clock was found wrong, at another start or before it was set."""
DEVICE = "device"
"""Taken as the device said."""

OSQUERY_BEGAN = 1_414_540_800
"""29 October 2014, osquery's first release: a clock that shows less is dead."""

_SAME_CLOCK = 14 * DAY
"""Lines further apart than this are not taken to be by one clock without a measurement."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds of a device's clock, both ends included, at which it is taken to be ``ahead`` by so many seconds."""

    first_at: int
    last_at: int
    ahead: int
    basis: str


@dataclass(frozen=True, slots=True)
class Dated:
    """``when`` has our time for every time asked for that a clock may show.

    ``stretches`` is what to keep; empty where every second ever seen is taken as it is.
    """

    when: dict[int, int]
    stretches: tuple[Stretch, ...]


def plain(times: Iterable[int], now: int, max_age: int) -> bool:
    """Whether nothing about these times is odd: a device whose clock was never found wrong needs no more."""
    return all(max(now - max_age, OSQUERY_BEGAN) <= time <= now + TOLERATED for time in times)


def date_times(
    times: Iterable[int], stretches: Sequence[Stretch], clocks: Sequence[Clock], now: int, max_age: int
) -> Dated:
    """Date times of a device's clock that arrive now; ``max_age`` is how old data may be, in seconds.

    ``stretches`` must cover everything that was dated of this device, or be empty if nothing was.
    """
    kept = _alive(stretches, now, max_age)
    ordered = newest_first(clocks)
    when: dict[int, int] = {}
    # The newest of several absurd times is the one nearest to its arrival, so it comes first.
    for time in sorted(set(times), reverse=True):
        if not EARLIEST <= time <= LATEST:
            continue
        place = bisect_left(kept, time, key=lambda stretch: stretch.last_at)
        if place < len(kept) and kept[place].first_at <= time:
            when[time] = time - kept[place].ahead
            continue
        ahead, basis = _chosen(time, kept[max(0, place - 1) : place + 1], ordered, now, max_age)
        when[time] = time - ahead
        if time - ahead >= now - max_age:  # else it is set aside
            _claim(kept, place, Stretch(time, time, ahead, basis))
    if all(stretch.basis == DEVICE for stretch in kept) and not stretches:
        return Dated(when, ())
    return Dated(when, tuple(kept))


def _chosen(time: int, beside: Sequence[Stretch], clocks: Sequence[Clock], now: int, max_age: int) -> tuple[int, str]:
    """How far ahead the clock was at a second that was not dated before, and by what that is known."""
    ahead, basis = 0, DEVICE
    clock = _clock_at(time, clocks, now)
    if clock is not None and clock.wrong:
        ahead, basis = clock.ahead, MEASURED
    elif clock is None and clocks and clocks[0].wrong:
        basis = UNSURE
    absurd = time - ahead > now + TOLERATED or (basis != MEASURED and time < OSQUERY_BEGAN)
    for other in beside:
        apart = max(other.first_at - time, time - other.last_at)
        if not other.ahead or apart > _SAME_CLOCK or not now - max_age <= time - other.ahead <= now + TOLERATED:
            continue
        # One correction for one clock keeps its lines in order.
        if absurd or (basis == MEASURED and abs(other.ahead - ahead) <= TOLERATED):
            return other.ahead, other.basis if basis == MEASURED else RECEIVED
    return (time - now, RECEIVED) if absurd else (ahead, basis)


def _clock_at(time: int, clocks: Sequence[Clock], now: int) -> Clock | None:
    """The clock that showed a time: since its machine's start, until it was last read or, for the last one, now."""
    for position, clock in enumerate(clocks):
        first = clock.first_at if clock.booted_at is None else clock.booted_at
        last = clock.last_at if position else now + clock.most + TOLERATED
        if first <= time <= last:
            return clock
    return None


def _claim(kept: list[Stretch], place: int, new: Stretch) -> None:
    """Put a second between the stretches: into its neighbour if that is alike, with what lies between them."""
    if place and _alike(kept[place - 1], new) and new.first_at - kept[place - 1].last_at <= _SAME_CLOCK:
        kept[place - 1] = replace(kept[place - 1], last_at=new.last_at)
    elif place < len(kept) and _alike(kept[place], new) and kept[place].first_at - new.last_at <= _SAME_CLOCK:
        kept[place] = replace(kept[place], first_at=new.first_at)
    else:
        kept.insert(place, new)


def _alike(one: Stretch, other: Stretch) -> bool:
    return (one.ahead, one.basis) == (other.ahead, other.basis)


def _alive(stretches: Iterable[Stretch], now: int, max_age: int) -> list[Stretch]:
    """The stretches in order, without those whose every line would be too old to store.

    Of one that lies in the future of a right clock the part to come stays: its lines are not to be taken for new ones.
    """
    alive = []
    for stretch in sorted(stretches, key=lambda stretch: stretch.first_at):
        if stretch.last_at - stretch.ahead < now - max_age - DAY:
            first = max(stretch.first_at, now + TOLERATED + 1)
            stretch = replace(stretch, first_at=first)
        if stretch.first_at <= stretch.last_at:
            alive.append(stretch)
    return alive
