"""The Postgres role that users' SQL runs as: who it is, how it is made, and what it is granted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets

import asyncpg

from server.drivers.postgres_connect import explained
from server.store.driver import NotReadyError, Transaction
from server.store.names import quoted

log = logging.getLogger(__name__)

CONNECTIONS = 16
"""Statements of users that may run at a time, over all servers."""
TEMP_FILES = "1GB"
"""What a session's sorts and joins may put on disk; Postgres lets only a superuser set it."""
_PASSWORD = "sql_role_password"
"""The key of the password in muster_meta, which only the server's role can read."""
_ITERATIONS = 4096

_LACKING = """
SELECT c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_class kept ON kept.oid = CAST('public.muster_meta' AS regclass) AND kept.relowner = c.relowner
  JOIN pg_catalog.pg_roles r ON r.rolname = ?
 WHERE c.relnamespace = kept.relnamespace AND c.relkind = 'v' AND NOT starts_with(c.relname, 'muster_')
   AND NOT has_table_privilege(r.oid, c.oid, 'SELECT')
"""
"""Public views of ours that a role cannot read; a view made anew has lost its grants."""
_MAY = """
SELECT CASE WHEN has_database_privilege(r.oid, current_database(), 'CONNECT') THEN 1 ELSE 0 END,
       CASE WHEN has_schema_privilege(r.oid, 'public', 'USAGE') THEN 1 ELSE 0 END, quote_ident(current_database())
  FROM pg_catalog.pg_roles r WHERE r.rolname = ?
"""
_FUNCTIONS = """
SELECT format('pg_catalog.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) FROM pg_catalog.pg_proc p
 WHERE p.pronamespace = CAST('pg_catalog' AS regnamespace)
   AND p.proname ~ '^(pg_(try_)?advisory_(xact_)?lock(_shared)?|pg_logical_emit_message|lo_.*|lowrite|pg_notify)$'
   AND has_function_privilege(CAST(? AS NAME), p.oid, 'EXECUTE')
"""
"""Functions that fill the table of locks, the log or the disk, though a transaction is read-only."""


def role_of(database: str) -> str:
    """The name of the role for a database; roles belong to the whole cluster, so it holds the database's name."""
    name = f"muster_sql_{database}"
    if len(name.encode()) <= 63:
        return name
    return f"muster_sql_{hashlib.sha256(database.encode()).hexdigest()[:40]}"


async def credentials(tx: Transaction) -> tuple[str, str | None]:
    """The name of this database's role and its password; None as long as there is no such role."""
    found = await tx.row("SELECT current_database()")
    assert found is not None
    role = role_of(found[0])
    password = await tx.row(
        "SELECT value FROM muster_meta WHERE key = ?"
        " AND EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = CAST(? AS NAME))",
        (_PASSWORD, role),
    )
    return role, password[0] if password else None


async def make_role(tx: Transaction, failed: str | None) -> None:
    """Make this database's role, or give it another password in place of ``failed``, with which it was not let in.

    Does nothing where another process has done so meanwhile. Raises ``NotReadyError`` with what an administrator has
    to do where the server's role may not make roles.
    """
    role, password = await credentials(tx)
    if password is not None and password != failed:
        return
    password = secrets.token_urlsafe(32)
    exists = await tx.row("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = CAST(? AS NAME)", (role,))
    options = f"LOGIN NOINHERIT CONNECTION LIMIT {CONNECTIONS} PASSWORD"
    made = await tx.attempt(
        tx.run(f"{'ALTER' if exists else 'CREATE'} ROLE {quoted(role)} {options} '{_verifier(password)}'")
    )
    if isinstance(made, asyncpg.InsufficientPrivilegeError):
        raise NotReadyError(await _instructions(tx, explained(made)))
    if isinstance(made, Exception):
        raise made
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_PASSWORD, password),
    )
    await _close(tx, role)


async def lacks(tx: Transaction, role: str) -> list[str]:
    """The statements that let a role read the public views; none where it can."""
    may = await tx.row(_MAY, (role,))
    if may is None:
        return []  # a role of another cluster, such as a copy of this database
    to = f"TO {quoted(role)}"
    statements = [] if may[0] else [f"GRANT CONNECT ON DATABASE {may[2]} {to}"]
    statements += [] if may[1] else [f"GRANT USAGE ON SCHEMA public {to}"]
    views = [f"public.{quoted(name)}" for (name,) in await tx.rows(_LACKING, (role,))]
    return statements + ([f"GRANT SELECT ON {', '.join(views)} {to}"] if views else [])


async def grant(tx: Transaction, role: str) -> None:
    """Let a role read the public views."""
    for statement in await lacks(tx, role):
        await tx.run(statement)


async def _close(tx: Transaction, role: str) -> None:
    """Take from everybody in this database what no reader needs, as far as the server's role may."""
    database = await tx.row("SELECT quote_ident(current_database()), current_setting('is_superuser')")
    assert database is not None
    statements = ["REVOKE CREATE ON SCHEMA public FROM PUBLIC"]
    statements += [f"REVOKE TEMPORARY ON DATABASE {database[0]} FROM PUBLIC"]
    if database[1] == "on":
        statements += [f"ALTER ROLE {quoted(role)} SET temp_file_limit = '{TEMP_FILES}'"]
        statements += [f"ALTER ROLE {quoted(role)} SET track_activities = off"]
        functions = ", ".join(function for (function,) in await tx.rows(_FUNCTIONS, (role,)))
        statements += [f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC"] if functions else []
    for statement in statements:
        failed = await tx.attempt(tx.run(statement))
        if isinstance(failed, Exception):
            log.info("left open to every role of the database: %s (%s)", statement, explained(failed))


async def _instructions(tx: Transaction, why: str) -> str:
    found = await tx.row("SELECT quote_ident(current_user), quote_ident(current_database())")
    assert found is not None
    return (
        f"Users' SQL runs as a Postgres role of its own, and Muster's role may not make it ({why})."
        f" Let an administrator run\n    ALTER ROLE {found[0]} CREATEROLE;\nor make a role that is granted nothing\n"
        f"    CREATE ROLE muster_reader LOGIN NOINHERIT CONNECTION LIMIT {CONNECTIONS} PASSWORD '…';\n"
        f"and give its URL as --sql-database (MUSTER_SQL_DATABASE): postgresql://muster_reader:…@HOST/{found[1]}"
    )


def _verifier(password: str) -> str:
    """What Postgres keeps of a password: sent in its place, so that no statement log of Postgres holds it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(value).decode() for value in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"
