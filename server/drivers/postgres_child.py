"""The process that runs a user's SQL on Postgres: it knows the reading role's password only, and is cheap to kill.

It reads one JSON request from standard input ({"url", "user", "password", "sql", "limit", "seconds", "memory",
"bytes"}) and writes one JSON answer. What may be read is decided by what the role was granted; that the statement is
one, and only reads, by the grammar of DECLARE CURSOR, in a read-only transaction that is never committed. A value of a
gigabyte, which Postgres would make, breaks this process and not the server.
"""

import asyncio
import json
import math
import resource
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import asyncpg

CONNECT_SECONDS = 5.0
FIRST_ROWS, MOST_ROWS, BATCH_BYTES = 16, 4096, 4 * 2**20

_SETTINGS = {
    "application_name": "muster sql",
    "search_path": "public",
    "timezone": "UTC",
    "intervalstyle": "iso_8601",
    "default_transaction_read_only": "on",
    "work_mem": "16MB",
    "cursor_tuple_fraction": "1",
    "jit": "off",
}
_MORE_THAN_READ = """
SELECT CASE WHEN r.rolsuper THEN 'it is a superuser'
            WHEN r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
            THEN 'it may make roles or databases, or replicate'
            WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid)
            THEN 'it is a member of another role'
            ELSE (SELECT 'it may use ' || min(c.relname) FROM pg_catalog.pg_class c
                   WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relname LIKE 'muster\\_%'
                     AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
                          OR has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER')))
       END
  FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
"""
_MESSAGES = {
    "53300": "too many statements are under way: ask again in a moment",
    "54001": "the statement is too deeply nested",
    "25006": "a statement may only read",
}


def main() -> None:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    for limit, value in (
        (resource.RLIMIT_AS, request["memory"]),
        (resource.RLIMIT_CPU, int(request["seconds"]) + 5),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    try:
        answer = asyncio.run(_connected(request))
    except MemoryError:
        answer = _refused(_too_large(request))
    json.dump(answer, sys.stdout, separators=(",", ":"))


async def _connected(request: dict[str, Any]) -> dict[str, Any]:
    own = {key: request[key] for key in ("user", "password") if request[key] is not None}
    try:
        connection = await asyncpg.connect(
            request["url"], **own, timeout=CONNECT_SECONDS, statement_cache_size=0, server_settings=_SETTINGS
        )
    except asyncpg.PostgresError as error:
        stage = "run" if error.sqlstate == "53300" else "connect"
        return _refused(_MESSAGES.get(error.sqlstate or "", error.args[0]), error.sqlstate, stage)
    except (OSError, asyncpg.InterfaceError, TimeoutError) as error:
        return _refused(str(error) or "no answer", stage="connect")
    except ValueError:
        return _refused("its URL cannot be read", stage="connect")  # the error's own text may hold the password
    try:
        more = await connection.fetchval(_MORE_THAN_READ)
        if more:
            return _refused(more, stage="unsafe")
        return await _answer(connection, request)
    except asyncpg.PostgresError as error:
        return _refused(_explained(error, request["seconds"]), error.sqlstate)
    except asyncpg.InterfaceError:
        return _refused(_too_large(request))  # what came did not fit, and the connection was given up
    except (ValueError, OverflowError):
        return _refused("the answer has a value that cannot be shown, such as a date after 9999: cast it to text")
    finally:
        connection.terminate()


async def _answer(connection: Any, request: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + request["seconds"]
    await connection.set_type_codec("interval", schema="pg_catalog", encoder=str, decoder=str, format="text")
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    await _until(connection, deadline)
    await (await connection.prepare(f"DECLARE muster_answer NO SCROLL CURSOR FOR {request['sql']}")).fetch()
    first = await connection.prepare(f"FETCH FORWARD {FIRST_ROWS} FROM muster_answer")
    columns = [attribute.name for attribute in first.get_attributes()]
    if not columns:
        return _refused("the statement gives no columns: one SELECT is needed")
    rows: list[list[object]] = []
    size, wanted = 0, FIRST_ROWS
    while True:
        # Set anew each time: the statement itself may have changed it for what comes after.
        await _until(connection, deadline)
        batch = await connection.fetch(f"FETCH FORWARD {wanted} FROM muster_answer")
        for record in batch:
            row = [_as_json(value) for value in record]
            size += sum(map(_size, row))
            if len(rows) >= request["limit"] or size > request["bytes"]:
                return {"columns": columns, "rows": rows, "truncated": True}
            rows.append(row)
        if len(batch) < wanted:
            return {"columns": columns, "rows": rows, "truncated": False}
        fitting = BATCH_BYTES * len(rows) // max(size, 1)
        wanted = max(1, min(MOST_ROWS, fitting, request["limit"] + 1 - len(rows)))


async def _until(connection: Any, deadline: float) -> None:
    left = max(1, int((deadline - time.monotonic()) * 1000))
    await connection.execute(f"SET LOCAL statement_timeout = {left}")


def _as_json(value: object) -> object:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, Decimal):
        if value.is_finite() and value.as_tuple().exponent == 0 and abs(value) < 2**63:
            return int(value)
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, asyncpg.Record):
        return {name: _as_json(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    return _as_text(value)


def _as_text(value: object) -> str | None:
    if isinstance(value, datetime):
        if value.replace(tzinfo=None) in (datetime.max, datetime.min):
            return None  # infinity
        return value.isoformat().removesuffix("+00:00") + ("Z" if value.utcoffset() is not None else "")
    if isinstance(value, date):
        return None if value in (date.max, date.min) else value.isoformat()
    if isinstance(value, asyncpg.Range):
        if value.isempty:
            return "empty"
        ends = ["" if end is None else str(_as_json(end)) for end in (value.lower, value.upper)]
        return f"{'[' if value.lower_inc else '('}{ends[0]},{ends[1]}{']' if value.upper_inc else ')'}"
    if isinstance(value, asyncpg.BitString):
        return str(value.as_string()).replace(" ", "")
    return str(value)


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _explained(error: Any, seconds: float) -> str:
    code, text = error.sqlstate or "", error.args[0].splitlines()[0]
    if code == "57014" and "timeout" in text:
        return f"the statement took longer than {seconds:g} seconds"
    if code == "42501":
        return f"{text}: a statement may read the public tables, nothing else"
    if "multiple commands" in text:
        return "only one statement can be run: one SELECT is needed"
    if code == "42601":
        return f"{text}: one SELECT is needed"
    if "DECLARE CURSOR" in text:
        return "a statement may only read"  # its WITH would write
    if code in _MESSAGES:
        return f"{_MESSAGES[code]} ({text})"
    return f"{text} ({error.hint})" if getattr(error, "hint", None) else text


def _too_large(request: dict[str, Any]) -> str:
    return f"the answer needs more than {request['memory'] // 2**20} MiB of memory"


def _refused(why: str, code: str | None = None, stage: str = "run") -> dict[str, Any]:
    return {"refused": why, "code": code or "", "stage": stage}


if __name__ == "__main__":
    main()
