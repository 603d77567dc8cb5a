"""The arithmetic of a day and of a period: rates with their denominators, coverage, failures and what mending took.

A verdict is of one device, control and day, and is counted once in each group it belongs to. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import accumulate
from statistics import median
from typing import Any

from server.evaluate.verdicts import EXEMPT, FAIL, NOT_APPLICABLE, PASS, STATUSES
from server.store.numbers import CountedRuns, Remedied


def per_cent(part: int, whole: int) -> float | None:
    """A share in per cent, rounded down to two decimals, so that 100 is all of them; None of nothing."""
    return part * 10_000 // whole / 100 if whole else None


def shown(rate: float | None) -> str:
    """Such a share for people: ``99.98 %``, ``50 %``, or a dash where there is none."""
    return "–" if rate is None else f"{rate:.2f}".rstrip("0").rstrip(".") + " %"


@dataclass(slots=True)
class Numbers:
    """What verdicts come to. ``devices`` and ``devices_failing`` are None where they were not counted."""

    counts: Counter[str] = field(default_factory=Counter)
    exempt_observed: int = 0
    """Of the exempt, those that were seen to pass or to fail."""
    lapsed: int = 0
    devices: int | None = None
    devices_failing: int | None = None
    """Devices with at least one failure that no exemption covers."""
    open_failures: int = 0
    open_since: str | None = None
    mending: list[tuple[int, int, int]] = field(default_factory=list)
    """Days each remedied failure took: from the first failed day to the one it was remedied on, at least, at most."""
    _turns: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, run: CountedRuns) -> None:
        """Count the days of equal runs."""
        verdicts = run.runs * (_days(run.first_day, run.last_day) + 1)
        self.counts[run.status] += verdicts
        if run.status == EXEMPT and run.underlying_status in (PASS, FAIL):
            self.exempt_observed += verdicts
        if run.lapsed:
            self.lapsed += verdicts
        if run.status in (PASS, FAIL):
            turns = self._turns.setdefault(run.status, Counter())
            turns[_ordinal(run.first_day)] += run.runs
            turns[_ordinal(run.last_day) + 1] -= run.runs

    def add_open(self, failures: int, since: str) -> None:
        """Count failures that are open, the oldest from a day on."""
        self.open_failures += failures
        self.open_since = min(self.open_since or since, since)

    def add_remedied(self, failure: Remedied) -> None:
        """Count a failure that was remedied.

        It was mended after the last day it was seen and before the first day it was not; it began after the last day
        that passed. Where none ever did it began with the first that failed.
        """
        began = failure.last_passed_day or failure.first_failed_day
        self.mending.append(
            (
                _days(failure.first_failed_day, failure.remedied_day),
                _days(failure.first_failed_day, failure.last_failed_day),
                _days(began, failure.remedied_day),
            )
        )

    @property
    def in_scope(self) -> int:
        """All verdicts."""
        return sum(self.counts.values())

    @property
    def judged(self) -> int:
        """Those that passed or failed: the denominator of the pass rate."""
        return self.counts[PASS] + self.counts[FAIL]

    @property
    def observed(self) -> int:
        """Those whose device was seen to pass or to fail, exempt or not."""
        return self.judged + self.exempt_observed

    @property
    def applicable(self) -> int:
        """Those the control was for: the denominator of the coverage."""
        return self.in_scope - self.counts[NOT_APPLICABLE]

    def worst_day(self) -> tuple[str, float] | None:
        """The day with the lowest pass rate, the first of equals; None where nothing was judged."""
        passed, failed = (self._turns.get(status, Counter[int]()) for status in (PASS, FAIL))
        days = sorted(passed.keys() | failed.keys())
        sums = zip(days, accumulate(passed[d] for d in days), accumulate(failed[d] for d in days), strict=True)
        shares = [(passing / (passing + failing), day, passing, failing) for day, passing, failing in sums
                  if passing + failing]  # fmt: skip
        if not shares:
            return None
        _, day, passing, failing = min(shares)
        return date.fromordinal(day).isoformat(), per_cent(passing, passing + failing) or 0.0

    def as_dict(self) -> dict[str, Any]:
        """Every figure, by the names it has everywhere."""
        worst = self.worst_day()
        return {
            "devices": self.devices,
            "devices_failing": self.devices_failing,
            "in_scope": self.in_scope,
            **{status: self.counts[status] for status in STATUSES},
            "exempt_observed": self.exempt_observed,
            "lapsed": self.lapsed,
            "judged": self.judged,
            "pass_rate": per_cent(self.counts[PASS], self.judged),
            "observed": self.observed,
            "applicable": self.applicable,
            "coverage": per_cent(self.observed, self.applicable),
            "worst_day": worst[0] if worst else None,
            "worst_day_pass_rate": worst[1] if worst else None,
            "open_failures": self.open_failures,
            "open_since": self.open_since,
            "remedied": len(self.mending),
            **mending(self.mending),
        }


def mending(took: Sequence[tuple[int, int, int]]) -> dict[str, float | None]:
    """The median and the worst of the days it took to remedy failures, with what they were at least and at most."""
    names = ("days_to_remedy", "days_to_remedy_at_least", "days_to_remedy_at_most")
    figures: dict[str, float | None] = {}
    for name, days in zip(names, zip(*took, strict=True) if took else ((), (), ()), strict=True):
        figures[f"{name}_median"] = median(days) if days else None
        figures[f"{name}_worst"] = max(days, default=None)
    return figures


def count_all(
    runs: Iterable[CountedRuns], groups_of: Mapping[int, Sequence[Any]], groups: Iterable[Any]
) -> tuple[dict[Any, Numbers], Numbers]:
    """The numbers of each group, and of all verdicts once; ``groups_of`` has the groups of a control or device."""
    numbers = {group: Numbers() for group in groups}
    everything = Numbers()
    for run in runs:
        everything.add(run)
        for group in groups_of.get(run.key, ()):
            numbers.setdefault(group, Numbers()).add(run)
    return numbers, everything


def _days(first: str, last: str) -> int:
    return _ordinal(last) - _ordinal(first)


@lru_cache(maxsize=8192)
def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()
