"""SQLite: one writer thread with group commit, read-only connections for readers.

The storage methods are coroutines so that they can be written once for every database. Here their statements are
plain calls that never suspend, so a transaction is driven to its end inside one thread by ``_drive``.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from server.drivers.sequence import Sequenced
from server.drivers.sqlite_log import WAL_BYTES, WriteAheadLog
from server.evaluate.scalar import FUNCTIONS
from server.store.driver import GROUP, DatabaseUnavailableError, NotReadyError, Work
from server.store.names import quoted

log = logging.getLogger(__name__)

Result = TypeVar("Result")

BLOCK = 64
"""Rows a statement at most; with the 200 columns a table may have they are well within SQLite's 32,766 parameters."""
BUSY_SECONDS = 5.0
"""How long a server waits for another process's transaction; then it tells devices to keep what they sent."""
PATIENT_SECONDS = 60.0
"""How long a command waits that somebody typed: SQLite lets nobody queue, and a busy server leaves short gaps."""
READERS = 4
OLDEST_SQLITE = (3, 37, 0)


class SqliteDriver:
    """One database file. Create it with ``open_sqlite``."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._generation = 0
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="muster-reader")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = threading.Thread(target=self._write_loop, name="muster-writer", daemon=True)
        self._connection = _connect(path, busy_seconds=busy_seconds)
        self._log = WriteAheadLog(path)
        self._writer.start()

    @property
    def generation(self) -> int:
        """Grows when another process has written to the file, or a commit of ours failed."""
        return self._generation

    async def write(self, work: Work[Result]) -> Result:
        """See ``Driver.write``."""
        if self._closed:
            raise DatabaseUnavailableError("the database is closed")
        future: Future[Result] = Future()
        self._jobs.put((work, future))
        return await asyncio.wrap_future(future)

    async def read(self, work: Work[Result]) -> Result:
        """See ``Driver.read``."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def scrub(self) -> bool:
        """See ``Driver.scrub``: deleted rows are overwritten as it is; here the log beside the file is emptied."""
        return await asyncio.to_thread(self._empty_log)

    def _empty_log(self) -> bool:
        connection = _connect(self._path)
        try:
            with _translated():
                busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                return busy == 0
        finally:
            connection.close()

    async def close(self) -> None:
        """Finish what was accepted, then close every connection."""
        if self._closed:
            return
        self._closed = True
        # The last to leave empties the log beside the file and removes it, which a reader may not.
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._opened:
            connection.close()
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)

    def _read(self, work: Work[Result]) -> Result:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path, read_only=True)
            self._opened.append(connection)
        with _translated():
            connection.execute("BEGIN")
            try:
                return cast(Result, _drive(work(_SqliteTransaction(connection))))
            finally:
                connection.execute("ROLLBACK")

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            group = [self._jobs.get()]
            while len(group) < GROUP and group[-1] is not None:
                try:
                    group.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            stopping = group[-1] is None
            jobs = [job for job in group if job is not None]
            if jobs:
                self._commit(jobs)
        self._connection.close()

    def _commit(self, jobs: list[tuple[Work[Any], Future[Any]]]) -> None:
        """Run the jobs in one transaction, each behind a savepoint, and answer them when it is durable."""
        # From now on nobody can take his request back, so each future can be answered.
        jobs = [job for job in jobs if job[1].set_running_or_notify_cancel()]
        try:
            with _translated():
                self._connection.execute("BEGIN IMMEDIATE")
                self._notice_others()
                transaction = _SqliteTransaction(self._connection)
                answers = [self._run(work, future, transaction) for work, future in jobs]
                self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):  # then the next transaction does not begin, and it is tried again
                    self._connection.execute("ROLLBACK")
            self._generation += 1
            log.warning("transaction failed: %s", error)
            for _, future in jobs:
                future.set_exception(error)
            return
        for answer in answers:
            answer()
        self._log.keep_short(self._connection, BUSY_SECONDS)

    def _run(self, work: Work[Any], future: Future[Any], transaction: _SqliteTransaction) -> Callable[[], None]:
        self._connection.execute("SAVEPOINT job")
        try:
            result: Any = _drive(work(transaction))
        except Exception as error:
            if _is_the_databases(error):
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            transaction.forget_seq()
            failure = error
            return lambda: future.set_exception(failure)
        self._connection.execute("RELEASE job")
        return lambda: future.set_result(result)

    def _notice_others(self) -> None:
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != getattr(self, "_data_version", version):
            self._generation += 1
        self._data_version = version


class _SqliteTransaction(Sequenced):
    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    async def select(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        cursor = self._connection.execute(sql, parameters)
        return [column[0] for column in cursor.description], cursor.fetchall()

    async def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return cast("tuple[Any, ...] | None", self._connection.execute(sql, parameters).fetchone())

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, parameters).rowcount

    async def many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, parameters)

    async def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[list[tuple[Any, ...]]]:
        execute = self._connection.execute
        return [execute(sql, row).fetchall() for row in rows]

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        head = f"INSERT INTO {quoted(table)} ({', '.join(map(quoted, columns))}) VALUES"
        for marks, values in _in_blocks(rows):
            self._connection.execute(f"{head} {marks}", values)

    async def attempt(self, work: Awaitable[Result]) -> Result | Exception:
        self._connection.execute("SAVEPOINT attempt")
        try:
            return await work
        except Exception as error:
            if _is_the_databases(error):
                raise
            self._connection.execute("ROLLBACK TO attempt")
            self.forget_seq()
            return error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE attempt")

    async def table_exists(self, name: str) -> bool:
        return await self.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)) is not None


def _in_blocks(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """The rows as blocks of parameters with their marks.

    Python's threads may change places at every step of a statement, and a writer that lets another go first waits
    for it milliseconds; so rows are given to SQLite many at a time. Sizes are powers of two: few texts to prepare.
    """
    start = 0
    while start < len(rows):
        size = min(BLOCK, 1 << ((len(rows) - start).bit_length() - 1))
        block = rows[start : start + size]
        mark = f"({', '.join('?' * len(block[0]))})"
        yield ", ".join([mark] * size), list(chain.from_iterable(block))
        start += size


def open_sqlite(path: Path, *, create: bool = False, busy_seconds: float = BUSY_SECONDS) -> SqliteDriver:
    """Open a database file; raises ``NotReadyError`` where there is none and ``create`` is not set.

    A transaction waits ``busy_seconds`` for another process's, then it fails.
    """
    with _openable(path, create=create):
        if create and not path.exists():
            path.touch(mode=0o600)
        return SqliteDriver(path, busy_seconds)


def look_at(path: Path, work: Work[Result]) -> Result:
    """Run ``work`` on a read-only connection of its own, which changes nothing of a file; raises ``NotReadyError``."""
    with _openable(path):
        # A file that nobody has open needs no log beside it, which even a reader would make.
        alone = not any(path.with_name(path.name + ending).exists() for ending in ("-wal", "-journal"))
        connection = _connect(path, read_only=True, alone=alone)
        try:
            connection.execute("BEGIN")
            return cast(Result, _drive(work(_SqliteTransaction(connection))))
        finally:
            connection.close()


@contextmanager
def _openable(path: Path, *, create: bool = False) -> Iterator[None]:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(str(part) for part in OLDEST_SQLITE)
        raise NotReadyError(f"SQLite {sqlite3.sqlite_version} is too old: {oldest} or newer is needed.")
    if not create and not path.is_file():
        raise NotReadyError(f"There is no database at {path}: run 'muster init' with the same --database first.")
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise NotReadyError(f"{path} cannot be opened as a SQLite database: {error}") from error


def _connect(
    path: Path, *, read_only: bool = False, alone: bool = False, busy_seconds: float = BUSY_SECONDS
) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        # An answer is a promise that survives a power cut, so every commit reaches the disk first.
        connection.execute("PRAGMA synchronous = FULL")
        # What is deleted is overwritten, for erased data must not stay in the file.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    connection.execute("PRAGMA cache_size = -65536")
    for name, (arguments, function) in FUNCTIONS.items():
        connection.create_function(name, arguments, function, deterministic=True)
    return connection


def _drive(coroutine: Coroutine[Any, Any, Result] | Any) -> Result:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(Result, stop.value)
    coroutine.close()
    raise RuntimeError("a storage method waited for something other than its transaction")


_OF_STATEMENTS = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
    }
)


def _is_the_databases(error: Exception) -> bool:
    """Whether the database failed, and not the statement: a full disk, a lock or a damaged file fails all there is."""
    if isinstance(error, MemoryError):
        return True
    # What Python's module says of itself has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.Error) and code & 0xFF not in _OF_STATEMENTS


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, MemoryError) as error:
        if isinstance(error, sqlite3.OperationalError) or _is_the_databases(error):
            raise DatabaseUnavailableError(str(error) or "there is no memory left") from error
        raise
