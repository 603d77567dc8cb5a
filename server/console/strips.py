"""From runs of days to one entry per day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

from server.console.tally import Tally

DAYS = 30


class CountedRun(NamedTuple):
    """How many devices had the same status of a control over the same days; ``last_day`` None while it goes on."""

    control_no: int
    status: str
    first_day: str
    last_day: str | None
    devices: int


class DayOfControl(NamedTuple):
    """A control on a day; no tally where it was not judged."""

    day: str
    tally: Tally | None


class DeviceRun(NamedTuple):
    """A device's status of a control over some days."""

    first_day: str
    last_day: str | None
    status: str
    underlying_status: str
    lapsed: int
    reason: str | None


class DayOfDevice(NamedTuple):
    """A device and a control on a day; no run where there is no verdict."""

    day: str
    run: DeviceRun | None


def window(day: str, days: int = DAYS) -> list[str]:
    """The days that end with ``day``."""
    last = date.fromisoformat(day)
    return [(last - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)]


def totals_by_day(
    runs: Iterable[CountedRun], days: Sequence[str], judged: Mapping[int, set[str]]
) -> dict[int, list[DayOfControl]]:
    """Every control's tallies, a day after the other. A run only counts on days its control was judged.

    Each run is two changes, where it begins and where it is over; the sums of the changes are the counts.
    """
    place = {day: at for at, day in enumerate(days)}
    changes: dict[int, dict[str, list[int]]] = {control_no: {} for control_no in judged}
    for run in runs:
        steps = changes.setdefault(run.control_no, {}).setdefault(run.status, [0] * (len(days) + 1))
        steps[place.get(run.first_day, 0)] += run.devices
        over = place.get(run.last_day, len(days) - 1) + 1 if run.last_day else len(days)
        steps[over] -= run.devices
    return {control_no: _tallies(steps, days, judged.get(control_no, set())) for control_no, steps in changes.items()}


def _tallies(steps: Mapping[str, list[int]], days: Sequence[str], judged: set[str]) -> list[DayOfControl]:
    counts = {status: list(accumulate(changes)) for status, changes in steps.items()}
    return [
        DayOfControl(day, Tally({s: c[at] for s, c in counts.items() if c[at]}) if day in judged else None)
        for at, day in enumerate(days)
    ]


def device_days(runs: Iterable[DeviceRun], days: Sequence[str], judged: set[str]) -> list[DayOfDevice]:
    """One device's verdicts of one control, a day after the other."""
    found: dict[str, DeviceRun] = {}
    for run in runs:
        for day in days:
            if run.first_day <= day and (run.last_day is None or day <= run.last_day) and day in judged:
                found[day] = run
    return [DayOfDevice(day, found.get(day)) for day in days]
