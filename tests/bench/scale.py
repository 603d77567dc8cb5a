"""How much is measured: from a glance, for the tests, to DESIGN's full scale."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """``share`` of the default amounts, in so many rounds; ``full`` takes DESIGN's amounts where they take long."""

    share: float = 1.0
    rounds: int = 5
    full: bool = False

    def of(self, amount: int, *, full: int | None = None) -> int:
        """The amount at this scale, at least one."""
        return full if self.full and full is not None else max(1, round(amount * self.share))
