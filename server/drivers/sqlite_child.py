"""The process that runs a user's SQL: started alone, with the standard library only, and nothing to lose.

It reads one JSON request from standard input ({"path", "sql", "limit", "seconds", "memory", "bytes"}) and writes one
JSON answer. The file is opened read-only; an authorizer lets a statement read the public views and nothing else.

The public names are made anew as temporary views over views with names that only this process knows: SQLite tells the
authorizer through which view a table is read, but a common table expression bearing a public name would pass for it.
"""

import json
import math
import re
import resource
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ALLOWED_FUNCTIONS = frozenset(
    """abs avg ceil ceiling changes char coalesce concat concat_ws count cume_dist date datetime dense_rank exp
    first_value floor format glob group_concat hex ifnull iif instr json json_array json_array_length json_each
    json_extract json_group_array json_group_object json_insert json_object json_patch json_quote json_remove
    json_replace json_set json_tree json_type json_valid julianday lag last_value lead length like likelihood
    likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank pi pow
    power printf quote rank replace round row_number rtrim sign sqrt strftime string_agg substr substring sum
    time total trim trunc typeof unhex unicode unixepoch unlikely upper -> ->>""".split()
)
_TABLE_FUNCTIONS = ("json_each", "json_tree")
_VIEW = re.compile(r"CREATE VIEW .*? AS\s+(?P<body>SELECT\b.*)", re.DOTALL)
_EVERYTHING_READABLE = "SELECT name FROM main.sqlite_master UNION SELECT name FROM pragma_module_list"
# Texts and comments, and quoted names, which are taken as a whole so that a quote in one begins nothing.
_NOT_A_NAME = re.compile(
    r"""'(?:[^']|'')*'|--[^\n]*|/\*.*?(?:\*/|\Z)|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]""", re.DOTALL
)
_STEPS_BETWEEN_LOOKS = 20_000


def main() -> None:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    _limit_process(request["memory"], request["seconds"])
    try:
        answer = _answer(request)
    except sqlite3.Error as error:
        answer = {"refused": _explained(str(error), request["seconds"])}
    except MemoryError:
        answer = {"refused": f"the statement needs more than {request['memory'] // 2**20} MiB of memory"}
    except UnicodeError:
        answer = {"refused": "the statement is not valid text"}
    json.dump(answer, sys.stdout, separators=(",", ":"))


def _limit_process(memory: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, int(seconds) + 2))
    # Not nothing: the first reader of a file in WAL mode makes the index beside it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 2**20, 16 * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    connection = sqlite3.connect(f"{Path(request['path']).as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    secret = f"v{secrets.token_hex(8)}_"
    public = _make_views(connection, secret)
    tables = frozenset(name for (name,) in connection.execute(_EVERYTHING_READABLE))
    for name in _TABLE_FUNCTIONS:
        connection.execute(f"SELECT 1 FROM {name}('[]')")  # connects it, which the authorizer would not allow later
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 16 * 2**20)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 2**20)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
    connection.set_authorizer(_authorizer(public, secret, tables))
    deadline = time.monotonic() + request["seconds"]
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    if "muster_" in _NOT_A_NAME.sub(_kept_names, request["sql"]).lower():
        return {"refused": "internal tables cannot be read: the public ones have no muster_ in their names"}
    cursor = connection.execute(request["sql"])
    if cursor.description is None:
        return {"refused": "the statement gives no rows: one SELECT is needed"}
    rows: list[list[object]] = []
    size, truncated = 0, False
    for row in cursor:
        size += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)
        if len(rows) >= request["limit"] or size > request["bytes"]:
            truncated = True
            break
        rows.append([_as_json(value) for value in row])
    return {"columns": [column[0] for column in cursor.description], "rows": rows, "truncated": truncated}


def _as_json(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kept_names(match: re.Match[str]) -> str:
    return " " if match.group()[0] in "'-/" else match.group()


def _make_views(connection: sqlite3.Connection, secret: str) -> frozenset[str]:
    public = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'view'").fetchall()
    for name, sql in public:
        view = _VIEW.fullmatch(sql)
        if view is None:
            continue
        body = view["body"]
        connection.execute(f'CREATE TEMP VIEW "{secret}{name}" AS {body}')
        connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM "{secret}{name}"')
    return frozenset(name for name, _ in public)


def _authorizer(public: frozenset[str], secret: str, tables: frozenset[str]) -> Callable[..., int]:
    read_through_views: set[str] = set()

    def allowed(action: int, first: str, second: str, database: str | None, source: str | None) -> bool:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return True
        if action == sqlite3.SQLITE_FUNCTION:
            return second.lower() in _ALLOWED_FUNCTIONS
        if action != sqlite3.SQLITE_READ:
            return False
        if first.startswith(secret):
            return True  # nobody else knows the name
        if first.startswith("muster_"):
            if source is not None and source.startswith(secret):
                read_through_views.add(first)
                return True
            # A view of which no column is used is merged into the statement, and reads its tables as if it named them.
            return second == "" and database is None and first in read_through_views
        if second == "" and database is None and first not in tables and not first.startswith(("sqlite_", "pragma_")):
            return True  # a common table expression of which no column is used
        return first in _TABLE_FUNCTIONS or (first in public and database in ("temp", None))

    return lambda *arguments: sqlite3.SQLITE_OK if allowed(*arguments) else sqlite3.SQLITE_DENY


def _explained(message: str, seconds: float) -> str:
    if message == "interrupted":
        return f"the statement took longer than {seconds:g} seconds"
    if "prohibited" in message or message == "not authorized":
        return f"{message}: a statement may read the public tables and use plain functions, nothing else"
    if "too big" in message:
        return "the statement makes a value of more than 16 MiB"
    return message


if __name__ == "__main__":
    main()
