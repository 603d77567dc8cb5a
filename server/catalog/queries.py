"""Query files: one SQL file per platform, with a strict short header.

    -- Accounts the operating system knows.
    -- volatile: last_change
    -- columns: days_old bigint
    SELECT uid, username FROM users

The first comment line is the description. A file ``users.sql`` serves every platform, ``users.linux.sql`` one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp

from server.catalog.files import read_text
from server.catalog.problems import Problem, did_you_mean
from server.catalog.schema import PLATFORMS, OsquerySchema
from server.normalize.values import BIGINT, DOUBLE, TEXT

MODES = ("state", "latest", "events")
_HEADER_KEYS = ("mode", "volatile", "columns")
_FILE_NAME = re.compile(r"(?P<query>[a-z][a-z0-9_]*)(?:\.(?P<platform>[a-z]+))?\.sql")
_HEADER_LINE = re.compile(r"--\s*(?P<key>[a-z_]+):\s*(?P<value>.*)")
_COLUMN = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s+(?P<kind>text|bigint|double)")


@dataclass(frozen=True, slots=True)
class QueryColumn:
    """A column a query gives: its name as osquery sends it, its type, and whether it is volatile."""

    name: str
    kind: str
    volatile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query on the platforms it is written for."""

    name: str
    platforms: tuple[str, ...]
    description: str
    mode: str
    sql: str
    columns: tuple[QueryColumn, ...]
    version: str
    file: str
    sql_line: int = field(compare=False)


def load_query(path: Path, shown: str, schema: OsquerySchema, problems: list[Problem]) -> Query | None:
    """Read a query file; what is wrong is appended to ``problems``."""
    named = _FILE_NAME.fullmatch(path.name)
    if not named or named["platform"] not in (None, *PLATFORMS):
        form = "<query>.sql or <query>.<darwin|linux|windows>.sql, in lower case with underscores"
        problems.append(Problem(shown, 1, f"file name {path.name!r} is not {form}"))
        return None
    platforms = PLATFORMS if named["platform"] is None else (named["platform"],)
    text = read_text(path, shown, problems)
    if text is None:
        return None
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines))
    found = len(problems)
    description, header = _header(lines[:start], shown, problems)
    sql = "\n".join(lines[start:]).strip().rstrip(";").rstrip()
    select = _select(sql, shown, start + 1, problems)
    if select is None or len(problems) > found:
        return None
    columns = _columns(select, header, platforms, schema, shown, start + 1, problems)
    if len(problems) > found:
        return None
    return Query(
        name=named["query"],
        platforms=platforms,
        description=description,
        mode=header.get("mode", "state"),
        sql=sql,
        columns=columns,
        version=_version(header.get("mode", "state"), sql, columns),
        file=shown,
        sql_line=start + 1,
    )


def _header(lines: Sequence[str], shown: str, problems: list[Problem]) -> tuple[str, dict[str, str]]:
    description: list[str] = []
    header: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _HEADER_LINE.fullmatch(line.strip())
        if not match:
            description.append(line.strip().removeprefix("--").strip())
            continue
        key = match["key"]
        if key not in _HEADER_KEYS:
            problems.append(Problem(shown, number, f"unknown header key {key!r}", did_you_mean(key, _HEADER_KEYS)))
        elif key in header:
            problems.append(Problem(shown, number, f"header key {key!r} is given twice"))
        elif key == "mode" and match["value"].strip() not in MODES:
            problems.append(Problem(shown, number, f"mode is {match['value']!r}", f"known are: {', '.join(MODES)}"))
        else:
            header[key] = match["value"].strip()
    if not any(description):
        problems.append(Problem(shown, 1, "no description", "begin the file with a comment that says what a row is"))
    return " ".join(part for part in description if part), header


def _select(sql: str, shown: str, line: int, problems: list[Problem]) -> exp.Query | None:
    try:
        statements = [statement for statement in sqlglot.parse(sql, read="sqlite") if statement is not None]
    except sqlglot.errors.SqlglotError as error:
        at = error.errors[0].get("line", 1) if isinstance(error, sqlglot.ParseError) and error.errors else 1
        what = error.errors[0].get("description") if isinstance(error, sqlglot.ParseError) and error.errors else error
        problems.append(Problem(shown, line + (at or 1) - 1, f"not SQL: {what}"))
        return None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        problems.append(Problem(shown, line, f"{len(statements)} statements; a query is exactly one SELECT"))
        return None
    return statements[0]


def _columns(
    select: exp.Query,
    header: dict[str, str],
    platforms: tuple[str, ...],
    schema: OsquerySchema,
    shown: str,
    line: int,
    problems: list[Problem],
) -> tuple[QueryColumn, ...]:
    declared = _declared(header.get("columns", ""), shown, problems)
    volatile = {name.strip() for name in header.get("volatile", "").split(",") if name.strip()}
    columns: list[QueryColumn] = []
    for projection in select.selects:
        name = projection.alias_or_name
        if projection.is_star or not name:
            hint = "osquery may answer a whole cached table with older rows, and its columns change with its version"
            what = "SELECT * is not allowed: name the columns" if projection.is_star else "a column has no name: add AS"
            problems.append(Problem(shown, line, what, hint if projection.is_star else ""))
            continue
        if any(column.name.lower() == name.lower() for column in columns):
            problems.append(Problem(shown, line, f"column {name!r} is given twice"))
        kind = declared.pop(name, None) or _passed_through(projection, select, platforms, schema)
        if kind is None:
            problems.append(Problem(shown, line, *_why_unknown(projection, _tables(select), platforms, schema)))
            kind = TEXT
        columns.append(QueryColumn(name, kind, name in volatile))
    names = [column.name for column in columns]
    for key, left in (("columns", set(declared)), ("volatile", volatile - set(names))):
        problems += [
            Problem(shown, 1, f"{key}: the query gives no column {name!r}", did_you_mean(name, names))
            for name in sorted(left)
        ]
    return tuple(columns)


def _declared(text: str, shown: str, problems: list[Problem]) -> dict[str, str]:
    declared: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _COLUMN.fullmatch(part)
        if match:
            declared[match["name"]] = match["kind"]
        else:
            problems.append(Problem(shown, 1, f"columns: {part!r} is not a name and one of text, bigint, double"))
    return declared


_CAST_KINDS = {
    "BIGINT": BIGINT,
    "INT": BIGINT,
    "INTEGER": BIGINT,
    "DOUBLE": DOUBLE,
    "FLOAT": DOUBLE,
    "REAL": DOUBLE,
    "TEXT": TEXT,
}


def _passed_through(
    projection: exp.Expr, select: exp.Query, platforms: tuple[str, ...], schema: OsquerySchema
) -> str | None:
    """The type of a column taken from a table as it is, or given by a CAST; None where the schema cannot tell."""
    column = projection.unalias()
    if isinstance(column, exp.Cast):
        return _CAST_KINDS.get(column.to.sql("sqlite").upper())
    if isinstance(column, exp.Count):
        return BIGINT
    if not isinstance(column, exp.Column):
        return None
    tables = _tables(select)
    names = [tables.get(column.table, "")] if column.table else list(tables.values())
    kinds = set()
    for name in names:
        table = schema.table(name)
        found = table.by_name.get(column.name.lower()) if table and set(platforms) & set(table.platforms) else None
        if found:
            kinds.add(found.kind)
    return kinds.pop() if len(kinds) == 1 else None


def _tables(select: exp.Query) -> dict[str, str]:
    """The tables a query reads, by the names it calls them."""
    source = select if isinstance(select, exp.Select) else select.find(exp.Select)
    return {table.alias_or_name: table.name for table in source.find_all(exp.Table)} if source else {}


def _why_unknown(
    projection: exp.Expr, tables: dict[str, str], platforms: tuple[str, ...], schema: OsquerySchema
) -> tuple[str, str]:
    """Why a column has no known type, and how to mend that."""
    here = {table.name: table for platform in platforms for table in schema.on(platform)}
    for name in tables.values():
        if name.lower() not in here:
            elsewhere = schema.table(name)
            hint = f"{name} exists on {', '.join(elsewhere.platforms)} only" if elsewhere else did_you_mean(name, here)
            return f"no such table: {name}", hint
    column = projection.unalias()
    if isinstance(column, exp.Column):
        known = {known.name for name in tables.values() for known in here[name.lower()].columns}
        if column.name not in known:
            return f"no such column: {column.name}", did_you_mean(column.name, known)
    name = projection.alias_or_name
    return f"the type of column {name!r} is not known", f"add to the header: -- columns: {name} text|bigint|double"


def _version(mode: str, sql: str, columns: tuple[QueryColumn, ...]) -> str:
    """Ten hex digits of what the answer depends on; a new description is not a new version."""
    parts = [mode, sql, *(f"{column.name} {column.kind} {column.volatile}" for column in columns)]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=5).hexdigest()
