"""Which devices are judged together: a stretch of their numbers, or those that are named. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

MOST_NAMED = 512
"""Devices that one statement names."""


@dataclass(frozen=True)
class Devices:
    """Devices by their numbers: all from ``low`` to ``high`` or, of these, the ``named`` ones."""

    low: int
    high: int
    named: tuple[int, ...] | None = None

    def of(self, alias: str) -> str:
        """A condition on the devices of a table; its parameters are ``parameters``."""
        if self.named is None:
            return f"{alias}.device_no BETWEEN ? AND ?"
        return f"{alias}.device_no IN ({', '.join('?' * len(self.parameters))})"

    @cached_property
    def parameters(self) -> tuple[int, ...]:
        """The named ones fill a power of two, so that few different statements are made."""
        if self.named is None:
            return (self.low, self.high)
        size = 1 << (len(self.named) - 1).bit_length()
        return (*self.named, *self.named[-1:] * (size - len(self.named)))

    def __contains__(self, number: int) -> bool:
        return self.low <= number <= self.high and (self.named is None or number in self.named)


def named(numbers: Sequence[int]) -> Iterator[Devices]:
    """Named devices, at most ``MOST_NAMED`` at a time."""
    ordered = sorted(set(numbers))
    for start in range(0, len(ordered), MOST_NAMED):
        part = tuple(ordered[start : start + MOST_NAMED])
        yield Devices(part[0], part[-1], part)


def stretches(highest: int, size: int) -> Iterator[Devices]:
    """All devices up to the highest number, so many numbers at a time."""
    for low in range(1, highest + 1, size):
        yield Devices(low, min(low + size - 1, highest))
