"""What can be wrong with a Postgres database; nothing here changes anything."""

from __future__ import annotations

import asyncpg

from server.drivers.postgres_connect import connect, explained, is_the_databases, not_allowed
from server.drivers.postgres_transaction import Patience, PostgresTransaction
from server.store.driver import NotReadyError, Work
from server.store.findings import Finding, not_ready

LONG_MINUTES = 10
_ABOUT = """
SELECT current_setting('server_version'), pg_size_pretty(pg_database_size(current_database())),
       pg_is_in_recovery(), current_setting('default_transaction_read_only'),
       has_schema_privilege(current_schema(), 'CREATE'), current_setting('fsync'), current_setting('full_page_writes'),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())
"""
_LONG = """
SELECT pid, application_name, floor(extract(epoch FROM now() - xact_start) / 60)::int
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - make_interval(mins => $1)
 ORDER BY xact_start LIMIT 1
"""


async def examine_postgres(url: str, work: Work[list[Finding]]) -> list[Finding]:
    """Every check of a database, then ``work``."""
    try:
        connection = await connect(url, check=True)
    except NotReadyError as error:
        return [not_ready("database", error)]
    found: list[Finding] = []
    try:
        found = await _about(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [*found, *await work(PostgresTransaction(connection, Patience()))]
    except asyncpg.InsufficientPrivilegeError as error:
        return [*found, not_ready("role", NotReadyError(not_allowed(error)))]
    except Exception as error:
        if not is_the_databases(error):
            raise
        raise NotReadyError(f"The Postgres database went away: {explained(error)}.") from error
    finally:
        await connection.close()


async def _about(connection: asyncpg.Connection) -> list[Finding]:
    version, size, standby, read_only, may_create, fsync, full_pages, others = await connection.fetchrow(_ABOUT)
    found = [
        Finding("database", "ok", f"Postgres {version}, UTF8, ordered by bytes, {size}, {others} other connection(s)"),
        _writable(standby, read_only == "on", may_create),
    ]
    off = [name for name, value in (("fsync", fsync), ("full_page_writes", full_pages)) if value != "on"]
    if off:
        says = f"{' and '.join(off)} off: a power cut can lose what was acknowledged, or the whole database"
        found.append(Finding("durability", "problem", says, "ALTER SYSTEM RESET it, then SELECT pg_reload_conf()"))
    else:
        found.append(Finding("durability", "ok", "fsync, full_page_writes and synchronous_commit are on"))
    return [*found, await _readers(connection)]


def _writable(standby: bool, read_only: bool, may_create: bool) -> Finding:
    if standby:
        return Finding("writable", "problem", "this is a standby, which cannot be written to", "name the primary")
    if read_only:
        says = "default_transaction_read_only is on for this database or role"
        return Finding("writable", "problem", says, "ALTER DATABASE … RESET default_transaction_read_only, or the role")
    if not may_create:
        says = "this role may not make tables in its schema"
        return Finding("writable", "problem", says, "make the role the database's owner")
    return Finding("writable", "ok", "tables can be made")


async def _readers(connection: asyncpg.Connection) -> Finding:
    long = await connection.fetchrow(_LONG, LONG_MINUTES)
    if long is None:
        return Finding("readers", "ok", f"no transaction is older than {LONG_MINUTES} minutes")
    says = f"process {long[0]} ({long[1] or 'unnamed'}) has had a transaction open for {long[2]} minutes"
    return Finding("readers", "warning", says, "until it ends, tables that it read cannot get new columns")
