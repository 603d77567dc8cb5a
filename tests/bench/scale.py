"""How much is measured: from a glance, for the tests, to DESIGN's full scale."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """``share`` of the default amounts, in so many rounds."""

    share: float = 1.0
    rounds: int = 5

    def of(self, amount: int, least: int = 1) -> int:
        """The amount at this scale."""
        return max(least, round(amount * self.share))
