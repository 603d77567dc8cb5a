"""What can be wrong with a SQLite file; nothing here changes anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from server.drivers.sqlite import look_at
from server.drivers.sqlite_log import MOST_WAL_BYTES, WriteAheadLog
from server.store.driver import NotReadyError, Transaction, Work
from server.store.findings import Finding, not_ready

MIB = 2**20
LEAST_BYTES, FEW_BYTES = 64 * MIB, 1024 * MIB
LOCKS = Path("/proc/locks")
FAULTS_SHOWN = 3
WAL_MARK, WAL = 18, b"\x02"
"""Where the file's header says how it is written, and what it says there."""


def examine_sqlite(path: Path, lock: Path, work: Work[list[Finding]], *, whole: bool) -> list[Finding]:
    """Every check of a file, then ``work``; ``lock`` is the file a server locks, ``whole`` reads every page."""
    found = [finding for finding in (_writable(path), _room(path)) if finding]
    try:
        found = [*look_at(path, partial(_inside, whole=whole)), _journal(path), *found, _server(lock)]
    except NotReadyError as error:
        return [*found, not_ready("database", error)]
    try:
        return [*found, *look_at(path, work)]
    except NotReadyError as error:
        return [*found, not_ready("contents", error)]


async def _inside(tx: Transaction, *, whole: bool) -> list[Finding]:
    pages, page_size = [(await tx.rows(f"PRAGMA {name}"))[0][0] for name in ("page_count", "page_size")]
    found = [Finding("database", "ok", f"SQLite {sqlite3.sqlite_version}, {pages * page_size // MIB} MiB")]
    if whole:
        found.append(await _integrity(tx))
    return found


async def _integrity(tx: Transaction) -> Finding:
    try:
        faults = [str(row[0]) for row in await tx.rows(f"PRAGMA quick_check({FAULTS_SHOWN})")]
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    if faults == ["ok"]:
        return Finding("integrity", "ok", "every page is whole")
    mend = "stop the server, keep a copy, and go back to a backup; sqlite3's .recover reads what is left"
    return Finding("integrity", "problem", "; ".join(" ".join(text.split()) for text in faults), mend)


def _journal(path: Path) -> Finding:
    with path.open("rb") as file:
        written = file.read(WAL_MARK + 1)[WAL_MARK:]
    size = WriteAheadLog(path).size()
    if written != WAL:
        return Finding("journal", "warning", "the file has no write-ahead log", "'muster serve' gives it one")
    if size > 2 * MOST_WAL_BYTES:
        says = f"the write-ahead log has {size // MIB} MiB: somebody reads one view of the database for long"
        return Finding("journal", "warning", says, "end that reader; the log is cut by itself")
    return Finding("journal", "ok", f"a write-ahead log, {size // MIB} MiB")


def _writable(path: Path) -> Finding | None:
    if not path.exists():
        return None
    places = [path, path.resolve().parent, *_beside(path)]
    closed = [str(place) for place in places if not os.access(place, os.W_OK)]
    if closed:
        says = f"this user may not write to {', '.join(closed)}"
        return Finding(
            "writable", "problem", says, "the server writes to the file and its folder: give it the right to"
        )
    return Finding("writable", "ok", "file and folder")


def _beside(path: Path) -> Iterator[Path]:
    for ending in ("-wal", "-shm", "-server"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            yield beside


def _room(path: Path) -> Finding | None:
    if not path.parent.is_dir():
        return None
    free = shutil.disk_usage(path.parent).free
    says, mend = f"{free // MIB} MiB free", "make room: what cannot be stored stays on the devices, for a while"
    if free < LEAST_BYTES:
        return Finding("disk", "problem", says, mend)
    return Finding("disk", "warning", says, mend) if free < FEW_BYTES else Finding("disk", "ok", says)


def _server(lock: Path) -> Finding:
    """Whether a server has its lock; asked of the kernel, for to try the lock could turn a server away."""
    try:
        number = lock.stat().st_ino
        held = [line.split() for line in LOCKS.read_text(encoding="ascii").splitlines()]
    except OSError:
        return Finding("server", "ok", "none has run here yet" if not lock.exists() else "not known on this system")
    for fields in held:
        if "FLOCK" in fields and fields[-3].rpartition(":")[2] == str(number):
            return Finding("server", "ok", f"'muster serve' runs, process {fields[-4]}")
    return Finding("server", "ok", "none runs on this file")
