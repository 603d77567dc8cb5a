"""Rules of several queries: conditions on all the rows of a device, and the rows that are shown for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from server.catalog.controls import PlatformRule
from server.catalog.lists import ReferenceList
from server.catalog.problems import did_you_mean
from server.catalog.sql_text import SqlText
from server.evaluate.language import BOOLEAN, NULL, RuleError, compile_part, shown
from server.evaluate.rules import misfit
from server.evaluate.selects import compile_value, in_rows, without_selects
from server.evaluate.sources import (
    Moment,
    Scope,
    Shape,
    Statement,
    compile_from,
    only,
    parse_select,
    true_rows,
    writing,
)
from server.evaluate.verdicts import BREAKS, HOLDS, NO_ROWS, OUTSIDE, UNDECIDED
from server.normalize.calendar import Day

MOST_SHOWN = 40
"""Columns that evidence may have."""
_DEEPEST = 64
"""Of a condition, as ``SqlText.parser_depth``; what stands around it in the statements that judge takes the rest."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked SELECT: its SQL, the columns it reads of each query, and the lists it looks into."""

    sql: str
    read: Mapping[str, frozenset[str]]
    lists: Mapping[str, str]
    columns: tuple[str, ...] = ()
    """Of evidence, the names of its columns."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A rule of several queries, ready to be asked.

    ``code`` is SQL that comes to what it says (``verdicts.HOLDS`` and its like) of the device and the instant of a
    row ``m`` (``Moment``); the statement around has to begin with ``lists``, which are common table expressions.
    ``read`` are the columns on which the verdict rests, by query; ``queries`` are all that have to be answered.
    """

    queries: tuple[str, ...]
    code: str
    lists: tuple[str, ...]
    empty: str
    read: Mapping[str, frozenset[str]] = field(default_factory=dict)


def compile_aggregate(
    rule: PlatformRule, queries: Mapping[str, Shape], lists: Mapping[str, ReferenceList], day: Day
) -> Aggregate:
    """Check a rule against the queries of its platform and compile it for a day. Raises ``RuleError``."""
    moment = Moment()
    parts = [compile_condition(rule.predicate, queries, lists, day)]
    code = _decided(parts[0].sql, str(HOLDS), BREAKS)
    if rule.applies_when:
        parts.append(compile_condition(rule.applies_when, queries, lists, day))
        code = _decided(parts[-1].sql, code, OUTSIDE)
    read = _together(parts)
    named = dict(sorted((name, sql) for part in parts for name, sql in part.lists.items()))
    there = " OR ".join(_some(queries[name], moment) for name in read)
    odd = " OR ".join(
        _some(queries[name], moment, f" AND {misfit(columns)}") for name, columns in read.items() if columns
    )
    undecided = f" WHEN {odd} THEN {UNDECIDED}" if odd else ""
    code = f"CASE WHEN NOT ({there}) THEN {NO_ROWS}{undecided} ELSE {code} END"
    return Aggregate(tuple(read), code, tuple(named.values()), rule.empty, read)


def compile_condition(text: str, queries: Mapping[str, Shape], lists: Mapping[str, ReferenceList], day: Day) -> Asked:
    """Check ``SELECT condition …``. Raises ``RuleError``."""
    s = Statement(queries, lists, day)
    try:
        part = compile_value(parse_select(text), s, None)
    except RecursionError as error:
        raise RuleError("the statement is nested too deeply") from error
    if part.kind != BOOLEAN:
        raise RuleError(f"{text!r} selects a value, not a condition: compare it with something")
    if not s.read:
        raise RuleError(f"{text!r} reads no query, so it never decides anything")
    _shallow(part.sql)
    return Asked(part.sql, _frozen(s.read), s.named)


def compile_evidence(
    rule: PlatformRule,
    queries: Mapping[str, Shape],
    lists: Mapping[str, ReferenceList],
    day: Day,
    moment: Moment | None = None,
) -> Asked:
    """Check ``SELECT columns FROM …``, of the queries that the rule judges, and compile it. Raises ``RuleError``."""
    s, scope = Statement(queries, lists, day, moment or Moment()), Scope(None)
    try:
        tree = parse_select(rule.evidence or "")
        only(tree, distinct=True)
        if tree.args.get("from_") is None:
            raise RuleError(f"{shown(tree)}: say FROM which query the rows are")
        rendered = compile_from(tree, s, scope, without_selects("ON"), in_rows(s, scope))
        shown_columns = [_shown(one, s, scope) for one in tree.expressions]
    except RecursionError as error:
        raise RuleError("the statement is nested too deeply") from error
    names = [name for name, _ in shown_columns]
    for name in names:
        if names.count(name) > 1:
            raise RuleError(f"two columns are named {name}: give one of them another name by AS", name)
    if len(names) > MOST_SHOWN:
        raise RuleError(f"more than {MOST_SHOWN} columns")
    for name in s.read:
        if name not in rule.queries:
            hint = did_you_mean(name, rule.queries)
            raise RuleError(f"the rule does not judge {name}, so its rows are no evidence; {hint}".rstrip("; "), name)
    selected = ", ".join(f'{sql} AS "{name}"' for name, sql in shown_columns)
    distinct = "DISTINCT " if tree.args.get("distinct") else ""
    sql = f"SELECT {distinct}{selected}{rendered()}"
    _shallow(sql)
    return Asked(sql, _frozen(s.read), s.named, tuple(names))


def _shown(node: exp.Expr, s: Statement, scope: Scope) -> tuple[str, str]:
    """A column of evidence: its name, and its SQL."""
    value = node.unalias()
    name = node.alias_or_name.lower()
    part = compile_part(value, writing(s, scope, in_rows(s, scope)))
    if part.kind in (BOOLEAN, NULL):
        raise RuleError(f"{shown(value)} is a {part.kind}: evidence shows values; conditions go into WHERE")
    if not (isinstance(node, exp.Alias) or isinstance(value, exp.Column)) or not name.isidentifier():
        raise RuleError(f"{shown(node)}: give it a name, {shown(value)} AS name")
    return name, part.sql


def _shallow(sql: str) -> None:
    if SqlText(sql, 1).parser_depth() > _DEEPEST:
        raise RuleError("too much is nested in each other here for SQLite: take a list, or compute a part in the query")


def _decided(condition: str, yes: str, no: int) -> str:
    """One of three; the condition is computed once."""
    return f"CASE ({condition}) WHEN 1 = 1 THEN {yes} WHEN 1 = 0 THEN {no} ELSE {UNDECIDED} END"


def _some(shape: Shape, moment: Moment, condition: str = "") -> str:
    return f"EXISTS ({true_rows(shape.rows, '1', moment, condition)})"


def _together(parts: Iterable[Asked]) -> Mapping[str, frozenset[str]]:
    read: dict[str, frozenset[str]] = {}
    for part in parts:
        for name, columns in part.read.items():
            read[name] = read.get(name, frozenset()) | columns
    return read


def _frozen(read: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(columns) for name, columns in read.items()}
