"""What osquery says, as records. The values are still osquery's own; ``normalize`` cleans them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """An enrolment request; ``host_details`` maps a table's name to its one row."""

    secret: str
    host_identifier: str
    platform_type: str
    host_details: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class RawRows:
    """The rows of a large snapshot as they came, a JSON array, and a digest of these bytes."""

    text: bytes
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLine:
    """One result line of a scheduled query.

    ``kind`` says how to read it: ``snapshot`` (``added`` is the whole answer), ``diff`` (one run's ``added`` and
    ``removed``), ``event`` (one row of a run, in whichever of the two it belongs to) or ``snapshot_row`` (one row of a
    snapshot, sent with logger_snapshot_event_type).
    """

    name: str
    unix_time: int
    epoch: int
    counter: int
    kind: str
    added: Sequence[Row]
    removed: Sequence[Row]
    host_identifier: str
    decorations: Row
    raw_rows: RawRows | None = None
    """What ``added`` was read from, if it was large."""
    unread: bool = False
    """Whether ``added`` was left empty since the same bytes were read before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLine:
    """One of osquery's own log lines; ``severity`` is 0 info, 1 warning, 2 error."""

    unix_time: int
    severity: int
    filename: str
    line: int
    message: str
    version: str
    host_identifier: str = ""
    decorations: Row = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took, as osquery measures it: times in milliseconds, memory in bytes; None for what is not told."""

    wall_time_ms: int | None = None
    user_time: int | None = None
    system_time: int | None = None
    memory: int | None = None


NO_COST = Cost()
REFUSED, CANCELLED, DENYLISTED = "refused", "cancelled", "denylisted"
"""How a collector may end a question without an answer: by its device's own policy, since it was withdrawn, or since
it may have ended osquery before."""
ENDED = (REFUSED, CANCELLED, DENYLISTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswer:
    """The answer to one distributed query; ``status`` 0 is success, -1 not told."""

    question: str
    status: int
    message: str
    rows: Sequence[Row]
    ended: str = ""
    """``REFUSED``, ``CANCELLED`` or ``DENYLISTED``, where a collector did not run it; its ``status`` is not 0 then."""
    cost: Cost = NO_COST


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that cannot be stored: why, and its beginning."""

    reason: str
    sample: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Lines of one query that a collector lost, and between when they were observed, in unix seconds.

    ``query`` is a scheduled name, empty for status lines and ``*`` where it is not known which were lost.
    """

    query: str
    lines: int | None
    bytes: int | None
    first_at: int
    last_at: int
    reason: str
    dropped_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBody:
    """A /log request or a collector's batch: the lines that can be read, those that cannot, and those that are lost."""

    node_key: str
    results: list[ResultLine] = field(default_factory=list)
    statuses: list[StatusLine] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMark:
    """Which lines of a collector's spool a batch holds: those after one number, through another."""

    id: str
    spool: str
    lane: str
    after: int
    through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a collector has not delivered yet; ``oldest_at`` is the unix time of the oldest line, if there is any."""

    lines: int
    bytes: int
    oldest_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorBatch:
    """A batch of a collector."""

    mark: BatchMark
    body: LogBody
    answers: list[QuestionAnswer]
    backlog: Backlog | None
