"""Runs of days: placing one day's verdict among the runs there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from server.evaluate.verdicts import Verdict
from server.normalize.calendar import shifted


class VerdictRun(NamedTuple):
    """Consecutive days with one verdict; ``last_day`` None while it goes on to the last judged day."""

    first_day: str
    last_day: str | None
    verdict: Verdict

    def until(self, latest: str | None) -> str:
        """Its last day, where ``latest`` is the last judged one.

        One that goes on from a later day is of a judging that was broken off: so far it has that day only.
        """
        return self.last_day or max(latest or self.first_day, self.first_day)

    def covers(self, day: str, latest: str | None) -> bool:
        """Whether it tells of a day."""
        return self.first_day <= day <= self.until(latest)


def place(runs: Iterable[VerdictRun], day: str, latest: str | None, verdict: Verdict | None) -> list[VerdictRun]:
    """Return the runs of one device and control after ``day`` got ``verdict`` (None: it has none that day).

    ``runs`` are those that touch the day or a neighbour of it, and the one that goes on; ``latest`` is the last day
    judged until now. Neighbouring runs never have the same verdict, whatever the order in which days were judged. What
    a judging that was broken off left of days after the last judged one goes: else two runs would tell of such a day.
    """
    newest = max(latest or day, day)
    parts: list[VerdictRun] = []
    for run in runs:
        if run.first_day > newest:
            continue
        last = run.until(latest)
        if last < day or run.first_day > day:
            parts.append(run._replace(last_day=last))
            continue
        if run.first_day < day:
            parts.append(run._replace(last_day=shifted(day, -1)))
        if last > day:
            parts.append(VerdictRun(shifted(day, 1), last, run.verdict))
    if verdict is not None:
        parts.append(VerdictRun(day, day, verdict))
    return [
        run._replace(last_day=None) if run.last_day == newest else run
        for run in _merged(sorted(parts, key=lambda run: run.first_day))
    ]


def _merged(parts: Iterable[VerdictRun]) -> list[VerdictRun]:
    merged: list[VerdictRun] = []
    for run in parts:
        previous = merged[-1] if merged else None
        follows = previous is not None and shifted(previous.last_day or "", 1) == run.first_day
        if previous and follows and previous.verdict == run.verdict:
            merged[-1] = previous._replace(last_day=run.last_day)
        else:
            merged.append(run)
    return merged
