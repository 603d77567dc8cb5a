"""The crash-safe queue between osqueryd and the server: what it accepted is delivered once, or counted as lost."""

from __future__ import annotations

from collector.spool.model import (
    LANES,
    LIVE,
    LOG,
    UNWRITABLE,
    Batch,
    Dropped,
    Gap,
    LaneStats,
    Line,
    SpoolFullError,
    SpoolStats,
)
from collector.spool.spool import Spool

__all__ = [
    "LANES",
    "LIVE",
    "LOG",
    "UNWRITABLE",
    "Batch",
    "Dropped",
    "Gap",
    "LaneStats",
    "Line",
    "Spool",
    "SpoolFullError",
    "SpoolStats",
]
