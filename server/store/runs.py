"""The runs of differentials as received: what lets late, split and repeated pieces end in the same state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.normalize.answers import Answer
from server.normalize.text import clean_text
from server.store.driver import Transaction
from server.wire.messages import Row

_COLUMNS = "at, epoch, counter, version, whole, added, removed"
_LOST_EPOCH = 2**63 - 1
"""Sorts after every run of its instant."""
_DOUBTFUL = (
    "CASE WHEN EXISTS (SELECT 1 FROM muster_gaps g WHERE g.device_no = muster_runs_received.device_no"
    " AND g.first_at <= muster_runs_received.at AND g.last_at >= muster_runs_received.at"
    " AND (g.query = '*' OR g.query = (SELECT q.query FROM muster_queries q"
    " WHERE q.table_name = muster_runs_received.table_name))) THEN 1 ELSE 0 END"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of a differential said, as far as it has arrived. ``whole`` is a run with counter 0."""

    at: str
    epoch: int
    counter: int
    version: str
    whole: bool
    added: list[dict[str, Any]]
    removed: list[dict[str, Any]]
    doubtful: bool = False
    """Whether the device has lost lines of its time, which may have been lines of this run."""

    @classmethod
    def of(cls, answer: Answer, at: str, version: str) -> Run:
        """The run an answer reports."""
        return cls(
            at=at,
            epoch=answer.epoch,
            counter=answer.counter,
            version=version,
            whole=answer.whole,
            added=[_clean(row) for row in answer.added],
            removed=[_clean(row) for row in answer.removed],
        )

    @classmethod
    def lost(cls, at: str, version: str) -> Run:
        """Stands for runs that were lost up to an instant: it changes nothing, and no run follows it."""
        return cls(at=at, epoch=_LOST_EPOCH, counter=0, version=version, whole=False, added=[], removed=[])

    def follows(self, other: Run) -> bool:
        """Whether no run can lie between the other and this one."""
        return self.epoch == other.epoch != _LOST_EPOCH and self.counter == other.counter + 1


async def keep_run(tx: Transaction, device_no: int, table: str, run: Run) -> bool:
    """Merge a run into what arrived of it before; False if that changes nothing.

    A run sent as one line a row may come in pieces and again. Equal rows within one body are real; equal rows in two
    bodies are a repetition, so of each row the larger count is kept.
    """
    key = (device_no, table, run.at, run.epoch, run.counter)
    known = await tx.row(
        "SELECT added, removed, version FROM muster_runs_received WHERE device_no = ? AND table_name = ? AND at = ?"
        " AND epoch = ? AND counter = ?",
        key,
    )
    added = _merged(orjson.loads(known[0]) if known else [], run.added)
    removed = _merged(orjson.loads(known[1]) if known else [], run.removed)
    # One piece with rows of another shape than the shipped query's tells of the whole run.
    version = min(run.version, known[2]) if known else run.version
    if known and (added, removed, version) == known:
        return False
    await tx.run(
        "INSERT INTO muster_runs_received (device_no, table_name, at, epoch, counter, version, whole, added, removed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device_no, table_name, at, epoch, counter)"
        " DO UPDATE SET version = excluded.version, added = excluded.added, removed = excluded.removed",
        (*key, version, int(run.whole), added, removed),
    )
    return True


async def chain_start(tx: Transaction, device_no: int, table: str, at: str) -> str:
    """The instant of the last run at or before ``at`` that starts from nothing; of the first run where none does."""
    found = await tx.row(
        "SELECT COALESCE(MAX(CASE WHEN whole = 1 THEN at END), MIN(at)) FROM muster_runs_received"
        " WHERE device_no = ? AND table_name = ? AND at <= ?",
        (device_no, table, at),
    )
    return str(found[0]) if found and found[0] else at


async def runs_from(tx: Transaction, device_no: int, table: str, at: str) -> tuple[Run | None, list[Run]]:
    """The last run before an instant, and those from it on, in the order they happened.

    None is from before the horizon, where runs have been dropped and the intervals alone know what was true.
    """
    before = await tx.row(
        f"SELECT {_COLUMNS}, 0 FROM muster_runs_received WHERE device_no = ? AND table_name = ? AND at < ?"
        " ORDER BY at DESC, epoch DESC, counter DESC LIMIT 1",
        (device_no, table, at),
    )
    after = await tx.rows(
        f"SELECT {_COLUMNS}, {_DOUBTFUL}, horizon FROM muster_runs_received"
        " WHERE device_no = ? AND table_name = ? AND at >= ? ORDER BY at, epoch, counter",
        (device_no, table, at),
    )
    dropped_until = max((row[0] for row in after if row[-1]), default="")
    late = [row[:-1] for row in after if row[0] > dropped_until]
    if dropped_until:
        before = next(row[:-1] for row in reversed(after) if row[0] == dropped_until)
    return (_run(before) if before else None), [_run(row) for row in late]


async def beyond_horizon(tx: Transaction, device_no: int, table: str, at: str) -> bool:
    """Whether an instant is one of those whose runs have been dropped, up to the one kept to go on from."""
    found = await tx.row(
        "SELECT 1 FROM muster_runs_received WHERE device_no = ? AND table_name = ? AND at >= ? AND horizon = 1 LIMIT 1",
        (device_no, table, at),
    )
    return found is not None


def _run(row: Sequence[Any]) -> Run:
    at, epoch, counter, version, whole, added, removed, doubtful = row
    return Run(
        at=at,
        epoch=epoch,
        counter=counter,
        version=version,
        whole=bool(whole),
        added=orjson.loads(added),
        removed=orjson.loads(removed),
        doubtful=bool(doubtful) or epoch == _LOST_EPOCH,
    )


def _merged(known: list[dict[str, Any]], sent: list[dict[str, Any]]) -> str:
    counts = Counter(_text(row) for row in known)
    for text, count in Counter(_text(row) for row in sent).items():
        counts[text] = max(counts[text], count)
    return "[" + ",".join(sorted(counts.elements())) + "]"


def _text(row: dict[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()


def _clean(row: Row) -> dict[str, Any]:
    """A row as JSON can keep it; integers beyond 64 bits as their digits."""
    clean: dict[str, Any] = {}
    for column, value in row.items():
        if isinstance(value, str):
            value = clean_text(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            value = str(value)
        clean[clean_text(column)] = value
    return clean
