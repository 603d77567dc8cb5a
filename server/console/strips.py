"""From runs of days to one entry per day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

from server.console.tally import Tally
from server.evaluate.verdicts import EXEMPT, FAIL, PASS
from server.store.numbers import CountedRuns

DAYS = 30
_EXEMPT_OBSERVED, _LAPSED = "exempt_observed", "lapsed"


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
    runs: Iterable[CountedRuns], days: Sequence[str], judged: Mapping[int, set[str]]
) -> dict[int, list[DayOfControl]]:
    """Every control's tallies, a day after the other. A run only counts on days its control was judged.

    Each run is two changes, where it begins and where it is over; the sums of the changes are the counts.
    """
    place = {day: at for at, day in enumerate(days)}
    changes: dict[int, dict[str, list[int]]] = {control_no: {} for control_no in judged}
    for run in runs:
        for kind in _kinds(run):
            steps = changes.setdefault(run.key, {}).setdefault(kind, [0] * (len(days) + 1))
            steps[place.get(run.first_day, 0)] += run.runs
            steps[place.get(run.last_day, len(days) - 1) + 1] -= run.runs
    return {control_no: _tallies(steps, days, judged.get(control_no, set())) for control_no, steps in changes.items()}


def _kinds(run: CountedRuns) -> Iterator[str]:
    """What a run is counted as: its status, and what that does not tell."""
    yield run.status
    if run.status == EXEMPT and run.underlying_status in (PASS, FAIL):
        yield _EXEMPT_OBSERVED
    if run.lapsed:
        yield _LAPSED


def _tallies(steps: Mapping[str, list[int]], days: Sequence[str], judged: set[str]) -> list[DayOfControl]:
    counts = {kind: list(accumulate(changes)) for kind, changes in steps.items()}
    seen, lapsed = (counts.pop(kind, [0] * len(days)) for kind in (_EXEMPT_OBSERVED, _LAPSED))
    return [
        DayOfControl(
            day,
            Tally({s: c[at] for s, c in counts.items() if c[at]}, seen[at], lapsed[at]) if day in judged else None,
        )
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
