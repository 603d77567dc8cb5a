"""What the spool's tables say."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from collector.spool.file import DamagedError
from collector.spool.model import LANES, LOG, Batch, Dropped, LaneStats, Line, SpoolStats
from collector.spool.room import checksum, integer

OF_LANE = {LOG: "kind <> 'answer'", "live": "kind = 'answer'"}
MOST_NAMES = 1000
"""Queries of which the last observation is remembered."""
BESIDE = ("", "-wal", "-shm", ".reserve")
"""The files of a spool, by what is added to its name."""


def waiting(connection: sqlite3.Connection, lane: str) -> bool:
    """Whether the lane has anything to deliver."""
    if connection.execute(f"SELECT 1 FROM lines WHERE {OF_LANE[lane]} LIMIT 1").fetchone() is not None:
        return True
    return lane == LOG and connection.execute("SELECT 1 FROM gaps LIMIT 1").fetchone() is not None


def through(connection: sqlite3.Connection, lane: str, max_bytes: int, max_lines: int) -> int | None:
    """The number of the last line of the lane's next batch."""
    most = _lane(connection, lane)["most"]
    size = 0
    last = None
    for seq, length in connection.execute(
        f"SELECT seq, LENGTH(text) FROM lines WHERE {OF_LANE[lane]} ORDER BY seq LIMIT ?",
        (max(1, max_lines if most is None else min(max_lines, integer(most))),),
    ):
        size += integer(length)
        if last is not None and size > max_bytes:
            break
        last = integer(seq)
    return last


def held(connection: sqlite3.Connection, lane: str) -> tuple[Batch | None, list[int]]:
    """The batch under way, and the numbers of its lines that are not what was put any more."""
    row = _lane(connection, lane)
    if row["batch"] is None:
        return None, []
    lines, unreadable = [], []
    last = integer(row["through"])
    for seq, kind, name, at, crc, text in connection.execute(
        f"SELECT seq, kind, name, at, crc, text FROM lines WHERE {OF_LANE[lane]} AND seq <= ? ORDER BY seq", (last,)
    ):
        if isinstance(text, bytes) and checksum(str(kind), str(name), integer(at), text) == crc:
            lines.append(Line(kind, name, at, text))
        else:
            unreadable.append(integer(seq))
    return Batch(str(row["batch"]), str(row["spool"]), lane, integer(row["settled"]), last, tuple(lines)), unreadable


def under_way(connection: sqlite3.Connection, batch: Batch) -> bool:
    """Whether the batch is the one its lane holds."""
    return bool(_lane(connection, batch.lane)["batch"] == batch.id)


def numbers(connection: sqlite3.Connection, lane: str, last: int) -> list[int]:
    """The numbers of the lane's lines up to that one."""
    rows = connection.execute(f"SELECT seq FROM lines WHERE {OF_LANE[lane]} AND seq <= ? ORDER BY seq", (last,))
    return [integer(seq) for (seq,) in rows]


def forget_lines(connection: sqlite3.Connection, batch: Batch) -> None:
    """Take the lines of a delivered batch out, and what was noted about them."""
    where = f"FROM lines WHERE {OF_LANE[batch.lane]} AND seq <= ?"
    lines, size = connection.execute(f"SELECT COUNT(*), SUM(LENGTH(text)) {where}", (batch.through,)).fetchone()
    connection.execute(f"DELETE {where}", (batch.through,))
    connection.execute(
        "UPDATE lanes SET lines = lines - ?, bytes = bytes - ? WHERE lane = ?", (lines, size or 0, batch.lane)
    )
    if batch.lane == LOG:
        connection.execute("DELETE FROM superseded WHERE seq <= ?", (batch.through,))
        if not waiting(connection, LOG):
            # Names of queries that are not asked any more.
            connection.execute(
                "DELETE FROM heads WHERE seq <= (SELECT seq FROM heads ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (MOST_NAMES,),
            )


def observed(connection: sqlite3.Connection) -> dict[str, int]:
    """When each query was last observed."""
    return {str(name): integer(at) for name, at in connection.execute("SELECT name, at FROM heads")}


def stats(connection: sqlite3.Connection, path: Path, beyond: Batch | None) -> SpoolStats:
    """What waits, what is lost, and the room it takes; ``beyond`` is a batch that does not count as waiting."""
    lanes = {lane: _waits(connection, lane, beyond) for lane in LANES}
    lost = connection.execute("SELECT reason, lines, bytes, since FROM dropped ORDER BY reason").fetchall()
    dropped = Dropped(
        lines=sum(integer(row[1]) for row in lost),
        bytes=sum(integer(row[2]) for row in lost),
        since=min((integer(row[3]) for row in lost), default=None),
        reasons={str(row[0]): integer(row[1]) for row in lost},
    )
    sizes = 0
    for ending in BESIDE:
        with contextlib.suppress(OSError):
            sizes += path.with_name(path.name + ending).stat().st_size
    return SpoolStats(
        lines=sum(lane.lines for lane in lanes.values()),
        bytes=sum(lane.bytes for lane in lanes.values()),
        oldest_at=min((lane.oldest_at for lane in lanes.values() if lane.oldest_at is not None), default=None),
        dropped=dropped,
        lanes=lanes,
        file_bytes=sizes,
    )


def _waits(connection: sqlite3.Connection, lane: str, beyond: Batch | None) -> LaneStats:
    row = _lane(connection, lane)
    lines, size, last = integer(row["lines"]), integer(row["bytes"]), 0
    if beyond is not None and beyond.lane == lane and under_way(connection, beyond):
        # Counted by what is in the batch: going through a large spool would take long.
        lines, size = lines - len(beyond.lines), size - sum(len(line.text) for line in beyond.lines)
        last = beyond.through
    first = connection.execute(
        f"SELECT at FROM lines WHERE {OF_LANE[lane]} AND seq > ? ORDER BY seq LIMIT 1", (last,)
    ).fetchone()
    return LaneStats(lines, size, first and integer(first[0]))


def _lane(connection: sqlite3.Connection, lane: str) -> dict[str, object]:
    names = ("spool", "settled", "lines", "bytes", "most", "batch", "through")
    row = connection.execute(f"SELECT {', '.join(names)} FROM lanes WHERE lane = ?", (lane,)).fetchone()
    if row is None:
        raise DamagedError(f"lane {lane} is missing")
    return dict(zip(names, row, strict=True))
