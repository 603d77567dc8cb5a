"""The day's evidence: what a control is judged by, taken at the first opportunity of each day of the fleet."""

from __future__ import annotations

from collector.evidence.asking import Round
from collector.evidence.evidence import Evidence

__all__ = ["Evidence", "Round"]
