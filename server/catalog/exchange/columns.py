"""Naming the columns of a foreign query: no star, no column without a name, no name twice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from server.catalog.lineage import selects
from server.catalog.problems import did_you_mean
from server.catalog.queries import LONGEST_SQL, passed_through, too_tangled
from server.catalog.schema import OsquerySchema, SchemaColumn, SchemaTable
from server.catalog.sql_text import SqlText


class NotNamedError(ValueError):
    """The columns cannot be told; the message says why."""


def name_columns(sql: str, platform: str, schema: OsquerySchema) -> str:
    """The same query with every column named, word for word where it was so already.

    A star is written out with the columns that the platform's tables have in this version of osquery. Raises
    ``NotNamedError``.
    """
    if len(sql) > LONGEST_SQL:
        raise NotNamedError(f"the SQL is longer than {LONGEST_SQL} characters")
    if tangled := too_tangled(SqlText(sql, 1)):
        raise NotNamedError(tangled[0])
    try:
        parsed = [statement for statement in sqlglot.parse(sql, read="sqlite") if statement is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise NotNamedError(f"not SQL: {str(error).splitlines()[0]}") from error
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise NotNamedError(f"{len(parsed)} statements; a query is exactly one SELECT")
    statement = parsed[0]
    common = {expression.alias_or_name.lower() for expression in statement.find_all(exp.CTE)}
    for source in statement.find_all(exp.Table):
        if source.name.lower() not in common and not isinstance(source.this, exp.Func):
            _table(source.name, platform, schema)
    if not re.search(r"(?i)\bcross\b", sql):  # the parser takes a comma for a CROSS JOIN, which fixes SQLite's order
        for join in statement.find_all(exp.Join):
            if join.kind == "CROSS":
                join.set("kind", "INNER")
    changed = [_quoted_texts(statement, schema)]
    outer = list(selects(statement))
    inner = [select for select in statement.find_all(exp.Select) if not any(select is one for one in outer)]
    starred = [select for select in inner if any(one.is_star for one in select.expressions)]
    # Inner ones first: outer stars stand for theirs.
    changed += [_name(select, platform, schema, first=True) for select in reversed(starred)]
    changed += [_name(select, platform, schema, first=number == 0) for number, select in enumerate(outer)]
    return statement.sql("sqlite", pretty=True) if any(changed) else sql.strip().rstrip(";").rstrip()


def _quoted_texts(statement: exp.Expr, schema: OsquerySchema) -> bool:
    """Make texts of double-quoted words that name no column, as the SQLite in osquery takes them."""
    tables = [table for node in statement.find_all(exp.Table) if (table := schema.table(node.name))]
    known = {name for table in tables for name in table.by_name}
    known |= {node.alias.lower() for node in statement.find_all(exp.Alias)}
    found = [
        column
        for column in statement.find_all(exp.Column)
        if not column.table and column.this.args.get("quoted") and column.name.lower() not in known
    ]
    for column in found:
        column.replace(exp.Literal.string(column.name))
    return bool(found)


def left_out(sql: str, named: str, platform: str, schema: OsquerySchema) -> list[str]:
    """What a star of a query stood for and is not asked once its columns are named: one column of a cached table."""
    starred = any(
        one.is_star
        for select in sqlglot.parse_one(sql, read="sqlite").find_all(exp.Select)
        for one in select.expressions
        if not isinstance(one.unalias(), exp.Count)
    )
    if not starred:
        return []
    statement = sqlglot.parse_one(named, read="sqlite")
    asked = {column.name.lower() for column in statement.find_all(exp.Column)}
    found = []
    for name in sorted({source.name for source in statement.find_all(exp.Table)}):
        table = schema.table(name)
        if table and table.cacheable:
            missing = [column.name for column in _own(table, platform) if column.name.lower() not in asked]
            found += [f"{table.name}.{missing[0]}"] if len(missing) == 1 else []
    return found


def reads_events(sql: str, schema: OsquerySchema) -> bool:
    """Whether a query reads a table of events."""
    tables = (schema.table(node.name) for node in sqlglot.parse_one(sql, read="sqlite").find_all(exp.Table))
    return any(table.evented for table in tables if table)


def untyped_columns(sql: str, platforms: tuple[str, ...], schema: OsquerySchema) -> list[str]:
    """The columns of a query whose type the schema cannot tell, so that a header has to."""
    statement = sqlglot.parse_one(sql, read="sqlite")
    assert isinstance(statement, exp.Query)
    return [
        projection.alias_or_name
        for projection in statement.selects
        if passed_through(projection, statement, platforms, schema) is None
    ]


def _name(select: exp.Select, platform: str, schema: OsquerySchema, *, first: bool) -> bool:
    """Name the columns of one SELECT in place; says whether that changed anything."""
    expanded = [
        column for projection in select.expressions for column in _expanded(projection, select, platform, schema)
    ]
    named: list[exp.Expr] = []
    seen: set[str] = set()
    for column in expanded:
        given = column.alias_or_name if isinstance(column, exp.Alias | exp.Column) else ""
        name = given or _derived(column)
        if first and (name.lower() in seen or not given):
            name = _free(f"{column.table}_{name}" if isinstance(column, exp.Column) and column.table else name, seen)
            column = exp.alias_(column.unalias(), name, quoted=not name.isidentifier())
        seen.add(name.lower())
        named.append(column)
    changed = len(named) != len(select.expressions) or any(
        a is not b for a, b in zip(named, select.expressions, strict=True)
    )
    if changed:
        select.set("expressions", named)
    return changed


def _expanded(projection: exp.Expr, select: exp.Select, platform: str, schema: OsquerySchema) -> Iterator[exp.Expr]:
    if not projection.is_star or isinstance(projection.unalias(), exp.Count):
        yield projection
        return
    wanted = projection.table if isinstance(projection, exp.Column) else ""
    joined: set[str] = set()
    several = len(list(_sources(select))) > 1
    for source, using in _sources(select):
        name = source.alias_or_name
        if wanted and name.lower() != wanted.lower():
            continue
        for column in _columns_of(source, select, platform, schema):
            if not wanted and column.lower() in using & joined:
                continue
            joined.add(column.lower())
            yield exp.column(exp.to_identifier(column), table=name if several and name else None)


def _sources(select: exp.Select) -> Iterator[tuple[exp.Expr, set[str]]]:
    """What a SELECT reads, each with the columns by which it is joined to those before (``USING``)."""
    begin = select.args.get("from_") or select.args.get("from")
    if begin is not None:
        yield begin.this, set()
    for join in select.args.get("joins") or ():
        yield join.this, {column.name.lower() for column in join.args.get("using") or ()}


def _columns_of(source: exp.Expr, select: exp.Select, platform: str, schema: OsquerySchema) -> list[str]:
    if isinstance(source, exp.Table):
        for common in select.root().find_all(exp.CTE):
            if common.alias_or_name.lower() == source.name.lower():
                return _inner(common.this, platform, schema)
        return _worth_asking(_table(source.name, platform, schema), select, platform)
    return _inner(source.unnest(), platform, schema)


def _own(table: SchemaTable, platform: str) -> list[SchemaColumn]:
    """The columns that a star gives on a platform."""
    return [c for c in table.columns if c.name == c.canonical and platform in c.platforms and "hidden" not in c.flags]


def _worth_asking(table: SchemaTable, select: exp.Select, platform: str) -> list[str]:
    """The columns that stand for a star: all the platform has, but one where all together might come from a cache."""
    columns = _own(table, platform)
    needed = {column.name.lower() for column in select.root().find_all(exp.Column)}
    needed |= {name.name.lower() for join in select.root().find_all(exp.Join) for name in join.args.get("using") or ()}
    spare = [column for column in columns if column.name.lower() not in needed]
    if table.cacheable and spare:
        columns.remove(next((column for column in spare if column.moving), spare[-1]))
    return [column.name for column in columns]


def _table(name: str, platform: str, schema: OsquerySchema) -> SchemaTable:
    """A table that the platform has."""
    table = schema.table(name)
    if table is None:
        near = did_you_mean(name, [known.name for known in schema.on(platform)])
        raise NotNamedError(f"no such table: {name} ({near or 'osquery has none of that name'})")
    if platform not in table.platforms:
        raise NotNamedError(f"no such table: {name} (it exists on {', '.join(table.platforms)} only)")
    return table


def _inner(query: exp.Expr, platform: str, schema: OsquerySchema) -> list[str]:
    first = next(selects(query), None)
    if first is None:
        raise NotNamedError(f"the columns of {query.sql('sqlite')[:60]} cannot be told")
    _name(first, platform, schema, first=True)
    return [projection.alias_or_name for projection in first.expressions]


def _derived(column: exp.Expr) -> str:
    """A name for a column that has none: that of its function, or what kind of thing it is."""
    if isinstance(column, exp.Literal | exp.Boolean | exp.Null):
        return "value"
    if isinstance(column, exp.Anonymous):
        return column.name.lower()
    return column.sql_name().lower() if isinstance(column, exp.Func) else "value"


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
