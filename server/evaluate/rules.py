"""The rule language: a small checked subset of SQL, true in the same cases on every database. Pure.

A predicate is over the columns of one query's rows. Comparisons are between values of one kind, so no database casts
behind the author's back; a row satisfies a predicate only if it IS TRUE, so null never satisfies anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from server.catalog.controls import PlatformRule
from server.catalog.problems import did_you_mean
from server.normalize.values import BIGINT, DOUBLE, TEXT

_NUMBER, _BOOLEAN, _NULL = "number", "boolean", "null"


class RuleError(ValueError):
    """The predicate is not in the language; the message says what is wrong, and how to say it instead.

    ``word`` is the word of the predicate that is wrong, where it is one.
    """

    def __init__(self, message: str, word: str = "") -> None:
        super().__init__(message)
        self.word = word


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
    read = columns_read(rule, columns)
    undecided = "0 = 1"
    if rule.undecided:
        undecided = f"({compile_predicate(rule.undecided, columns).sql}) IS TRUE"
    # _misfit is a JSON object of the values that did not fit, by column.
    misfits = [f"r._misfit LIKE '%\"{name.replace('_', '!_')}\":%' ESCAPE '!'" for name in sorted(read)]
    undecided = f"({undecided} OR (r._misfit IS NOT NULL AND ({' OR '.join(misfits)})))"
    return Rule(rule.quantifier, f"({predicate.sql}) IS TRUE", undecided, rule.empty)


def columns_read(rule: PlatformRule, columns: Mapping[str, str]) -> frozenset[str]:
    """The columns, in lower case, on which a rule's verdict rests. Raises ``RuleError``."""
    parts = [compile_predicate(text, columns).columns for text in (rule.predicate, rule.undecided) if text]
    return frozenset().union(*parts)


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


def _kind(node: exp.Expr, columns: Mapping[str, str], read: set[str]) -> str:
    """The kind of an expression; raises ``RuleError`` for what the language does not have."""
    if isinstance(node, exp.Column):
        return _column(node, columns, read)
    if isinstance(node, exp.Literal):
        return TEXT if node.is_string else _NUMBER
    if isinstance(node, exp.Null):
        return _NULL
    if isinstance(node, exp.Paren):
        return _kind(node.this, columns, read)
    if isinstance(node, exp.Predicate | exp.Connector | exp.Not):
        return _condition(node, columns, read)
    return _function(node, columns, read)


def _condition(node: exp.Expr, columns: Mapping[str, str], read: set[str]) -> str:
    match node:
        case exp.And() | exp.Or():
            _expect(_BOOLEAN, [node.left, node.right], columns, read)
        case exp.Not():
            _expect(_BOOLEAN, [node.this], columns, read)
        case exp.Is():
            if not isinstance(node.expression, exp.Null):
                raise RuleError(f"{node.sql()}: IS is for NULL only; compare with = and write NOT around it if needed")
            _kind(node.this, columns, read)
        case exp.In():
            if not node.expressions:
                raise RuleError(f"{node.sql()}: IN takes a list of values, not a SELECT")
            _alike(node, [node.this, *node.expressions], columns, read)
        case exp.Between():
            _alike(node, [node.this, node.args["low"], node.args["high"]], columns, read)
        case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
            _alike(node, [node.left, node.right], columns, read)
        case _:
            raise _unknown(node)
    return _BOOLEAN


def _function(node: exp.Expr, columns: Mapping[str, str], read: set[str]) -> str:
    match node:
        case exp.Coalesce():
            return _alike(node, [node.this, *node.expressions], columns, read)
        case exp.Length():
            _expect(TEXT, [node.this], columns, read)
            return _NUMBER
        case exp.Lower() | exp.Upper() | exp.Trim():
            _expect(TEXT, [node.this], columns, read)
            return TEXT
        case exp.Substring():
            _expect(TEXT, [node.this], columns, read)
            _expect(_NUMBER, [part for key in ("start", "length") if (part := node.args.get(key))], columns, read)
            return TEXT
        case exp.Neg():
            _expect(_NUMBER, [node.this], columns, read)
            return _NUMBER
    raise _unknown(node)


def _unknown(node: exp.Expr) -> RuleError:
    return RuleError(f"{node.sql()}: {type(node).__name__.lower()} is not in the rule language")


def _column(node: exp.Column, columns: Mapping[str, str], read: set[str]) -> str:
    name = node.name.lower()
    if node.table:
        raise RuleError(f"{node.sql()}: columns are named without a table")
    if name not in columns:
        # SQLite would take a double-quoted word that is no column for a text.
        hint = did_you_mean(name, columns)
        raise RuleError(f"the query gives no column {node.name!r}; {hint}".rstrip("; "), node.name)
    read.add(name)
    return _NUMBER if columns[name] in (BIGINT, DOUBLE) else TEXT


def _expect(kind: str, parts: Sequence[exp.Expr], columns: Mapping[str, str], read: set[str]) -> None:
    for part in parts:
        found = _kind(part, columns, read)
        if found != kind:
            raise RuleError(f"{part.sql()} is a {found}, where a {kind} is needed")


def _alike(node: exp.Expr, parts: Sequence[exp.Expr], columns: Mapping[str, str], read: set[str]) -> str:
    """The one kind that all the parts have; null goes with every kind."""
    kinds = {_kind(part, columns, read) for part in parts} - {_NULL}
    if len(kinds) > 1 or _BOOLEAN in kinds:
        raise RuleError(f"{node.sql()} compares {' with '.join(sorted(kinds))}: both sides must be of one kind")
    return kinds.pop() if kinds else _NULL
