"""The rule language: conditions over one row, checked, and compiled to SQL that both databases read alike. Pure.

Every part has a kind, and comparisons are between values of one kind, so no database converts behind the author's back.
Whole numbers (bigint) and fractions (double) are both numbers; where they meet, both become doubles.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import sqlglot
from sqlglot import exp

from server.catalog.lists import ReferenceList
from server.catalog.problems import did_you_mean
from server.catalog.rule_sql import RuleDialect
from server.catalog.sql_text import SqlText
from server.evaluate import scalar
from server.normalize.calendar import Day
from server.normalize.values import BIGINT, DOUBLE, TEXT

BOOLEAN, NULL = "boolean", "null"
NUMBERS = (BIGINT, DOUBLE)
_DEEPEST, _LONGEST = 40, 500
"""Levels of brackets, operators and functions, and conditions in a row of AND or OR; SQLite takes a thousand levels."""
COMPARISONS: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_Compute = Callable[[scalar.Number | None, scalar.Number | None], scalar.Number | None]
_ARITHMETIC: Mapping[type[exp.Expr], tuple[str, _Compute]] = {
    exp.Add: ("muster_add", scalar.add),
    exp.Sub: ("muster_subtract", scalar.subtract),
    exp.Mul: ("muster_multiply", scalar.multiply),
}
_DECIMAL = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


class RuleError(ValueError):
    """The condition is not in the language; the message says what is wrong, and how to say it instead.

    ``word`` is the word of the condition that is wrong, where it is one.
    """

    def __init__(self, message: str, word: str = "") -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition: its SQL, in brackets where it needs them, and what it is."""

    sql: str
    kind: str
    varies: bool = True
    """Whether it depends on the row or the day."""
    constant: str | int | float | None = None
    """What a literal is."""


@dataclass(slots=True)
class Writing:
    """What a condition may use beside its own words, and what it has used so far."""

    columns: Mapping[str, str]
    lists: Mapping[str, ReferenceList]
    day: Day
    call: Callable[[exp.Anonymous, Writing], Part]
    """Compiles the call of a function."""
    read: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    """The lists it looks things up in, each with the SQL of a common table expression that holds it."""
    joins: dict[str, str] = field(default_factory=dict)
    """What its values of lists are joined to the row by, in order: an alias for each, and the SQL of the join."""
    depth: int = 0
    column: Callable[[exp.Column, Writing], Part] | None = None
    """Compiles a column, where it is not one of the only row."""
    select: Callable[[exp.Expr, Writing], Part | None] | None = None
    """Compiles what only a SELECT has; None for what it has not either. Values of lists are sub-selects then."""


@lru_cache(maxsize=4096)
def parse(text: str) -> exp.Expr:
    """The tree of a condition, not to be changed; raises ``RuleError``."""
    if SqlText(text, 1).open_joins():
        raise RuleError("JOIN is not in the rule language")
    try:
        return sqlglot.parse_one(text, read=RuleDialect, into=exp.Condition)
    except sqlglot.errors.SqlglotError as error:
        said = str(error).splitlines()[0]
        why = "it is not one expression" if said.startswith("Failed to parse") else said
        raise RuleError(f"not an SQL condition: {why}") from error
    except RecursionError as error:
        raise RuleError("the condition is nested too deeply") from error


def compile_part(node: exp.Expr, w: Writing) -> Part:
    """Check a part of a tree and compile it; raises ``RuleError`` for what the language does not have."""
    w.depth += 1
    if w.depth > _DEEPEST:
        raise RuleError(f"the condition is nested more than {_DEEPEST} levels deep: use IN (…) or a list")
    try:
        return _part(node, w)
    finally:
        w.depth -= 1


def shown(node: exp.Expr) -> str:
    """A part of a condition as a person would write it."""
    return node.sql(RuleDialect, normalize_functions=False)


def shown_kind(kind: str) -> str:
    """A kind as a person would call it."""
    return "number" if kind in NUMBERS else kind


def expect(kind: str, node: exp.Expr, w: Writing) -> Part:
    """A part that must be of a kind; ``bigint`` and ``double`` both take any number."""
    part = compile_part(node, w)
    if shown_kind(part.kind) != shown_kind(kind):
        raise RuleError(f"{shown(node)} is a {shown_kind(part.kind)}, where a {shown_kind(kind)} is needed")
    return part


def alike(node: exp.Expr, nodes: Sequence[exp.Expr], w: Writing) -> list[Part]:
    """Parts of one kind; null goes with every kind."""
    parts = [compile_part(part, w) for part in nodes]
    kinds = {shown_kind(part.kind) for part in parts} - {NULL}
    if len(kinds) > 1 or BOOLEAN in kinds:
        raise RuleError(f"{shown(node)} compares {' with '.join(sorted(kinds))}: both sides must be of one kind")
    if any(part.kind == DOUBLE for part in parts):
        return [as_double(part) for part in parts]
    return parts


def as_double(part: Part) -> Part:
    """A whole number as a double; anything else as it is."""
    if part.kind != BIGINT:
        return part
    if isinstance(part.constant, int):
        return literal(float(part.constant))
    return replace(part, sql=f"CAST({part.sql} AS DOUBLE PRECISION)", kind=DOUBLE)


def literal(value: str | int | float) -> Part:
    """A constant."""
    if isinstance(value, str):
        return Part(text_literal(value), TEXT, False, value)
    if isinstance(value, int):
        return Part(str(value) if value >= 0 else f"({value})", BIGINT, False, value)
    return Part(f"CAST({value!r} AS DOUBLE PRECISION)", DOUBLE, False, value)


def text_literal(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _part(node: exp.Expr, w: Writing) -> Part:
    if isinstance(node, exp.Paren):
        return compile_part(node.this, w)
    if isinstance(node, exp.Column):
        return (w.column or _column)(node, w)
    if isinstance(node, exp.Literal):
        return literal(str(node.this) if node.is_string else _number(str(node.this)))
    if isinstance(node, exp.Null):
        return Part("NULL", NULL, varies=False)
    if isinstance(node, exp.Neg):
        return _computed(node, literal(0), expect(BIGINT, node.this, w), *_ARITHMETIC[exp.Sub])
    if isinstance(node, exp.Binary) and type(node) in _ARITHMETIC:
        left, right = (expect(BIGINT, side, w) for side in (node.left, node.right))
        return _computed(node, left, right, *_ARITHMETIC[type(node)])
    if isinstance(node, exp.Anonymous):
        return w.call(node, w)
    return (w.select(node, w) if w.select else None) or _condition(node, w)


def _condition(node: exp.Expr, w: Writing) -> Part:
    match node:
        case exp.And() | exp.Or():
            return _connected(node, w)
        case exp.Not():
            return Part(f"(NOT {expect(BOOLEAN, node.this, w).sql})", BOOLEAN)
        case exp.Is():
            return _is_null(node, w)
        case exp.In():
            if not node.expressions:
                raise RuleError(f"{shown(node)}: IN takes a list of values, not a SELECT; sql: has EXISTS for that")
            first, *rest = alike(node, [node.this, *node.expressions], w)
            return _decided(node, f"({first.sql} IN ({', '.join(part.sql for part in rest)}))", [first])
        case exp.Between():
            return _between(node, w)
    if isinstance(node, exp.Binary) and type(node) in COMPARISONS:
        return _comparison(node, w)
    what = f"{type(node).__name__.lower()} is not in the rule language"
    if isinstance(node, exp.Select | exp.Subquery | exp.Exists):
        what = "a SELECT is not in the rule language of one row; what takes several rows is a rule of the kind sql:"
    raise RuleError(f"{shown(node)}: {what}")


def _connected(node: exp.Connector, w: Writing) -> Part:
    parts = [expect(BOOLEAN, side, w) for side in node.flatten(unnest=False)]
    if len(parts) > _LONGEST:
        raise RuleError(f"more than {_LONGEST} conditions in one row: use IN (…) or a list")
    word = " AND " if isinstance(node, exp.And) else " OR "
    return Part(f"({word.join(part.sql for part in parts)})", BOOLEAN)


def _is_null(node: exp.Is, w: Writing) -> Part:
    if not isinstance(node.expression, exp.Null):
        raise RuleError(f"{shown(node)}: IS is for NULL only; compare with = and write NOT around it if needed")
    part = compile_part(node.this, w)
    return _decided(node, f"({part.sql} IS NULL)", [part])


def _between(node: exp.Between, w: Writing) -> Part:
    part, low, high = alike(node, [node.this, node.args["low"], node.args["high"]], w)
    if not (low.varies or high.varies) and _after(low.constant, high.constant):
        raise RuleError(f"{shown(node)} holds for nothing: the lower bound comes first")
    return _decided(node, f"({part.sql} BETWEEN {low.sql} AND {high.sql})", [part, low, high])


def _comparison(node: exp.Binary, w: Writing) -> Part:
    left, right = alike(node, [node.left, node.right], w)
    if NULL in (left.kind, right.kind):
        raise RuleError(f"{shown(node)} is never true: write IS NULL or IS NOT NULL")
    if left.sql == right.sql and left.constant is None:
        raise RuleError(f"{shown(node)} compares {shown(node.left)} with itself, so it never decides anything")
    return _decided(node, f"({left.sql} {COMPARISONS[type(node)]} {right.sql})", [left, right])


def _decided(node: exp.Expr, sql: str, parts: Sequence[Part]) -> Part:
    """A comparison; one that is the same for every row on every day is a slip."""
    if not any(part.varies for part in parts):
        raise RuleError(f"{shown(node)} reads no column, so it never decides anything")
    return Part(sql, BOOLEAN)


def _after(low: str | int | float | None, high: str | int | float | None) -> bool:
    if isinstance(low, str) and isinstance(high, str):
        return low > high
    return isinstance(low, int | float) and isinstance(high, int | float) and low > high


def _computed(node: exp.Expr, left: Part, right: Part, name: str, compute: _Compute) -> Part:
    if DOUBLE in (left.kind, right.kind):
        left, right = as_double(left), as_double(right)
    if isinstance(left.constant, int | float) and isinstance(right.constant, int | float):
        value = compute(left.constant, right.constant)
        if value is None:
            raise RuleError(f"{shown(node)} is beyond 2**53, where numbers are not exact")
        return replace(literal(value), varies=left.varies or right.varies)
    return Part(f"{name}({left.sql}, {right.sql})", left.kind, left.varies or right.varies)


def _number(text: str) -> int | float:
    """A number as it is written: whole within 64 bits, or with a point and at most 15 digits that count."""
    if text.isascii() and text.isdigit():
        if int(text) < 2**63:
            return int(text)
    elif _DECIMAL.fullmatch(text):
        digits = re.sub(r"[eE].*|\.", "", text).strip("0")
        value = float(text)
        if len(digits) <= 15 and math.isfinite(value) and (value != 0) == bool(digits):
            return value
    raise RuleError(f"{text} is no number that every database reads alike: up to 64 bits, or 15 digits with a point")


def _column(node: exp.Column, w: Writing) -> Part:
    name = node.name.lower()
    if node.table:
        raise RuleError(f"{shown(node)}: columns are named without a table")
    if name not in w.columns:
        # SQLite would take a double-quoted word that is no column for a text.
        raise RuleError(
            f"the query gives no column {node.name!r}; {did_you_mean(name, w.columns)}".rstrip("; "), node.name
        )
    w.read.add(name)
    quoted = '"' + name.replace('"', '""') + '"'
    return Part(f"r.{quoted}", w.columns[name])
