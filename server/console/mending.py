"""What is open since when, and how long it took to mend what no longer is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

from server.report.numbers import Numbers, mending
from server.store.driver import Transaction
from server.store.numbers import CONTROL, Among, open_failures, remedied

WINDOW = 90
"""The days before the shown one, it included, of which failures that were remedied are told."""
KEPT_SECONDS = 15
MOST_KEPT = 100

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Mending:
    """The failures of a control: how many are open, since when, and what the remedied took."""

    open: int = 0
    since: str | None = None
    remedied: int = 0
    median: float | None = None
    worst: float | None = None


NOTHING = Mending()


async def mending_of(tx: Transaction, among: Among, day: str) -> Mapping[str, Mending]:
    """By control, as of the end of a day."""
    first = (date.fromisoformat(day) - timedelta(days=WINDOW - 1)).isoformat()
    found: dict[str, Numbers] = {}
    for control, (count, since) in (await open_failures(tx, among, day, CONTROL)).items():
        found.setdefault(control, Numbers()).add_open(count, since)
    for failure in await remedied(tx, among, first, day):
        found.setdefault(failure.control, Numbers()).add_remedied(failure)
    return {control: _told(numbers) for control, numbers in found.items()}


def _told(numbers: Numbers) -> Mending:
    took = mending(numbers.mending)
    return Mending(
        numbers.open_failures,
        numbers.open_since,
        len(numbers.mending),
        took["days_to_remedy_median"],
        took["days_to_remedy_worst"],
    )


class Kept:
    """What was counted a moment ago: the same again is not counted again for ``KEPT_SECONDS``."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, Any]] = {}

    async def of(self, key: Hashable, count: Callable[[], Awaitable[Value]]) -> Value:
        """What ``count`` gives, perhaps a little earlier."""
        found = self._kept.get(key)
        if found is None or time.monotonic() - found[0] >= KEPT_SECONDS:
            value = await count()
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = (time.monotonic(), value)
        kept: Value = found[1]
        return kept
