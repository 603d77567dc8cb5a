"""Figures and how they are taken: value and limit in turns, several times, the medians compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a figure should reach: at least or at most so much, of the ratio or (where there is no limit) the value."""

    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        suffix = f" {self.unit}" if self.unit else ""
        return f">= {self.at_least}{suffix}" if self.at_least is not None else f"<= {self.at_most}{suffix}"

    def reached(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure. ``ratio`` is None where the aim is about the value itself; a limit then is there to compare only.

    ``facts`` are what a reader needs to judge it: scale, connections, commits.
    """

    name: str
    database: str
    value: float
    unit: str
    limit: float | None = None
    ratio: float | None = None
    aim: Aim | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As ``make bench`` prints it."""
        judged = self.value if self.ratio is None else self.ratio
        return {
            "name": self.name,
            "database": self.database,
            "value": round(self.value, 3),
            "unit": self.unit,
            "limit": None if self.limit is None else round(self.limit, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "aim": None if self.aim is None else str(self.aim),
            "reached": None if self.aim is None else self.aim.reached(judged),
            **self.facts,
        }


class Sample(NamedTuple):
    """One measurement: units a second, and microseconds of processor time a unit where that can be told."""

    rate: float
    cpu: float | None = None


def cpu_seconds(pid: int) -> float | None:
    """The processor time a process has used; None where the system does not tell."""
    try:
        threads = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return None
    return sum(int(thread.split()[0]) for thread in threads) / 1e9 if threads else None


def whole_cpu_seconds(pid: int) -> float:
    """The processor time of a process on Linux, to the nanosecond, with that of its threads that have ended."""
    return time.clock_gettime((~pid << 3) | 2)


class Memory(NamedTuple):
    """Of one process on Linux, in MB: what it takes alone and with its share of shared pages, and all it has mapped."""

    pss: float
    rss: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Measure it now."""
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        found = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return cls(found["Pss"], found["Rss"])


@dataclass(frozen=True, slots=True)
class Paired:
    """Values and limits that were measured in turns."""

    values: list[Sample]
    limits: list[Sample]

    @property
    def value(self) -> float:
        """The median of the values."""
        return median(sample.rate for sample in self.values)

    @property
    def limit(self) -> float:
        """The median of the limits."""
        return median(sample.rate for sample in self.limits)

    @property
    def ratio(self) -> float:
        """How the two medians compare."""
        return self.value / self.limit

    def facts(self) -> dict[str, Any]:
        """How far the machine's mood went, and what both cost in processor time, which other work disturbs less."""
        ratios = [value.rate / limit.rate for value, limit in zip(self.values, self.limits, strict=True)]
        found: dict[str, Any] = {"rounds": len(ratios), "ratios": [round(min(ratios), 3), round(max(ratios), 3)]}
        cost, least = _median_cpu(self.values), _median_cpu(self.limits)
        if cost and least:
            found |= {"cpu_us": round(cost, 2), "limit_cpu_us": round(least, 2), "cpu_ratio": round(least / cost, 3)}
        return found


def _median_cpu(samples: list[Sample]) -> float | None:
    known = [sample.cpu for sample in samples if sample.cpu is not None]
    return median(known) if known else None


def paired(rounds: int, value: Callable[[int], Sample], limit: Callable[[int], Sample]) -> Paired:
    """Measure both in turns, each first every other time; both are called with -1 before, to warm up."""
    value(-1)
    limit(-1)
    taken = Paired([], [])
    for turn in range(rounds):
        for measured, into in ((value, taken.values), (limit, taken.limits))[:: 1 if turn % 2 else -1]:
            into.append(measured(turn))
    return taken
