"""Room for new lines within the budget: what gives way, in which order, and how it is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from zlib import crc32

from collector.spool import losses
from collector.spool.file import DamagedError
from collector.spool.model import FULL, LANES, LIVE, LOG, TOO_LARGE, Gap, Line
from collector.spool.schema import PAGE

OVERHEAD = 64
"""Bytes of a row beside its text and name, at most."""
AT_ONCE = 64
"""Lines looked at together when room is made."""

# What gives way, in this order, and never what is under way.
SUPERSEDED = "l.seq IN (SELECT seq FROM superseded WHERE seq > :log ORDER BY seq LIMIT :most)"
CLASSES = (
    SUPERSEDED,
    "l.kind = 'status' AND l.seq > :log",
    "l.kind IN ('result', 'snapshot') AND l.seq > :log",
    "l.kind = 'answer' AND l.seq > :live",
)
RANK = {"status": 2, "result": 3, "snapshot": 3, "answer": 4, "gap": 4}
"""How many of the classes give way to a line of that kind."""


def cost(line: Line) -> int:
    """Bytes the line takes in the file: its own, and whole pages where it does not fit in one."""
    size = len(line.text) + len(line.name) + OVERHEAD
    return size if size <= PAGE // 4 else -(-size // (PAGE - 4)) * PAGE + PAGE


def checksum(kind: str, name: str, at: int, text: bytes) -> int:
    """Tells a line that the disk has changed from the one that was put."""
    return crc32(text, crc32(f"{kind}\0{name}\0{at}".encode(errors="surrogatepass")))


def used(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use, as of this transaction."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(pages - connection.execute("PRAGMA freelist_count").fetchone()[0]) * PAGE


def integer(value: object) -> int:
    """A number as we wrote it; anything else is damage."""
    if isinstance(value, int):
        return value
    raise DamagedError(f"{value!r:.40} stands where a number was written")


class Room:
    """One transaction's work on the lines: they are added and dropped here only, so that the counts stay true."""

    def __init__(self, connection: sqlite3.Connection, limit: int, largest: Mapping[str, int], now: int) -> None:
        self._connection = connection
        self._limit = limit
        self._largest = largest
        self._now = now
        self._used = used(connection)

    def add(self, lines: Iterable[Line]) -> None:
        """Store the lines in their order; what does not fit makes others give way, or is dropped itself."""
        for line in lines:
            size = cost(line)
            if len(line.text) > self._largest[line.lane]:
                self._lose([(line, len(line.text))], TOO_LARGE)
                continue
            old = self._supersede(line.name) if line.kind == "snapshot" else None
            if self._used + size > self._limit and not self._give_way(size, RANK[line.kind]) and line.kind != "gap":
                self._lose([(line, len(line.text))], FULL)
                self._connection.execute("DELETE FROM superseded WHERE seq = ?", (old,))
                continue
            self._insert(line)
            self._used += size
        self._used = used(self._connection)
        if self._used > self._limit:
            self._give_way(0, len(CLASSES))

    def drop(self, seqs: Iterable[int], reason: str) -> None:
        """Take lines out as lost."""
        lost = []
        for seq in seqs:
            row = self._connection.execute(
                "SELECT kind, name, at, LENGTH(text) FROM lines WHERE seq = ?", (seq,)
            ).fetchone()
            if row is None:
                continue
            self._connection.execute("DELETE FROM lines WHERE seq = ?", (seq,))
            self._connection.execute("DELETE FROM superseded WHERE seq = ?", (seq,))
            lost.append((Line(str(row[0]), str(row[1]), integer(row[2]), b""), integer(row[3])))
        for lane in LANES:
            sizes = [size for line, size in lost if line.lane == lane]
            if sizes:
                self._count(lane, -len(sizes), -sum(sizes))
        self._lose(lost, reason)

    def _lose(self, lost: Iterable[tuple[Line, int]], reason: str) -> None:
        """Count lines that are not in the spool (any more), each with the bytes of its text."""
        sums: dict[tuple[str, bool], Gap] = {}
        for line, size in lost:
            key = (line.name, line.kind == "gap")
            gap = sums.get(key, Gap(line.name, 0, 0, line.at, line.at, reason))
            first, last = min(gap.first_at, line.at), max(gap.last_at, line.at)
            sums[key] = Gap(line.name, gap.lines + 1, gap.bytes + size, first, last, reason)
        for (_, of_gaps), gap in sums.items():
            (losses.count if of_gaps else losses.note)(self._connection, gap, self._now)

    def _insert(self, line: Line) -> None:
        done = self._connection.execute(
            "INSERT INTO lines (kind, name, at, crc, text) VALUES (?, ?, ?, ?, ?)",
            (line.kind, line.name, line.at, checksum(line.kind, line.name, line.at, line.text), line.text),
        )
        self._count(line.lane, 1, len(line.text))
        if line.kind in ("result", "snapshot"):
            self._connection.execute(
                "INSERT INTO heads (name, seq, at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET at = excluded.at, seq = CASE WHEN ? THEN excluded.seq ELSE seq END",
                (line.name, done.lastrowid, line.at, line.kind == "snapshot"),
            )

    def _supersede(self, name: str) -> int | None:
        """The newest snapshot of that name is not the newest any more; its number."""
        row = self._connection.execute(
            "SELECT l.seq FROM heads AS h JOIN lines AS l ON l.seq = h.seq WHERE h.name = ? AND l.kind = 'snapshot'",
            (name,),
        ).fetchone()
        if row is None:
            return None
        self._connection.execute("INSERT OR IGNORE INTO superseded (seq) VALUES (?)", row)
        return integer(row[0])

    def _count(self, lane: str, lines: int, size: int) -> None:
        self._connection.execute(
            "UPDATE lanes SET lines = lines + ?, bytes = bytes + ? WHERE lane = ?", (lines, size, lane)
        )

    def _give_way(self, size: int, rank: int) -> bool:
        """Drop lines until there is room for ``size`` bytes more; whether there is."""
        under_way = dict(self._connection.execute("SELECT lane, COALESCE(through, 0) FROM lanes"))
        bounds = {"log": under_way.get(LOG, 0), "live": under_way.get(LIVE, 0), "most": AT_ONCE}
        for place in CLASSES[:rank]:
            while (missing := self._missing(size)) > 0:
                victims = []
                for seq, length in self._connection.execute(
                    f"SELECT l.seq, LENGTH(l.text) FROM lines AS l WHERE {place} ORDER BY l.seq LIMIT :most", bounds
                ):
                    victims.append(integer(seq))
                    missing -= integer(length) + OVERHEAD
                    if missing <= 0:
                        break
                if not victims:
                    break
                self.drop(victims, FULL)
        return self._missing(size) <= 0

    def _missing(self, size: int) -> int:
        self._used = used(self._connection)
        return self._used + size - self._limit
