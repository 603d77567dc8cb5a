"""Keeping SQLite's write-ahead log short.

SQLite goes back to the log's beginning only at a moment when nobody reads from it. Readers that overlap, however
short each is, leave no such moment, and the log grows for ever; so the writer waits for one now and then.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

log = logging.getLogger(__name__)

WAL_BYTES = 64 * 2**20
"""What the file is cut to when it is begun anew."""
MOST_WAL_BYTES = 2 * WAL_BYTES
"""From here on the writer waits for the readers of the moment to end."""
PATIENCE_SECONDS = 2.0
"""How long it does; writers wait meanwhile. A reader that stays longer is asked for again after a pause."""
PAUSE_SECONDS = 30.0


class WriteAheadLog:
    """The log beside a database file."""

    def __init__(self, path: Path, most_bytes: int = MOST_WAL_BYTES) -> None:
        self._file = path.with_name(f"{path.name}-wal")
        self._most_bytes = most_bytes
        self._not_before = 0.0

    def size(self) -> int:
        """Bytes of the file; 0 where there is none."""
        try:
            return self._file.stat().st_size
        except OSError:
            return 0

    def keep_short(self, connection: sqlite3.Connection, busy_seconds: float) -> None:
        """Begin a log anew that has grown too long; ``busy_seconds`` is the patience the connection has else."""
        now = time.monotonic()
        if now < self._not_before or self.size() <= self._most_bytes:
            return
        connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE_SECONDS * 1000)}")
        try:
            busy = bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.Error as error:
            log.warning("the write-ahead log could not be begun anew: %s", error)
            busy = True
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        if busy:
            self._not_before = now + PAUSE_SECONDS
            log.info("somebody reads an old view of the database: its log has %d bytes", self.size())
