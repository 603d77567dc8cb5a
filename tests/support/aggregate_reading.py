"""What rules of several queries mean, read in Python, and strategies that write some with what they mean.

An environment is what a part sees: ``@`` the device's rows by query, ``#`` the rows that aggregates are made of, and
``alias.column`` the values of the rows at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.support.rule_reading import (
    COLUMNS,
    Expression,
    Parts,
    Row,
    Some,
    column,
    comparison,
    connected,
    joined,
    parts,
)

QUERIES = ("a", "b", "c")
Draw = st.DrawFn
Rows = Callable[[Row], list[Row]]


@dataclass(frozen=True)
class From:
    """A FROM with JOIN and WHERE: its text, its aliases, and the rows it gives in an environment."""

    text: str
    aliases: tuple[str, ...]
    rows: Rows


@cache
def of_rows(aliases: tuple[str, ...]) -> Parts:
    """What can be made of the rows of these tables."""
    kinds = {kind: [column(f"{alias}.{name}") for alias in aliases for name in COLUMNS if COLUMNS[name] == kind]
             for kind in ("text", "bigint", "double")}  # fmt: skip
    return parts(kinds["text"], kinds["bigint"], kinds["double"], often=6, decides=decides)


def decides(text: str) -> bool:
    """Whether a comparison reads a column, compares different things, and looks for some text."""
    plain = bool(columns_in(text)) or "COUNT(*)" in text
    return plain and not re.fullmatch(
        r"(.*) (?:=|<>|<|<=|>|>=) \1|.*(?:ends|starts|contains)\w*\(.*, ''\)", text, re.DOTALL
    )


@st.composite
def froms(draw: Draw, outer: tuple[str, ...], deep: int) -> From:
    """Tables, of which one may be joined to the other, under conditions that see the tables around them too."""
    query = draw(st.sampled_from(QUERIES))
    first = f"x{query}{deep}"
    text, aliases, rows = f"FROM {query} {first}", [first], _plain(query, first)
    how = draw(st.sampled_from(["LEFT JOIN", "JOIN", "", ""]))
    if how:
        other = draw(st.sampled_from(QUERIES))
        second = f"y{other}{deep}"
        aliases.append(second)
        on = draw(_equal(tuple(aliases)) | of_rows((*outer, *aliases)).conditions)
        text, rows = f"{text} {how} {other} {second} ON {on.text}", _joined(rows, other, second, on, how == "LEFT JOIN")
    if draw(st.sampled_from([True, True, False])):
        seen = (*outer, *aliases)
        where = of_rows(seen).conditions
        if deep < 2:
            where = st.one_of(where, exists(seen, deep + 1), compared(seen, deep + 1))
        condition = draw(where | connected(where) | connected(where))
        text, rows = f"{text} WHERE {condition.text}", _where(rows, condition)
    return From(text, tuple(aliases), rows)


def _equal(aliases: tuple[str, ...]) -> Some:
    """The values of a column of the last table, found in the one before."""
    return st.sampled_from(sorted(COLUMNS)).map(
        lambda name: comparison("=", column(f"{aliases[-2]}.{name}"), column(f"{aliases[-1]}.{name}"), False)
    )


def _plain(query: str, alias: str) -> Rows:
    return lambda env: [{**env, **{f"{alias}.{name}": row[name] for name in COLUMNS}} for row in env["@"][query]]


def _joined(rows: Rows, query: str, alias: str, on: Expression, left: bool) -> Rows:
    def over(env: Row) -> list[Row]:
        found: list[Row] = []
        for row in rows(env):
            beside = [both for both in _plain(query, alias)(row) if on.of(both) is True]
            none = [{**row, **{f"{alias}.{name}": None for name in COLUMNS}}]
            found += beside or (none if left else [])
        return found

    return over


def _where(rows: Rows, condition: Expression) -> Rows:
    return lambda env: [row for row in rows(env) if condition.of(row) is True]


def exists(outer: tuple[str, ...], deep: int) -> Some:
    """EXISTS of a sub-select that sees the tables around it."""
    return froms(outer, deep).map(
        lambda one: Expression(f"EXISTS (SELECT 1 {one.text})", lambda env: bool(one.rows(env)))
    )


def compared(outer: tuple[str, ...], deep: int) -> Some:
    """A number of a sub-select, compared with a number."""

    def built(one: Expression, least: int) -> Expression:
        return Expression(f"{one.text} >= {least}", lambda env: None if (v := one.of(env)) is None else v >= least)

    return st.builds(built, values(outer, deep), st.integers(0, 3))


@st.composite
def values(draw: Draw, outer: tuple[str, ...], deep: int) -> Expression:
    """A whole number that a sub-select comes to."""
    one = draw(froms(outer, deep))
    value = draw(aggregates(one.aliases, "bigint"))
    return Expression(f"(SELECT {value.text} {one.text})", lambda env: value.of({**env, "#": one.rows(env)}))


def aggregates(aliases: tuple[str, ...], kind: str) -> Some:
    """What aggregates make of a kind of the rows of some tables."""
    of = of_rows(aliases)
    if kind != "bigint":
        part = of.texts if kind == "text" else of.doubles
        return st.builds(_extreme, st.sampled_from(["MIN", "MAX"]), _reading(part))
    return st.one_of(
        st.just(Expression("COUNT(*)", lambda env: len(env["#"]))),
        _reading(of.texts | of.wholes | of.doubles).map(_count),
        _reading(of.texts | of.wholes | of.doubles).map(_distinct),
        _reading(of.wholes).map(_sum),
        st.builds(_extreme, st.sampled_from(["MIN", "MAX"]), _reading(of.wholes)),
    )


def _reading(part: Some) -> Some:
    return part.filter(lambda one: bool(columns_in(one.text)))


def _all(part: Expression, env: Row) -> list[Any]:
    return [value for row in env["#"] if (value := part.of(row)) is not None]


def _count(part: Expression) -> Expression:
    return Expression(f"COUNT({part.text})", lambda env: len(_all(part, env)))


def _distinct(part: Expression) -> Expression:
    return Expression(f"COUNT(DISTINCT {part.text})", lambda env: len(set(_all(part, env))))


def _sum(part: Expression) -> Expression:
    def over(env: Row) -> int | None:
        found = _all(part, env)
        return sum(found) if found and sum(map(abs, found)) < 2**53 else None

    return Expression(f"SUM({part.text})", over)


def _extreme(name: str, part: Expression) -> Expression:
    compute = min if name == "MIN" else max
    return Expression(f"{name}({part.text})", lambda env: compute(_all(part, env), default=None))


@st.composite
def rules(draw: Draw) -> Expression:
    """The SELECT of a rule, with what it comes to for a device's rows."""
    if draw(st.integers(0, 3)) == 0:
        inner = exists((), 1) | compared((), 1)
        condition = draw(inner | connected(inner) | cases(inner))
        return Expression(f"SELECT {condition.text}", condition.of)
    one = draw(froms((), 0))
    made = parts(*(draw(st.lists(aggregates(one.aliases, kind), min_size=1, max_size=2))
                   for kind in ("text", "bigint", "double")), often=6, decides=decides)  # fmt: skip
    inner = st.one_of(made.conditions, made.conditions, made.conditions, exists((), 1), compared((), 1))
    condition = draw(inner | connected(inner) | cases(inner))
    if not re.search(r"(?:COUNT|SUM|MIN|MAX)\(", condition.text.split("SELECT")[0]):
        condition = _also(condition, draw(aggregates(one.aliases, "bigint")))
    return Expression(f"SELECT {condition.text} {one.text}", lambda env: condition.of({**env, "#": one.rows(env)}))


def _also(condition: Expression, whole: Expression) -> Expression:
    """A condition, and an aggregate that is not null."""
    there = Expression(f"{whole.text} IS NOT NULL", lambda env: whole.of(env) is not None)
    return Expression(f"{there.text} AND {condition.text}", lambda env: joined(env, there, condition, False))


def cases(inner: Some) -> Some:
    """CASE of conditions, with an ELSE or without."""

    def built(when: Expression, then: Expression, other: Expression | None) -> Expression:
        text = f"CASE WHEN {when.text} THEN {then.text}{f' ELSE {other.text}' if other else ''} END"
        return Expression(text, lambda env: then.of(env) if when.of(env) is True else other.of(env) if other else None)

    return st.builds(built, inner, inner, st.none() | inner)


def columns_in(text: str) -> set[tuple[str, str]]:
    """The columns that a text names, with their queries, which the aliases bear."""
    return set(re.findall(r"\b[xy]([abc])\d\.(\w)\b", _without_texts(text)))


def read(texts: Sequence[str]) -> dict[str, set[str]]:
    """The columns that SELECTs read, by query, as their texts say."""
    found: dict[str, set[str]] = {}
    for text in map(_without_texts, texts):
        for query in re.findall(r"(?:FROM|JOIN) (\w) [xy]", text):
            found.setdefault(query, set()).update(name for of, name in columns_in(text) if of == query)
    return found


def _without_texts(text: str) -> str:
    return re.sub(r"'(?:[^']|'')*'", "''", text)
