"""Lines that are lost: summed up per query and reason, and told to the server as gap lines."""

from __future__ import annotations

import json
import sqlite3

from collector.spool.model import ANY_QUERY, Gap

MOST_GAPS = 256
"""Sums kept apart; a loss of yet another query or reason is summed as one of any."""
REASON_CHARS = 300

NOTE = """
INSERT INTO gaps (name, reason, lines, bytes, first_at, last_at, dropped_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name, reason) DO UPDATE SET lines = lines + excluded.lines, bytes = bytes + excluded.bytes,
    first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at),
    dropped_at = excluded.dropped_at
"""
COUNT = """
INSERT INTO dropped (reason, lines, bytes, since) VALUES (?, ?, ?, ?)
ON CONFLICT (reason) DO UPDATE SET lines = lines + excluded.lines, bytes = bytes + excluded.bytes
"""


def note(connection: sqlite3.Connection, gap: Gap, now: int) -> None:
    """Add a loss to what is not told yet, within the caller's transaction."""
    name, reason = gap.name, gap.reason[:REASON_CHARS]
    known = connection.execute("SELECT 1 FROM gaps WHERE name = ? AND reason = ?", (name, reason)).fetchone()
    if known is None and connection.execute("SELECT COUNT(*) FROM gaps").fetchone()[0] >= MOST_GAPS:
        name, reason = ANY_QUERY, reason.partition(":")[0]
    connection.execute(NOTE, (name, reason, gap.lines, gap.bytes, gap.first_at, gap.last_at, now))
    count(connection, gap, now)


def count(connection: sqlite3.Connection, gap: Gap, now: int) -> None:
    """Add a loss to the totals only: of a gap line there is no gap."""
    connection.execute(COUNT, (gap.reason.partition(":")[0], gap.lines, gap.bytes, now))


def untold(connection: sqlite3.Connection) -> bool:
    """Whether losses wait to become gap lines. They do so a round at a time: none while gap lines of the last wait."""
    if connection.execute("SELECT 1 FROM gaps LIMIT 1").fetchone() is None:
        return False
    return connection.execute("SELECT 1 FROM lines WHERE kind = 'gap' LIMIT 1").fetchone() is None


def tell(connection: sqlite3.Connection) -> list[tuple[str, int, bytes]]:
    """Take what is not told yet; the name, time and text of each gap line."""
    rows = connection.execute(
        "SELECT name, lines, bytes, first_at, last_at, reason, dropped_at FROM gaps ORDER BY dropped_at, name, reason"
    ).fetchall()
    connection.execute("DELETE FROM gaps")
    keys = ("name", "lines", "bytes", "first_at", "last_at", "reason", "dropped_at")
    return [(str(row[0]), int(row[3]), json.dumps(dict(zip(keys, row, strict=True))).encode()) for row in rows]
