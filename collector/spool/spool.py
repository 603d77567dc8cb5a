"""The spool: lines in, batches out, each of them once."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from collector.spool import losses, reading
from collector.spool.file import DamagedError, SpoolFile
from collector.spool.model import CORRUPT, LANES, LIVE, LOG, REFUSED, Batch, Gap, Line, SpoolStats
from collector.spool.room import Room
from collector.spool.schema import new_numbering

LEAST_BUDGET = 2**20
FREE_PAGES = 256
"""Unused pages a file may keep: they are about to be written again."""
PAGES_AT_ONCE = 512
"""Pages given back to the disk after one batch."""
UNREADABLE_BATCHES = 64
"""Batches of damaged lines that are passed over before the file is given up."""
INT64 = 2**63 - 1
KEEP = (
    "INSERT INTO notes (key, crc, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET crc = excluded.crc, value = excluded.value"
)


class Spool:
    """A queue on the disk, used by several threads and processes at once.

    Every method raises SpoolFullError where the file cannot be written or read just now; nothing has happened then.
    The file is made when it is first used.

    Args:
        path: The file; beside it are SQLite's own, a lock, and a little room held back for a full disk.
        budget: Bytes that all of it may take on the disk.
        clock: Unix time; only written down, never ordered by.
    """

    def __init__(self, path: Path, budget: int, clock: Callable[[], float] = time.time) -> None:
        if budget < LEAST_BUDGET:
            raise ValueError(f"a spool needs {LEAST_BUDGET} bytes at least, not {budget}")
        self._file = SpoolFile(path, budget, clock)
        self._clock = clock
        self.largest_answer = self._file.largest_answer
        """Bytes of an answer's text at most."""

    def put(self, lines: Sequence[Line], notes: Mapping[str, bytes] | None = None) -> None:
        """Store the lines in their order, all or none of them, and keep notes with them; on the disk on return.

        Where the budget has no room for them older snapshots of a query go first, then the oldest lines, status lines
        before results, answers last, and never what is under way. What goes is told to the server as a gap.
        """
        lines = [_clean(line) for line in lines]

        def work(connection: sqlite3.Connection) -> None:
            if lines:
                self._room(connection).add(lines)
            for key, value in (notes or {}).items():
                connection.execute(KEEP, (key, crc32(value), value))

        if lines or notes:
            self._file.write(work)

    def lost(self, gaps: Sequence[Gap]) -> None:
        """Count lines that were lost before they came here."""
        now = self._now()

        def work(connection: sqlite3.Connection) -> None:
            for gap in gaps:
                losses.note(connection, gap, now)

        self._file.write(work)

    def batch(self, lane: str, max_bytes: int, max_lines: int) -> Batch | None:
        """The lines to deliver next: of ``max_bytes`` of text and ``max_lines`` at most, but one line always.

        None if there are none. It is the same batch until it is settled, split or diverged.
        """
        max_bytes = min(max_bytes, self._file.room // 4)  # what is under way cannot give way
        if not self._file.read(lambda connection: reading.waiting(connection, lane)):
            return None

        def work(connection: sqlite3.Connection) -> Batch | None:
            for _ in range(UNREADABLE_BATCHES):
                if (batch := self._held(connection, lane)) is not None:
                    return batch
                if lane == LOG and losses.untold(connection):
                    self._room(connection).add(Line("gap", *told) for told in losses.tell(connection))
                if not reading.waiting(connection, lane):
                    return None
                _begin_batch(connection, lane, max_bytes, max_lines)
            raise DamagedError("no line can be read")

        return self._file.write(work, urgent=True)

    def settle(self, batch: Batch) -> None:
        """The batch is delivered: its lines go. A batch that is not under way any more is left alone."""

        def work(connection: sqlite3.Connection) -> None:
            if not reading.under_way(connection, batch):
                return
            connection.execute(
                "UPDATE lanes SET settled = through, most = CASE WHEN most < 1000000 THEN most + most / 4 + 1 END"
                " WHERE lane = ?",
                (batch.lane,),
            )
            reading.forget_lines(connection, batch)
            _end_batch(connection, batch.lane)

        self._file.write(work, urgent=True)
        self._file.maintain(_give_back)

    def split(self, batch: Batch, reason: str = "") -> None:
        """The server will never take the batch as it is: the next is half of it.

        A single line that it does not take is dropped, as a gap ``refused: reason``.
        """

        def work(connection: sqlite3.Connection) -> None:
            if not reading.under_way(connection, batch):
                return
            seqs = reading.numbers(connection, batch.lane, batch.through)
            _end_batch(connection, batch.lane)
            connection.execute(
                "UPDATE lanes SET most = ? WHERE lane = ?", (len(seqs) // 2 if len(seqs) > 1 else None, batch.lane)
            )
            if len(seqs) == 1:
                self._room(connection).drop(seqs, f"{REFUSED}: {reason}" if reason else REFUSED)

        self._file.write(work, urgent=True)

    def diverge(self, batch: Batch | None = None) -> None:
        """The server counted otherwise: begin a new numbering and keep the lines; of the batch's lane, or of all."""

        def work(connection: sqlite3.Connection) -> None:
            if batch is not None and not reading.under_way(connection, batch):
                return
            for lane in LANES if batch is None else (batch.lane,):
                _end_batch(connection, lane)
                connection.execute("UPDATE lanes SET spool = ?, settled = 0 WHERE lane = ?", (new_numbering(), lane))

        self._file.write(work, urgent=True)

    def answers(self) -> set[str]:
        """The names of the answers that are not delivered yet."""
        return self._file.read(
            lambda connection: {row[0] for row in connection.execute("SELECT name FROM lines WHERE kind = 'answer'")}
        )

    def observed(self) -> dict[str, int]:
        """When each query was last observed, of the results and snapshots that were put here, delivered or not."""
        return self._file.read(reading.observed)

    def stats(self, beyond: Batch | None = None) -> SpoolStats:
        """What waits, what is lost, and the room it takes; the lines of a batch ``beyond`` which to look left out."""
        return self._file.read(lambda connection: reading.stats(connection, self._file.path, beyond))

    def get(self, key: str) -> bytes | None:
        """A note that was kept; None if there is none."""

        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT value, crc FROM notes WHERE key = ?", (key,)).fetchone()
            if row is None or not isinstance(row[0], bytes) or crc32(row[0]) != row[1]:
                return None
            return row[0]

        return self._file.read(work)

    def keep(self, key: str, value: bytes) -> None:
        """Keep a small note, over restarts; on the disk on return."""
        self.put([], {key: value})

    def forget(self, key: str) -> None:
        """Let go of a note."""
        self._file.write(lambda connection: connection.execute("DELETE FROM notes WHERE key = ?", (key,)), urgent=True)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _now(self) -> int:
        return int(self._clock())

    def _room(self, connection: sqlite3.Connection) -> Room:
        return Room(
            connection, self._file.room, {LOG: self._file.largest, LIVE: self._file.largest_answer}, self._now()
        )

    def _held(self, connection: sqlite3.Connection, lane: str) -> Batch | None:
        """The batch under way; None if there is none, or none of its lines can be read any more."""
        batch, unreadable = reading.held(connection, lane)
        if unreadable:
            self._room(connection).drop(unreadable, CORRUPT)
        if batch is not None and not batch.lines:
            _end_batch(connection, lane)
            return None
        return batch


def _clean(line: Line) -> Line:
    if line.kind not in ("result", "snapshot", "status", "answer", "gap"):
        raise ValueError(f"{line.kind!r} is no kind of line")
    name = line.name.encode(errors="replace").decode().replace("\0", "")
    at = max(-INT64, min(int(line.at), INT64))
    if name == line.name and at == line.at:
        return line
    return Line(line.kind, name, at, line.text)


def _begin_batch(connection: sqlite3.Connection, lane: str, max_bytes: int, max_lines: int) -> None:
    through = reading.through(connection, lane, max_bytes, max_lines)
    if through is not None:
        connection.execute("UPDATE lanes SET batch = ?, through = ? WHERE lane = ?", (uuid.uuid4().hex, through, lane))


def _end_batch(connection: sqlite3.Connection, lane: str) -> None:
    connection.execute("UPDATE lanes SET batch = NULL, through = NULL WHERE lane = ?", (lane,))


def _give_back(connection: sqlite3.Connection) -> None:
    """Return room to the disk: all of it when nothing is left, else a little at a time when half of it is unused."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free <= FREE_PAGES or 2 * free <= pages:
        return
    empty = connection.execute("SELECT 1 FROM lines LIMIT 1").fetchone() is None
    some = free if empty else min(free - FREE_PAGES, PAGES_AT_ONCE)
    # A page a step, of which execute() makes one only.
    connection.executescript(f"PRAGMA incremental_vacuum({some});")
    # The file itself becomes shorter with the checkpoint.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
