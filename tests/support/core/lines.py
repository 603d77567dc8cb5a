"""The JSON lines that osqueryd writes of a run: one snapshot, or what has changed since the last run."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, str]]


def calendar(unix: int) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y UTC", time.gmtime(unix))


@dataclass(frozen=True, slots=True)
class About:
    """What every line of a run says of itself."""

    name: str
    host: str
    unix: int
    epoch: int
    decorations: dict[str, str]

    def fields(self, counter: int) -> dict[str, Any]:
        common: dict[str, Any] = {
            "name": self.name,
            "hostIdentifier": self.host,
            "calendarTime": calendar(self.unix),
            "unixTime": self.unix,
            "epoch": self.epoch,
            "counter": counter,
            "numerics": False,
        }
        return {**common, "decorations": self.decorations} if self.decorations else common


@dataclass
class Remembered:
    """The last answer of a differential query, kept over a restart where there is a database."""

    epoch: int = -1
    counter: int = -1
    rows: Rows = field(default_factory=list)


def snapshot_line(about: About, rows: Rows) -> str:
    return _line({"snapshot": rows, "action": "snapshot", **about.fields(0)})


def snapshot_event_lines(about: About, rows: Rows) -> list[str]:
    """One line a row, as with logger_snapshot_event_type; none when there is none."""
    return [_line({**about.fields(0), "columns": row, "action": "snapshot"}) for row in rows]


def differential_lines(about: About, before: Remembered, rows: Rows, *, by_event: bool) -> tuple[list[str], Remembered]:
    """The lines of what has changed, and what to remember. Nothing changed: no line, the counter stays."""
    rows = [{key: _escaped(value) for key, value in row.items()} for row in rows]
    first = before.epoch != about.epoch
    old = [] if first else before.rows
    removed, added = _less(old, rows), _less(rows, old)
    if not first and not removed and not added:
        return [], before
    counter = 0 if first else before.counter + 1
    now = Remembered(about.epoch, counter, rows)
    fields = about.fields(counter)
    if not by_event:
        return [_line({"diffResults": {"removed": removed, "added": added}, **fields})], now
    changes = [(row, "removed") for row in removed] + [(row, "added") for row in added]
    return [_line({**fields, "columns": row, "action": action}) for row, action in changes], now


def _less(rows: Rows, others: Rows) -> Rows:
    left = Counter(_line(row) for row in others)
    kept = []
    for row in rows:
        if left[_line(row)]:
            left[_line(row)] -= 1
        else:
            kept.append(row)
    return kept


def _escaped(value: str) -> str:
    """Differentials show control characters and bytes that are not UTF-8 as ``\\x0A``; snapshots do not."""
    return re.sub("[\x00-\x1f\udc80-\udcff]", lambda found: f"\\x{ord(found.group()) & 0xFF:02X}", value)


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
