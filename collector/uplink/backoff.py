"""How long to wait before the next try, so that a fleet does not come back as one."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 1.0
MOST_SECONDS = 300.0


class Backoff:
    """Waits that double, each drawn evenly from nothing up to that much (full jitter)."""

    def __init__(
        self,
        first: float = FIRST_SECONDS,
        most: float = MOST_SECONDS,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.failures = 0
        self._first = first
        self._most = most
        self._draw = draw

    def failed(self) -> float:
        """Count a failure; returns the seconds to wait."""
        ceiling = min(self._most, self._first * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return self._draw(0.0, ceiling)

    def reset(self) -> None:
        """It went well, or there is reason to think that it will."""
        self.failures = 0


def squared(tries: int, most: float, draw: Callable[[float, float], float] = random.uniform) -> float:
    """The wait after so many tries to enrol: as osquery's own, 1, 4, 9 … seconds, less up to a fifth."""
    full = min(most, float(tries) ** 2)
    return full - draw(0.0, full / 5)
