"""Connecting to Postgres: what a connection is set to, what a database has to be like, and which errors are its own."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from server.store.driver import NotReadyError

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 300.0
"""A statement that takes longer has been forgotten by a network in between; judging a large fleet takes less."""
IDLE_SECONDS = 60
"""A server that stands still within a transaction holds up all others; Postgres ends it after this time."""
STATEMENTS_KEPT = 1024
"""Prepared statements a connection keeps: a dozen a query's table."""
OLDEST_POSTGRES = 14
BYTE_ORDER = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8", "C.UTF8"})
"""Collations that order text by its bytes, as SQLite does; times and days are compared as text."""

_SETTINGS = {
    "application_name": "muster",
    "timezone": "UTC",
    "client_encoding": "UTF8",
    "jit": "off",
    "synchronous_commit": "on",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": str(IDLE_SECONDS * 1000),
}
_CHECK = """
SELECT d.datcollate, to_jsonb(d)->>'datlocprovider', current_setting('server_encoding'),
       current_setting('server_version_num')::int
  FROM pg_database d WHERE d.datname = current_database()
"""
_AWAY = re.compile(r"08|53|57|58|40|25P0|25006|55P03|XX")
"""SQLSTATE classes that are the database's fault and may pass: connection, resources, shutdown, deadlock, locks, and
a server that only reads, as one does that was the main one before a failover."""


async def connect(url: str, *, create: bool = False, check: bool = False) -> asyncpg.Connection:
    """Open a connection; ``create`` makes the database, ``check`` looks whether it is one that Muster can use.

    Raises ``NotReadyError`` with what has to be done where ``check`` or ``create`` is set, else an ``OSError`` or
    asyncpg's own errors of connections, which all are the database's.
    """
    if not create and not check:
        try:
            return await _open(url)
        except asyncpg.PostgresError as error:
            # It was one of ours before: whatever keeps us out now (a failover, a restore, a password) may pass.
            raise ConnectionError(explained(error)) from error
    try:
        try:
            connection = await _open(url)
        except asyncpg.InvalidCatalogNameError:
            if not create:
                raise
            await _create_database(url)
            connection = await _open(url)
    except ValueError:
        # What asyncpg says of a URL that it cannot read may be a piece of the password.
        raise NotReadyError(
            "The Postgres database cannot be opened: its URL cannot be read. It is postgresql://ROLE:PASSWORD@HOST/NAME,"
            " and in a password / is written %2F, @ %40, : %3A and % %25."
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        hint = " Run 'muster init' with the same --database first." if _no_database(error) else ""
        raise NotReadyError(f"The Postgres database cannot be opened: {explained(error)}.{hint}") from error
    try:
        await _check(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _open(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        statement_cache_size=STATEMENTS_KEPT,
        max_cached_statement_lifetime=0,
        server_settings=_SETTINGS,
    )


async def _check(connection: asyncpg.Connection) -> None:
    collation, provider, encoding, version = await connection.fetchrow(_CHECK)
    if version // 10_000 < OLDEST_POSTGRES:
        raise NotReadyError(f"Postgres {version // 10_000} is too old: {OLDEST_POSTGRES} or newer is needed.")
    wrong = None
    if encoding != "UTF8":
        wrong = f"its encoding is {encoding}, not UTF8"
    elif provider == "i" or (provider != "b" and collation not in BYTE_ORDER):
        wrong = f"its collation is {collation}, which does not order text by its bytes"
    if wrong:
        raise NotReadyError(
            f"This Postgres database cannot hold Muster's tables: {wrong}. Make one with:"
            " CREATE DATABASE muster TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )


async def _create_database(url: str) -> None:
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    connection = await _open(urlunsplit(parts._replace(path="/postgres")))
    try:
        identifier = '"' + name.replace('"', '""') + '"'
        await connection.execute(
            f"CREATE DATABASE {identifier} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    except asyncpg.DuplicateDatabaseError:
        pass  # somebody else has made it meanwhile
    finally:
        await connection.close()


def is_the_databases(error: BaseException | None) -> bool:
    """Whether the database failed, and not the statement: such an error fails the whole transaction and may pass."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True  # another process has changed a table; the next connection learns its new shape
    if isinstance(error, asyncpg.PostgresError):
        return bool(_AWAY.match(error.sqlstate or ""))
    if isinstance(error, asyncpg.InternalClientError):
        return True  # asyncpg has lost track: the server has said good-bye, and the end of the connection is on its way
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # asyncpg.DataError is the statement's fault
    return isinstance(error, OSError | asyncio.TimeoutError | MemoryError)


def not_allowed(error: asyncpg.InsufficientPrivilegeError) -> str:
    """What to do about a role that may not do what Muster needs."""
    return f"The role in --database may not use it ({explained(error)}): name the one that Muster was set up with."


def explained(error: BaseException | None) -> str:
    """The error in one line, without a trailing full stop."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")


def _no_database(error: BaseException) -> bool:
    return isinstance(error, asyncpg.InvalidCatalogNameError)
