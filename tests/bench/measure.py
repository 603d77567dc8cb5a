"""Figures and how they are taken: value and limit in turns, several times, the medians compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any


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
    """One figure. ``limit`` and ``ratio`` are None where the aim is about the value itself.

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


@dataclass(frozen=True, slots=True)
class Paired:
    """Values and limits that were measured in turns."""

    values: list[float]
    limits: list[float]

    @property
    def value(self) -> float:
        """The median of the values."""
        return median(self.values)

    @property
    def limit(self) -> float:
        """The median of the limits."""
        return median(self.limits)

    @property
    def ratio(self) -> float:
        """How the two medians compare."""
        return self.value / self.limit

    @property
    def spread(self) -> list[float]:
        """The least and the greatest ratio of two neighbours: how far the machine's mood goes."""
        ratios = [value / limit for value, limit in zip(self.values, self.limits, strict=True)]
        return [round(min(ratios), 3), round(max(ratios), 3)]


def paired(rounds: int, value: Callable[[int], float], limit: Callable[[int], float]) -> Paired:
    """Measure both in turns, each first every other time; both are called with -1 before, to warm up."""
    value(-1)
    limit(-1)
    taken = Paired([], [])
    for turn in range(rounds):
        for measured, into in ((value, taken.values), (limit, taken.limits))[:: 1 if turn % 2 else -1]:
            into.append(measured(turn))
    return taken
