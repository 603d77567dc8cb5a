"""Counting devices by status, and showing the counts without flattering them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.evaluate.verdicts import FAIL, NOT_APPLICABLE, PASS, STATUSES
from server.report.numbers import per_cent, shown
from server.report.words import LABELS

LEAST_SHARE = 0.8
"""The per cent of a bar's length that one device among many thousands still gets."""
UPWARDS = ("fail", "error", "stale", "no_data", "pass", "exempt", "not_applicable")
"""What a column shows from its foot: trouble stands on the ground, where its growth is easy to see."""


class Part(NamedTuple):
    """A piece of a bar, in per cent of its length."""

    status: str
    number: int
    start: float
    share: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices by status, of one control on one day."""

    counts: Mapping[str, int]
    exempt_observed: int = 0
    """Of the exempt, those that were seen to pass or to fail."""
    lapsed: int = 0
    """Of those that pass, those that were seen broken within the day."""

    def __getitem__(self, status: str) -> int:
        return self.counts.get(status, 0)

    @property
    def passed(self) -> int:
        """Devices that were seen to be as they should."""
        return self[PASS]

    @property
    def judged(self) -> int:
        """Devices that were seen at all: the denominator of the pass rate."""
        return self[PASS] + self[FAIL]

    @property
    def total(self) -> int:
        """All devices that have a verdict."""
        return sum(self.counts.values())

    @property
    def rate(self) -> str:
        """The share of judged devices that pass; never shown without ``passed`` and ``judged`` beside it."""
        return shown(per_cent(self.passed, self.judged))

    @property
    def applicable(self) -> int:
        """All devices but those the control is not for: the denominator of the coverage."""
        return self.total - self[NOT_APPLICABLE]

    @property
    def coverage(self) -> str:
        """The share of them that was seen to pass or to fail."""
        return shown(per_cent(self.judged + self.exempt_observed, self.applicable))

    @property
    def left_out(self) -> str:
        """What the pass rate does not speak of, in words."""
        return ", ".join(f"{self[status]:,} {LABELS[status].lower()}" for status in STATUSES[2:] if self[status])

    @property
    def sentence(self) -> str:
        """Every count that is not zero, in words."""
        return ", ".join(f"{self[s]:,} {LABELS[s].lower()}" for s in STATUSES if self[s]) or "no devices"

    def bar(self) -> list[Part]:
        """The pieces of a bar, in the order the statuses are always named."""
        return parts(self, STATUSES)

    def column(self) -> list[Part]:
        """The pieces of a column, from its foot."""
        return parts(self, UPWARDS)


def parts(tally: Tally, order: Sequence[str]) -> list[Part]:
    """The pieces that fill a length in proportion, except that none is too small to be seen."""
    present = [status for status in order if tally[status]]
    total = tally.total
    shares = {status: max(100 * tally[status] / total, LEAST_SHARE) for status in present}
    whole = sum(shares.values())
    return list(_laid({status: 100 * share / whole for status, share in shares.items()}, tally))


def _laid(shares: Mapping[str, float], tally: Tally) -> Iterator[Part]:
    start = 0.0
    for status, share in shares.items():
        yield Part(status, tally[status], round(start, 3), round(share, 3))
        start += share
