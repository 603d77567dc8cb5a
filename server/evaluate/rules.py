"""The rule language: a small checked subset of SQL, true in the same cases on every database. Pure.

A predicate is over the columns of one query's rows. Comparisons are between values of one kind, so no database casts
behind the author's back; a row satisfies a predicate only if it IS TRUE, so null never satisfies anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from server.catalog.controls import PlatformRule
from server.catalog.problems import did_you_mean
from server.normalize.values import BIGINT, DOUBLE, TEXT

_NUMBER, _BOOLEAN, _NULL = "number", "boolean", "null"


class RuleError(ValueError):
    """The predicate is not in the language; the message says what is wrong, and how to say it instead."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A checked predicate: its SQL over the alias ``r``, and the columns it reads."""

    sql: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A platform's rule, ready to be asked: every part is SQL over one row ``r``.

    ``holds`` is true for rows that satisfy the predicate, ``undecided`` for rows that cannot be judged. A row whose
    value in a column the rule reads did not fit the column's type cannot be judged either.
    """

    quantifier: str
    holds: str
    undecided: str
    empty: str


def compile_rule(rule: PlatformRule, columns: Mapping[str, str]) -> Rule:
    """Check a rule against the columns of its query (name to kind) and compile it. Raises ``RuleError``."""
    predicate = compile_predicate(rule.predicate, columns)
    read = set(predicate.columns)
    undecided = "0 = 1"
    if rule.undecided:
        condition = compile_predicate(rule.undecided, columns)
        read |= condition.columns
        undecided = f"({condition.sql}) IS TRUE"
    # _misfit is a JSON object of the values that did not fit, by column.
    misfits = [f"r._misfit LIKE '%\"{name.replace('_', '!_')}\":%' ESCAPE '!'" for name in sorted(read)]
    undecided = f"({undecided} OR (r._misfit IS NOT NULL AND ({' OR '.join(misfits)})))"
    return Rule(rule.quantifier, f"({predicate.sql}) IS TRUE", undecided, rule.empty)


def compile_predicate(text: str, columns: Mapping[str, str]) -> Predicate:
    """Check a predicate against the columns it may read (name to kind) and compile it. Raises ``RuleError``."""
    try:
        tree = sqlglot.parse_one(text, read="sqlite", into=exp.Condition)
    except sqlglot.errors.SqlglotError as error:
        raise RuleError(f"not an SQL condition: {str(error).splitlines()[0]}") from error
    kinds = {name.lower(): kind for name, kind in columns.items()}
    read: set[str] = set()
    if _kind(tree, kinds, read) != _BOOLEAN:
        raise RuleError(f"{text!r} is a value, not a condition: compare it with something")
    for column in tree.find_all(exp.Column):
        column.replace(exp.column(exp.to_identifier(column.name.lower(), quoted=True), table="r"))
    if not read:
        raise RuleError(f"{text!r} reads no column, so it never decides anything")
    return Predicate(tree.sql("sqlite"), frozenset(read))


def _kind(node: exp.Expression, columns: Mapping[str, str], read: set[str]) -> str:
    """The kind of an expression; raises ``RuleError`` for what the language does not have."""
    match node:
        case exp.Paren():
            return _kind(node.this, columns, read)
        case exp.And() | exp.Or():
            _expect(_BOOLEAN, node.left, columns, read)
            _expect(_BOOLEAN, node.right, columns, read)
            return _BOOLEAN
        case exp.Not():
            _expect(_BOOLEAN, node.this, columns, read)
            return _BOOLEAN
        case exp.Is():
            _kind(node.this, columns, read)
            if not isinstance(node.expression, exp.Null):
                raise RuleError(f"{node.sql()}: IS is for NULL only; compare with = and write NOT around it if needed")
            return _BOOLEAN
        case exp.In():
            if not node.expressions:
                raise RuleError(f"{node.sql()}: IN takes a list of values, not a SELECT")
            return _alike(node, [node.this, *node.expressions], columns, read)
        case exp.Between():
            return _alike(node, [node.this, node.args["low"], node.args["high"]], columns, read)
        case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
            return _alike(node, [node.left, node.right], columns, read)
        case exp.Coalesce():
            parts = [node.this, *node.expressions]
            _alike(node, parts, columns, read)
            return next((kind for part in parts if (kind := _kind(part, columns, read)) != _NULL), _NULL)
        case exp.Length():
            _expect(TEXT, node.this, columns, read)
            return _NUMBER
        case exp.Lower() | exp.Upper() | exp.Trim():
            _expect(TEXT, node.this, columns, read)
            return TEXT
        case exp.Substring():
            _expect(TEXT, node.this, columns, read)
            for key in ("start", "length"):
                if node.args.get(key) is not None:
                    _expect(_NUMBER, node.args[key], columns, read)
            return TEXT
        case exp.Neg():
            _expect(_NUMBER, node.this, columns, read)
            return _NUMBER
        case exp.Null():
            return _NULL
        case exp.Literal():
            return TEXT if node.is_string else _NUMBER
        case exp.Column():
            return _column(node, columns, read)
    raise RuleError(f"{node.sql()}: {type(node).__name__.lower()} is not in the rule language")


def _column(node: exp.Column, columns: Mapping[str, str], read: set[str]) -> str:
    name = node.name.lower()
    if node.table:
        raise RuleError(f"{node.sql()}: columns are named without a table")
    if name not in columns:
        # SQLite would take a double-quoted word that is no column for a text.
        raise RuleError(f"the query gives no column {node.name!r}; {did_you_mean(name, columns)}".rstrip("; "))
    read.add(name)
    return _NUMBER if columns[name] in (BIGINT, DOUBLE) else TEXT


def _expect(kind: str, node: exp.Expression, columns: Mapping[str, str], read: set[str]) -> None:
    found = _kind(node, columns, read)
    if found != kind:
        raise RuleError(f"{node.sql()} is a {found}, where a {kind} is needed")


def _alike(
    node: exp.Expression, parts: list[exp.Expression], columns: Mapping[str, str], read: set[str]
) -> str:
    kinds = {_kind(part, columns, read) for part in parts} - {_NULL}
    if len(kinds) > 1 or _BOOLEAN in kinds:
        raise RuleError(f"{node.sql()} compares {' with '.join(sorted(kinds))}: both sides must be of one kind")
    return _BOOLEAN

