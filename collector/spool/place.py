"""The spool's place on the disk: its file begun, a damaged one set aside, a little room held back."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from collector.spool import losses, schema
from collector.spool.locking import alone
from collector.spool.model import CORRUPT, Gap

KEPT = 2
"""Damaged files kept to be looked at; older ones are removed."""

_LOG = logging.getLogger(__name__)

Identity = tuple[int, int]
"""Device and inode of a file."""


class Place:
    """The paths of one spool; methods raise OSError or sqlite3.Error where nothing can be written."""

    def __init__(self, path: Path, reserve: int, clock: Callable[[], float]) -> None:
        self.path = path
        self._reserve = reserve
        self._clock = clock

    def identity(self) -> Identity | None:
        """Which file is there now; None if there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def ready(self, lost: Gap | None = None) -> None:
        """See that there is a file; ``lost`` was in one that somebody removed."""
        if not self.path.parent.exists():
            self.path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        with alone(self._beside(".lock")):
            if self.identity() is None:
                fresh = self._fresh(lost)
                self._clear()
                fresh.rename(self.path)
                self._synced()
            elif os.name == "posix" and self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)

    def set_aside(self, damaged: Identity | None, why: str, lost: Gap) -> None:
        """Begin a new file in place of a damaged one, unless another process has done so already."""
        with alone(self._beside(".lock")):
            if damaged is None or self.identity() != damaged:
                return
            aside = self._aside()
            _LOG.error("the spool is damaged (%s): set aside as %s", why, aside.name)
            fresh = self._fresh(lost)
            try:
                os.link(self.path, aside)
            except OSError:  # a file system without links
                self.path.rename(aside)
            self._clear(aside)
            fresh.replace(self.path)
            self._synced()
            self._forget_old()

    def hold_room(self) -> None:
        """Keep a little of the disk, so that what is delivered can be taken out of the spool when it is full."""
        path = self._beside(".reserve")
        with contextlib.suppress(OSError):
            if path.stat().st_size == self._reserve:
                return
        try:
            if shutil.disk_usage(path.parent).free < 4 * self._reserve:
                return  # what there is left is for the lines
            with alone(self._beside(".lock")):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(os.urandom(self._reserve))
        except OSError:
            path.unlink(missing_ok=True)

    def give_room(self) -> bool:
        """Let go of what ``hold_room`` kept; whether there was any."""
        try:
            self._beside(".reserve").unlink()
        except OSError:
            return False
        return True

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def _fresh(self, lost: Gap | None) -> Path:
        """A new spool, whole and on the disk before it gets its name."""
        path = self._beside(".new")
        for old in (path, self._beside(".new-wal"), self._beside(".new-shm"), self._beside(".new-journal")):
            old.unlink(missing_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            schema.create(connection)
            if lost is not None:
                losses.note(connection, lost, int(self._clock()))
        finally:
            connection.close()
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        return path

    def _clear(self, aside: Path | None = None) -> None:
        """A log of the file before would be read into the new one."""
        for ending in ("-wal", "-shm"):
            path = self._beside(ending)
            with contextlib.suppress(FileNotFoundError):
                if aside is not None:
                    path.rename(aside.with_name(aside.name + ending))
                else:
                    path.unlink()

    def _aside(self) -> Path:
        stamp = int(self._clock())
        while True:
            path = self._beside(f".corrupt-{stamp}")
            if not path.exists():
                return path
            stamp += 1

    def _forget_old(self) -> None:
        found = [
            path
            for path in self.path.parent.glob(self.path.name + ".corrupt-*")
            if not path.name.endswith(("-wal", "-shm"))
        ]
        for path in sorted(found, key=lambda path: path.stat().st_ctime_ns)[:-KEPT]:
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)

    def _synced(self) -> None:
        """A name is on the disk when its directory is."""
        if os.name != "posix":
            return
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lost_with(path: Path, now: int) -> Gap:
    """What was in a damaged file, as far as it can still be read."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        return Gap("", 0, 0, now, now, CORRUPT)
    try:
        return lost_in(connection, now)
    finally:
        connection.close()


def lost_in(connection: sqlite3.Connection, now: int) -> Gap:
    """What is lost with the file of that connection."""
    lines = size = 0
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError):
        lines, size = connection.execute("SELECT SUM(lines), SUM(bytes) FROM lanes").fetchone()
        lines, size = min(max(int(lines), 0), 2**40), min(max(int(size), 0), 2**50)
    return Gap("", lines, size, now, now, CORRUPT)
