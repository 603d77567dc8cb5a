"""Transactions on the spool's file, by several threads and processes, through damage and full disks."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from collector.spool import schema
from collector.spool.model import SpoolFullError
from collector.spool.place import Identity, Place, lost_in, lost_with

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long another process may be at work before this one gives up."""
ATTEMPTS = 5
BESIDE_BYTES = 128 * 1024
"""The index of the write-ahead log, and the pages that a transaction writes beside its lines."""
LARGEST_LINE = 16 * 2**20
"""Bytes of text; the server takes no longer line."""
LARGEST_ANSWER = 64 * 2**20
"""Bytes of text of an answer, which no line limit concerns."""
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
"""Result codes of a damaged file. Our statements are right, so that an error in one (no such table) is damage too."""
ROOMY = 64 * 2**20
"""Free bytes with which a disk is not full."""
FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


class DamagedError(Exception):
    """The file can be read, but what it says cannot be."""


class SpoolFile:
    """One connection, used by one thread at a time. Opened when it is first used, and again when it was replaced."""

    def __init__(self, path: Path, budget: int, clock: Callable[[], float]) -> None:
        self.largest = min(LARGEST_LINE, budget // 16)
        """Bytes of one line's text at most."""
        self.largest_answer = min(LARGEST_ANSWER, budget // (4 if budget >= LARGEST_ANSWER else 16))
        """Bytes of one answer's text at most; a small spool has its room for the log."""
        self.log_bytes = min(2**20, budget // 16)
        """What the write-ahead log is kept to; one transaction, of the largest answer, may come on top of it."""
        reserve = 3 * self.log_bytes  # what is in the log may have to find a place in the file first
        self.room = budget - 2 * self.log_bytes - self.largest_answer - reserve - BESIDE_BYTES
        """Bytes for the pages of the file itself."""
        self._place = Place(path, reserve, clock)
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on one state of the file. Raises SpoolFullError where there is none and none can be made."""
        return self._run("BEGIN", work, urgent=False)

    def write(self, work: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Run ``work``, which may be run again, and commit: on the disk on return.

        ``urgent`` work makes the spool smaller, and may take the room held back for it on a full disk.

        Raises:
            SpoolFullError: Nothing could be written, and nothing was.
        """
        result = self._run("BEGIN IMMEDIATE", work, urgent=urgent)
        if not urgent:
            self._place.hold_room()
        return result

    def maintain(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run statements that are no transaction; that they fail harms nothing."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                work(self._connection)
        self._place.hold_room()

    def close(self) -> None:
        """Let go of the file; it is opened again when used."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = self._identity = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._place.path

    def _run(self, begin: str, work: Callable[[sqlite3.Connection], T], *, urgent: bool) -> T:
        with self._lock:
            last: Exception | None = None
            for _ in range(ATTEMPTS):
                try:
                    connection = self._open()
                    if not urgent:
                        self._keep_log_short(connection)
                    result = self._transaction(connection, begin, work)
                    # Set aside by another process before our commit: what we did is not in the file that counts.
                    if self._place.identity() == self._identity:
                        return result
                    self.close()
                except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
                    raise  # the caller's fault
                except (sqlite3.Error, DamagedError, UnicodeDecodeError, OSError) as error:
                    last = error
                    if not self._mended(error, urgent=urgent):
                        raise SpoolFullError(f"{self.path}: {error}") from error
            raise SpoolFullError(f"{self.path}: {last or 'replaced again and again'}")

    def _keep_log_short(self, connection: sqlite3.Connection) -> None:
        """A full disk stops a checkpoint without a word: take no more then, while there is room to get out of it."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.with_name(self.path.name + "-wal").stat().st_size > 2 * self.log_bytes:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _transaction(self, connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        connection.execute(begin)
        try:
            result = work(connection)
            connection.execute("COMMIT")
            return result
        except BaseException:
            if connection.in_transaction:
                try:
                    connection.execute("ROLLBACK")
                except sqlite3.Error:
                    self.close()
            raise

    def _open(self) -> sqlite3.Connection:
        found = self._place.identity()
        if self._connection is not None and found == self._identity:
            return self._connection
        now = int(self._clock())
        # Somebody removed the file under us: what was in it can still be counted.
        lost = lost_in(self._connection, now) if self._connection is not None and found is None else None
        self.close()
        self._place.ready(lost)
        found = self._identity = self._place.identity()
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if self._place.identity() != found:
                raise sqlite3.OperationalError("the file was replaced while it was opened")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != schema.VERSION:
                raise DamagedError(f"version {version} of the file is not known here")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves it in the disk's cache
            connection.execute("PRAGMA cache_size = -1024")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA journal_size_limit = {self.log_bytes}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self.log_bytes // schema.PAGE}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _emptied_log(self) -> bool:
        """The log can be written from its beginning again: that takes no room."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        return True

    def _only_seems_full(self) -> bool:
        """A page number that is damaged lies behind every disk's end."""
        try:
            if shutil.disk_usage(self.path.parent).free < ROOMY or self._connection is None:
                return False
            return self._connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]
        except sqlite3.Error as error:
            return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE
        except (OSError, UnicodeDecodeError):
            return False

    def _mended(self, error: Exception, *, urgent: bool) -> bool:
        """Whether it is worth trying again."""
        if isinstance(error, OSError):
            return False
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in FULL and not (code == sqlite3.SQLITE_FULL and self._only_seems_full()):
            return urgent and self._place.give_room() and self._emptied_log()
        if code is not None and code & 0xFF not in DAMAGE | FULL:
            self.close()
            return bool(code == sqlite3.SQLITE_READONLY_DBMOVED)
        damaged = self._identity
        self.close()
        try:
            self._place.set_aside(damaged, str(error), lost_with(self.path, int(self._clock())))
        except (OSError, sqlite3.Error) as full:
            raise SpoolFullError(f"{self.path}: {error}; a new file cannot be begun: {full}") from full
        return True
