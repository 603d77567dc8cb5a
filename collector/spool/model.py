"""What is in the spool, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOG = "log"
LIVE = "live"
LANES = (LOG, LIVE)
"""What is delivered in order and apart: the log's lines and gaps, and answers to live questions."""

FULL = "full"
CORRUPT = "corrupt"
TOO_LARGE = "too_large"
UNWRITABLE = "unwritable"
REFUSED = "refused"
"""Reasons of a gap; ``refused: …`` goes on with what the server said."""

ANY_QUERY = "*"
"""The name of a gap that may be of any query: an empty one says that status lines were lost."""


class SpoolFullError(Exception):
    """The spool cannot be written just now (a full disk mostly): hold the lines and try again."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line for the server."""

    kind: str
    """``result``, ``snapshot``, ``status``, ``answer`` or ``gap``."""
    name: str
    """The scheduled query's name; empty for a status line."""
    at: int
    """Unix time of the observation, by the device's clock. Nothing is ordered by it."""
    text: bytes
    """The JSON object as it goes to the server."""

    @property
    def lane(self) -> str:
        """Answers do not wait behind a backlog."""
        return LIVE if self.kind == "answer" else LOG


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines under way to the server: the same ones until settled, split or diverged, also after a restart."""

    id: str
    spool: str
    """The numbering that ``after`` and ``through`` belong to."""
    lane: str
    after: int
    """The number of the last line delivered before."""
    through: int
    """The number of the last line of this batch."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines that are lost, of one query and for one reason."""

    name: str
    lines: int
    bytes: int
    first_at: int
    last_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class LaneStats:
    """What waits in one lane."""

    lines: int = 0
    bytes: int = 0
    oldest_at: int | None = None
    """When the first line in order was observed."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What this spool has lost since it was begun."""

    lines: int = 0
    bytes: int = 0
    since: int | None = None
    """Unix time of the first loss."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Lines by reason."""


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What waits, altogether and per lane, what is lost, and the room taken on the disk."""

    lines: int
    bytes: int
    oldest_at: int | None
    dropped: Dropped
    lanes: Mapping[str, LaneStats]
    file_bytes: int
