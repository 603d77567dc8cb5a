"""Query files: one SQL file per platform, with a strict short header.

    -- Accounts the operating system knows.
    -- key: username
    -- volatile: last_change
    -- columns: days_old bigint
    -- cost: 20ms
    SELECT uid, username FROM users

The first comment line is the description. A file ``users.sql`` serves every platform, ``users.linux.sql`` one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp

from server.catalog.files import read_text
from server.catalog.header import DEFAULT_COST_SECONDS, KEYS, Header, read_header
from server.catalog.lineage import known_query
from server.catalog.problems import Problem, did_you_mean
from server.catalog.schema import PLATFORMS, OsquerySchema
from server.catalog.sql_text import SqlText
from server.normalize.treatment import Known
from server.normalize.values import BIGINT, DOUBLE, TEXT

DUPLICATE = "osquery keeps the last of two columns of one name: give it another name with AS"
TOO_DEEP = ("the SQL is nested too deep", "a query that deep is nobody's to review: WITH takes it apart")
LONGEST_SQL = 64 * 1024
"""Characters. A config is at most 1 MiB, and no person reads a query longer than this."""
MOST_COLUMNS = 500
MOST_PROBLEMS = 50
MOST_UNKNOWN = 20
"""Names in one header key that the query does not give and that are said."""
DEEPEST_SQL = 20
"""Brackets within brackets, and CASE within CASE."""
MOST_OPEN_JOINS = 8

_LACKING = re.compile(r"Required keyword: '\w+' missing for <class '[\w.]*\.(\w+)'>")
_FILE_NAME = re.compile(r"(?P<query>[a-z][a-z0-9_]*)(?:\.(?P<platform>[a-z]+))?\.sql")


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
    header: Header = field(compare=False)
    text: SqlText = field(compare=False)
    known: Known = field(compare=False)
    key: tuple[str, ...] = ()
    """The columns that name a row to a reader; not part of the version."""
    cost_seconds: float = DEFAULT_COST_SECONDS
    """How long one run is expected to take; not part of the version."""

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds of its columns, by their names in lower case."""
        return {column.name.lower(): column.kind for column in self.columns}


def load_query(path: Path, shown: str, schema: OsquerySchema, problems: list[Problem]) -> Query | None:
    """Read a query file; what is wrong is appended to ``problems``."""
    named = _FILE_NAME.fullmatch(path.name)
    if not named or named["platform"] not in (None, *PLATFORMS):
        form = "<query>.sql or <query>.<darwin|linux|windows>.sql, in lower case with underscores"
        problems.append(Problem(shown, 1, f"file name {path.name!r} is not {form}"))
        return None
    platforms = PLATFORMS if named["platform"] is None else (named["platform"],)
    content = read_text(path, shown, problems)
    if content is None:
        return None
    lines = content.split("\n")
    start = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines) - 1)
    header = read_header(lines[:start], shown, problems)
    sql = "\n".join(lines[start:]).strip().rstrip(";").rstrip()
    text = SqlText("" if sql.startswith("--") else sql, start + 1)
    if late := text.late_key(KEYS):
        line, column = text.place(late[0])
        hint = "move it to the comments above the SQL"
        problems.append(
            Problem(
                shown, line, f"the header key {late[1]!r} stands below the first word of the SQL", hint, column=column
            )
        )
    select = _select(text, shown, problems)
    if select is None:
        return None
    try:
        columns = _columns(select, header, platforms, schema, shown, text, problems)
        version = _version(header.mode, sql, columns)
        known = known_query(version, select, schema)
    except RecursionError:
        problems.append(text.problem(shown, *TOO_DEEP))
        return None
    return Query(
        name=named["query"],
        platforms=platforms,
        description=header.description,
        mode=header.mode,
        sql=sql,
        columns=columns,
        version=version,
        file=shown,
        header=header,
        text=text,
        known=known,
        key=header.key,
        cost_seconds=header.cost_seconds,
    )


def _select(text: SqlText, shown: str, problems: list[Problem]) -> exp.Query | None:
    """The one SELECT that the SQL is, or None with a problem."""
    if len(text.sql) > LONGEST_SQL:
        problems.append(text.problem(shown, f"the SQL is longer than {LONGEST_SQL} characters"))
        return None
    if tangled := too_tangled(text):
        problems.append(text.problem(shown, *tangled))
        return None
    if (odd := text.odd_character()) is not None:
        line, column = text.place(odd)
        name = unicodedata.name(text.sql[odd], "a control character")
        what = f"character U+{ord(text.sql[odd]):04X} ({name}) in the SQL"
        problems.append(Problem(shown, line, what, "type a plain space in its place, or leave it out", column=column))
        return None
    try:
        statements = [statement for statement in sqlglot.parse(text.sql, read="sqlite") if statement is not None]
    except sqlglot.ParseError as error:
        first = error.errors[0] if error.errors else {}
        what = f"not SQL: {_LACKING.sub(_too_little, str(first.get('description') or error))}"
        line, column = text.line(first.get("line") or 1), first.get("col") or 0
        problems.append(Problem(shown, line, what, column=column))
        return None
    except sqlglot.errors.SqlglotError as error:
        hint = "is a quotation mark or the end of a comment missing?"
        problems.append(text.problem(shown, f"not SQL: {str(error).splitlines()[0]}", hint))
        return None
    except RecursionError:
        problems.append(text.problem(shown, *TOO_DEEP))
        return None
    if len(statements) != 1:
        many = "the file holds no SQL" if not statements else f"{len(statements)} statements"
        hint = "a file each" if statements else "write it below the comments"
        problems.append(text.problem(shown, f"{many}; a query is exactly one SELECT", hint, ";"))
        return None
    if not isinstance(statements[0], exp.Query):
        word = text.first_word().upper()
        problems.append(text.problem(shown, f"{word} is not a SELECT; a query is exactly one SELECT"))
        return None
    return statements[0]


def too_tangled(text: SqlText) -> tuple[str, str] | None:
    """Why some SQL is not even parsed, and how to mend it; None where it is."""
    if text.depth() > DEEPEST_SQL:
        return TOO_DEEP
    if text.open_joins() > MOST_OPEN_JOINS:
        return f"more than {MOST_OPEN_JOINS} joins in a row without ON or USING", "give each its ON or USING"
    return None


def _too_little(lacking: re.Match[str]) -> str:
    return f"{lacking[1].lower()}() is given too little"


def _columns(
    select: exp.Query,
    header: Header,
    platforms: tuple[str, ...],
    schema: OsquerySchema,
    shown: str,
    text: SqlText,
    problems: list[Problem],
) -> tuple[QueryColumn, ...]:
    declared = dict(header.columns)
    columns: list[QueryColumn] = []
    seen, begun = set[str](), len(problems)
    if len(select.selects) > MOST_COLUMNS:
        problems.append(text.problem(shown, f"more than {MOST_COLUMNS} columns"))
    for projection in select.selects[:MOST_COLUMNS]:
        name = projection.alias_or_name
        if projection.is_star:
            hint = "osquery may answer a whole cached table with older rows, and its columns change with its version"
            problems.append(text.problem(shown, "SELECT * is not allowed: name the columns", hint, "*"))
            continue
        if not name:
            problems.append(text.problem(shown, f"a column has no name: {projection.sql('sqlite')[:60]}", "add AS"))
            continue
        if name.lower() in seen:
            problems.append(text.problem(shown, f"column {name!r} is given twice", DUPLICATE, name, -1))
        kind = declared.pop(name, None) or passed_through(projection, select, platforms, schema)
        if kind is None:
            what, hint, at = _why_unknown(projection, _tables(select), platforms, schema)
            problems.append(text.problem(shown, what, hint, at))
            kind = TEXT
        if len(problems) > begun + MOST_PROBLEMS:
            break
        seen.add(name.lower())
        columns.append(QueryColumn(name, kind, name in header.volatile))
    names = [column.name for column in columns]
    for key, given in (("columns", declared), ("volatile", header.volatile), ("key", header.key)):
        problems += [
            Problem(shown, header.line(key), f"{key}: the query gives no column {name!r}", did_you_mean(name, names))
            for name in sorted(set(given) - set(names))[:MOST_UNKNOWN]
        ]
    return tuple(columns)


_CAST_KINDS = {
    "BIGINT": BIGINT,
    "INT": BIGINT,
    "INTEGER": BIGINT,
    "DOUBLE": DOUBLE,
    "FLOAT": DOUBLE,
    "REAL": DOUBLE,
    "TEXT": TEXT,
}


def passed_through(
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
) -> tuple[str, str, str]:
    """Why a column has no known type, how to mend that, and at which name."""
    here = {table.name: table for platform in platforms for table in schema.on(platform)}
    for name in filter(None, tables.values()):
        if name.lower() not in here:
            return f"no such table: {name}", missing_table(name, platforms, schema), name
    column = projection.unalias()
    if isinstance(column, exp.Column) and all(tables.values()):  # what a function gives as a table is not known
        known = {known.name for name in tables.values() for known in here[name.lower()].columns}
        if column.name.lower() not in known:
            return f"no such column: {column.name}", missing_column(column.name, known), column.name
    name = projection.alias_or_name
    hint = f"add to the header: -- columns: {name} text|bigint|double"
    return f"the type of column {name!r} is not known", hint, name


def missing_table(name: str, platforms: Iterable[str], schema: OsquerySchema) -> str:
    """A hint for a table that is not there."""
    elsewhere = schema.table(name)
    if elsewhere:
        return f"{elsewhere.name} exists on {', '.join(elsewhere.platforms)} only"
    return did_you_mean(name, {table.name for platform in platforms for table in schema.on(platform)})


def missing_column(name: str, known: Iterable[str]) -> str:
    """A hint for a column that is not there."""
    return did_you_mean(name.lower(), known)


def _version(mode: str, sql: str, columns: tuple[QueryColumn, ...]) -> str:
    """Ten hex digits of what the answer depends on; a new description is not a new version."""
    parts = [mode, sql, *(f"{column.name} {column.kind} {column.volatile}" for column in columns)]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=5).hexdigest()
