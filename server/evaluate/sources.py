"""The tables of SELECTs over one device's rows: FROM, JOIN, WHERE, and whose columns a name means. Pure.

Everything compiles to SQL in terms of a row ``m`` of the statement around: which device, and as of when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from server.catalog.lists import ReferenceList
from server.catalog.problems import did_you_mean
from server.catalog.rule_sql import MOST_JOINS, RuleDialect
from server.catalog.sql_text import SqlText
from server.evaluate.functions import call
from server.evaluate.language import (
    BOOLEAN,
    Part,
    RuleError,
    Writing,
    expect,
    shown,
)
from server.normalize.calendar import Day

MOST_TABLES = 12
"""Tables in the SELECTs of a condition; each is looked up for every device, some for every row of another."""
_PARTS = {
    "with_": ("WITH", "write the SELECT where its rows are needed, as a sub-select"),
    "group": ("GROUP BY", "compare rows by a JOIN of the query with itself, or by EXISTS"),
    "having": ("HAVING", "put the condition into WHERE, or beside the aggregate"),
    "order": ("ORDER BY", "the rows have no order; MIN and MAX find the first and the last"),
    "limit": ("LIMIT", "EXISTS says whether there is a row, COUNT how many"),
    "offset": ("OFFSET", "the rows have no order"),
    "distinct": ("DISTINCT", "write COUNT(DISTINCT column)"),
}
"""What a SELECT may have elsewhere, and what to write instead."""


Select = Callable[[exp.Expr, Writing], Part | None]
"""Compiles a part that conditions on a row do not have; None for what is not of its kind."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A query as a rule sees it: the kinds of its columns, by name in lower case, and the table of its rows."""

    columns: Mapping[str, str]
    rows: str = "muster_rows"


@dataclass(frozen=True, slots=True)
class Moment:
    """In SQL, the device and the instant before which rows have begun and not ended."""

    device: str = "m.device_no"
    until: str = "m.until_at"


@dataclass(slots=True)
class Source:
    """A table in a FROM: which query's rows it is, and the columns that are read of it."""

    query: str
    shape: Shape
    sql_name: str
    read: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Scope:
    """The tables of a SELECT by their names in it; ``rows`` while a row of each is at hand."""

    outer: Scope | None
    sources: dict[str, Source] = field(default_factory=dict)
    rows: bool = True


@dataclass(slots=True)
class Statement:
    """What the SELECTs of a condition share."""

    queries: Mapping[str, Shape]
    lists: Mapping[str, ReferenceList]
    day: Day
    moment: Moment = field(default_factory=Moment)
    named: dict[str, str] = field(default_factory=dict)
    read: dict[str, set[str]] = field(default_factory=dict)
    """The columns that are read, by query; a query of which rows are only counted is there too."""
    tables: int = 0
    depth: int = 0


def parse_select(text: str) -> exp.Select:
    """The tree of one SELECT; raises ``RuleError``."""
    if SqlText(text, 1).open_joins() > MOST_JOINS:
        raise RuleError("every JOIN takes its ON right behind the table")
    try:
        tree = sqlglot.parse_one(text, read=RuleDialect)
    except sqlglot.errors.SqlglotError as error:
        raise RuleError(f"not an SQL statement: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise RuleError("the statement is nested too deeply") from error
    if isinstance(tree, exp.SetOperation):
        raise RuleError(f"{type(tree).__name__.upper()}: give one SELECT; two conditions go together by AND or OR")
    if not isinstance(tree, exp.Select):
        raise RuleError("give one SELECT, such as SELECT COUNT(*) = 0 FROM query WHERE condition")
    return tree


def writing(s: Statement, scope: Scope, select: Select) -> Writing:
    """What a part of a SELECT may use; ``select`` compiles what else there is than conditions have."""
    found = Writing({}, s.lists, s.day, lambda node, w: select(node, w) or call(node, w), named=s.named, depth=s.depth)
    found.column = lambda node, _: _column(node, scope)
    found.select = select
    return found


def only(node: exp.Select, *, distinct: bool = False) -> None:
    """Raise ``RuleError`` for a part of a SELECT that the language does not have."""
    for name, value in node.args.items():
        if not value or name in ("expressions", "from_", "joins", "where") or (name == "distinct" and distinct):
            continue
        if name == "distinct" and not isinstance(value, exp.Distinct):
            continue
        word, instead = _PARTS.get(name, (name.strip("_").upper(), ""))
        raise RuleError(f"{word} is not in the rule language; {instead}".rstrip("; "), word.split()[0])
    if node.args.get("distinct") and node.args["distinct"].args.get("on"):
        raise RuleError("DISTINCT ON is not in the rule language")
    if not node.expressions:
        raise RuleError(f"{shown(node)}: say what is selected")


def compile_from(node: exp.Select, s: Statement, scope: Scope, on: Select, where: Select) -> Callable[[], str]:
    """Check FROM, JOIN and WHERE and bring their tables into ``scope``.

    ``on`` and ``where`` compile what those may have beside conditions. The SQL is to be had once all columns are read.
    """
    source = node.args.get("from_")
    if source is None:
        if node.args.get("where") or node.args.get("joins"):
            raise RuleError(f"{shown(node)}: WHERE and JOIN come after a FROM")
        return lambda: ""
    joined: list[tuple[str, Source, Part | None]] = [("", _table(source.this, s, scope), None)]
    joined += [_join(join, s, scope, on) for join in node.args.get("joins") or ()]
    found = node.args.get("where")
    condition = expect(BOOLEAN, found.this, writing(s, scope, where)) if found else None

    def rendered() -> str:
        tables = "".join(
            f"{word}{_rows(one, s.moment)} {one.sql_name}{f' ON {why.sql}' if why else ''}" for word, one, why in joined
        )
        return f" FROM {tables}{f' WHERE {condition.sql}' if condition else ''}"

    return rendered


def _table(node: exp.Expr, s: Statement, scope: Scope) -> Source:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise RuleError(f"{shown(node)}: FROM and JOIN take a query of these packs, by its name")
    odd = [key for key, value in node.args.items() if value and key not in ("this", "alias")]
    alias = node.args.get("alias")
    if odd or (alias and alias.args.get("columns")):
        raise RuleError(f"{shown(node)}: FROM and JOIN take the name of a query, and an alias if need be")
    name = node.name.lower()
    shape = s.queries.get(name)
    if shape is None:
        hint = did_you_mean(name, s.queries)
        raise RuleError(f"there is no query {node.name!r} here; {hint}".rstrip("; "), node.name)
    called = node.alias_or_name.lower()
    above: Scope | None = scope
    while above:
        if called in above.sources:
            raise RuleError(f"{called} is the name of two tables: give one of them an alias of its own", called)
        above = above.outer
    s.tables += 1
    if s.tables > MOST_TABLES:
        raise RuleError(f"more than {MOST_TABLES} tables in one rule")
    s.read.setdefault(name, set())
    source = Source(name, shape, f"t{s.tables}", s.read[name])
    scope.sources[called] = source
    return source


def _join(node: exp.Join, s: Statement, scope: Scope, select: Select) -> tuple[str, Source, Part]:
    odd = [key for key, value in node.args.items() if value and key not in ("this", "on", "side", "kind")]
    side, kind, on = node.args.get("side") or "", node.args.get("kind") or "", node.args.get("on")
    if odd or side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER") or (kind == "OUTER" and not side):
        raise RuleError(f"{shown(node)}: the joins are JOIN and LEFT JOIN, with ON condition")
    if on is None or isinstance(on, exp.Boolean):
        raise RuleError(f"{shown(node)}: say ON which condition the rows belong together")
    source = _table(node.this, s, scope)
    # Only the tables so far are in sight, as Postgres has it; SQLite would look at later ones too.
    condition = expect(BOOLEAN, on, writing(s, scope, select))
    return f" {'LEFT ' if side else ''}JOIN ", source, condition


def _column(node: exp.Column, scope: Scope | None) -> Part:
    name, table = node.name.lower(), node.table.lower()
    if isinstance(node.this, exp.Star):
        raise RuleError(f"{shown(node)}: name the columns")
    if scope is None or not _in_sight(scope):
        raise RuleError(f"{shown(node)}: there is no table here to have a column")
    found: Source | None = None
    at: Scope | None = scope
    if not table:
        if len(scope.sources) != 1 or not scope.rows:
            raise (
                _outside(node)
                if scope.sources and not scope.rows
                else RuleError(
                    f"{shown(node)}: say of which table, such as {next(iter(_in_sight(scope)))}.{node.name}", node.name
                )
            )
        (found,) = scope.sources.values()
    while at and not found:
        found = at.sources.get(table)
        if found and not at.rows:
            raise _outside(node)
        at = at.outer
    if found is None:
        hint = did_you_mean(table, _in_sight(scope))
        raise RuleError(f"{shown(node)}: there is no table {node.table!r} here; {hint}".rstrip("; "), node.table)
    if name not in found.shape.columns:
        hint = did_you_mean(name, found.shape.columns)
        raise RuleError(f"the query {found.query} gives no column {node.name!r}; {hint}".rstrip("; "), node.name)
    found.read.add(name)
    return Part(f'{found.sql_name}."{name}"', found.shape.columns[name])


def _outside(node: exp.Column) -> RuleError:
    return RuleError(
        f"{shown(node)} has a value for every row: write MIN or MAX of it, or put the condition into WHERE", node.name
    )


def _in_sight(scope: Scope) -> list[str]:
    names: list[str] = []
    at: Scope | None = scope
    while at:
        names += at.sources
        at = at.outer
    return names


def _rows(source: Source, moment: Moment) -> str:
    """The rows of a query that a device had, with the columns that are read of any of its tables in the rule."""
    columns = ", ".join(f'r."{name}"' for name in sorted(source.read)) or "1 AS one"
    return f"({true_rows(source.shape.rows, columns, moment)})"


def true_rows(rows: str, columns: str, moment: Moment, condition: str = "") -> str:
    """A SELECT of the rows ``r`` that were true, in two halves: each has an index of its own."""
    held = (
        f"SELECT {columns} FROM {rows} r WHERE r.device_no = {moment.device} AND r.muster_superseded_seq IS NULL"
        f" AND r.valid_from < {moment.until}{condition}"
    )
    return f"{held} AND r.valid_to IS NULL UNION ALL {held} AND r.valid_to IS NOT NULL AND r.valid_to >= {moment.until}"
