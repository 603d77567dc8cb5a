"""Postgres: one writing connection a process with group commit, a pool of read-only ones for readers.

All that any process writes is put in one line by a lock on a table that only Muster's role may lock, held for the
transaction. So a storage method never meets another half-way, whatever the number of servers, and commit sequences grow
in the order of the commits. An advisory lock would not do: users' SQL could take it and stop everybody who writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, TypeVar, cast

import asyncpg

from server.drivers.postgres_connect import connect, explained, is_the_databases, not_allowed
from server.drivers.postgres_functions import make_functions
from server.drivers.postgres_transaction import Patience, PostgresTransaction
from server.store.driver import GROUP, DatabaseUnavailableError, NotReadyError, Work

log = logging.getLogger(__name__)

Result = TypeVar("Result")

READERS = 4
RETRY_SECONDS = 10.0
"""How long a write waits for a database that is away; osquery itself waits 16 s for an answer."""
RETRY_PAUSE = 0.25
_LOCK = "LOCK TABLE muster_migrations IN SHARE ROW EXCLUSIVE MODE"
"""Who writes. Of all tables this one hardly ever changes, so that no autovacuum comes in the way."""
_BEGIN = f"BEGIN; {_LOCK}"
FIRST_LOCK = 0x6D757374
"""The advisory lock of whoever makes that table: 'must' in ASCII."""


class _Job:
    """A piece of work, and who waits for it."""

    def __init__(self, work: Work[Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.until = time.monotonic() + RETRY_SECONDS


class PostgresDriver:
    """One database. Create it with ``open_postgres``."""

    def __init__(self, url: str, writer: asyncpg.Connection, readers: asyncpg.Pool) -> None:
        self._url = url
        self._writer: asyncpg.Connection | None = writer
        self._readers = readers
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._patience = Patience()
        self._generation = 0
        self._tables_seen: str | None = None
        self._closed = False
        self._loop = asyncio.create_task(self._write_loop(), name="muster-writer")

    @property
    def generation(self) -> int:
        """Grows when another process has changed the tables of queries, or a commit of ours failed."""
        return self._generation

    async def write(self, work: Work[Result]) -> Result:
        """See ``Driver.write``."""
        if self._closed:
            raise DatabaseUnavailableError("the database is closed")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(work, future))
        return await future

    async def read(self, work: Work[Result]) -> Result:
        """See ``Driver.read``."""
        until = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                async with (
                    self._readers.acquire(timeout=RETRY_SECONDS) as connection,
                    connection.transaction(isolation="repeatable_read", readonly=True),
                ):
                    return await work(PostgresTransaction(connection, self._patience))
            except asyncpg.InvalidCachedStatementError:
                continue  # a column has another type than when the statement was prepared; asyncpg has forgotten it
            except asyncpg.InsufficientPrivilegeError as error:
                raise NotReadyError(not_allowed(error)) from error
            except Exception as error:
                if not is_the_databases(error):
                    raise
                if time.monotonic() > until:
                    raise DatabaseUnavailableError(explained(error)) from error
            await asyncio.sleep(RETRY_PAUSE)

    async def scrub(self) -> bool:
        """See ``Driver.scrub``: Postgres' own vacuum frees the places of deleted rows, and its log is recycled."""
        return True

    async def close(self) -> None:
        """Finish what was accepted, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put_nowait(None)
        await self._loop
        if self._writer is not None:
            await self._writer.close()
        await self._readers.close()

    async def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            group = [await self._jobs.get()]
            while len(group) < GROUP and not self._jobs.empty():
                group.append(self._jobs.get_nowait())
            stopping = None in group
            await self._until_done([job for job in group if job is not None])

    async def _until_done(self, jobs: list[_Job]) -> None:
        """Run the jobs and answer them; while the database is away, try again as long as they can wait."""
        while jobs := [job for job in jobs if not job.future.done()]:
            try:
                await self._commit(jobs)
            except _CommitLostError as error:
                self._generation += 1
                self._drop_writer()
                _fail(jobs, DatabaseUnavailableError(explained(error.__cause__)))
            except Exception as error:
                self._generation += 1
                if isinstance(error, asyncpg.InsufficientPrivilegeError):
                    _fail(jobs, NotReadyError(not_allowed(error)))
                    return
                if not is_the_databases(error):
                    _fail(jobs, error)
                    return
                log.warning("transaction failed: %s", explained(error))
                self._drop_writer()
                now = time.monotonic()
                _fail([job for job in jobs if job.until < now], DatabaseUnavailableError(explained(error)))
                await asyncio.sleep(RETRY_PAUSE)

    async def _commit(self, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction and answer them; several of them each behind a savepoint."""
        connection = await self._connected()
        await _begin(connection)
        try:
            transaction = PostgresTransaction(connection, self._patience)
            await self._notice_others(transaction)
            if len(jobs) == 1:
                results: list[Any] = [await jobs[0].work(transaction)]
            else:
                results = [await transaction.behind_savepoint(job.work(transaction)) for job in jobs]
        except BaseException:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.execute("ROLLBACK")
            raise
        try:
            await connection.execute("COMMIT")
        except Exception as error:
            raise _CommitLostError from error
        for job, result in zip(jobs, results, strict=True):
            if job.future.done():
                continue  # whoever waited has gone
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    async def _notice_others(self, transaction: PostgresTransaction) -> None:
        seen = await transaction.begin(migrated=self._tables_seen is not None)
        if seen != self._tables_seen:
            self._tables_seen = seen
            self._generation += 1
            await transaction.forget_statements()

    async def _connected(self) -> asyncpg.Connection:
        if self._writer is None or self._writer.is_closed():
            self._writer = await connect(self._url)
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None


async def _begin(connection: asyncpg.Connection) -> None:
    """Begin a transaction as the only one that writes."""
    try:
        await connection.execute(_BEGIN)
    except asyncpg.UndefinedTableError:
        await connection.execute(f"ROLLBACK; BEGIN; SELECT pg_advisory_xact_lock({FIRST_LOCK})")
        if await connection.fetchval("SELECT to_regclass('muster_migrations')") is not None:
            await connection.execute(_LOCK)  # another process has made it while this one waited


class _CommitLostError(Exception):
    """The connection broke during COMMIT: nobody knows whether it took effect, so it must not be tried again here."""


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)


async def open_postgres(url: str, *, create: bool = False) -> PostgresDriver:
    """Open a database; raises ``NotReadyError`` where there is none and ``create`` is not set, or it does not fit."""
    writer = await connect(url, create=create, check=True)
    try:
        await make_functions(writer)
        readers = await asyncpg.create_pool(url, min_size=0, max_size=READERS, connect=_reader)
    except BaseException:
        await writer.close()
        raise
    return PostgresDriver(url, writer, cast(asyncpg.Pool, readers))


async def _reader(url: str, **_: Any) -> asyncpg.Connection:
    """A connection for the pool, set like every other; the pool's own options are asyncpg's defaults."""
    return await connect(url)
