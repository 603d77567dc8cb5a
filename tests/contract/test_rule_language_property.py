"""Any condition over any row means on each database what it means in Python."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.catalog.lists import ReferenceList
from server.evaluate import scalar
from server.evaluate.language import RuleError
from server.evaluate.rules import Predicate, compile_predicate
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.store import Store
from tests.support.stores import open_store, shipped_catalog

COLUMNS = {"n": "bigint", "m": "bigint", "d": "double", "t": "text", "u": "text"}
DAY = Day("2026-11-24", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", "UTC")
ENTRIES: dict[tuple[Any, ...], Any] = {("", 0): "1.10", ("Ä", -1): None, ("a", 2**53): "", ("1.2", 7): "b"}
LISTS = {
    "pairs": ReferenceList(
        "pairs", "", "", {"text": "text", "size": "bigint", "says": "text"}, 2,
        tuple((*key, says) for key, says in ENTRIES.items()), "", "",
    )
}  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Expression:
    """A part of a condition, and what it comes to over a row."""

    text: str
    of: Callable[[Row], Any] = field(repr=False)


def total(compute: Callable[..., Any], *parts: Expression) -> Callable[[Row], Any]:
    """Null wherever a part is null."""

    def over(row: Row) -> Any:
        values = [part.of(row) for part in parts]
        return None if None in values else compute(*values)

    return over


def joined(row: Row, left: Expression, right: Expression, decides: bool) -> bool | None:
    """AND where False decides, OR where True does."""
    values = {left.of(row), right.of(row)}
    return decides if decides in values else None if None in values else not decides


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# Neither database stores a NUL, and no text in UTF-8 has half a character.
ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "a",
        "A",
        "ä",
        "Ä",
        "a%",
        "_",
        "1.10",
        "1.2",
        "v1.2.0-3",
        "0",
        "-0",
        " 7 ",
        "+.5",
        "1e3",
        "9" * 19,
        "'",
        "?",
    ]
)
TEXTS = ODD_TEXTS | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
WHOLE = st.sampled_from([0, 1, -1, 2, 7, 2**53, 2**53 + 1, -(2**53), 2**63 - 1, -(2**63)]) | st.integers(-9, 9)
FRACTIONS = st.sampled_from([0.0, -0.0, 0.1, 0.5, 1.0, 7.0, -2.5, 2.0**53, 1e-300, 1e300, -1.7e308])
ROWS = st.fixed_dictionaries(
    {name: st.none() | {"bigint": WHOLE, "double": FRACTIONS, "text": TEXTS}[kind] for name, kind in COLUMNS.items()}
)

# Texts beside each other that chance seldom brings together, with nulls among the numbers.
ALWAYS: list[Row] = [
    {"t": t, "u": u, "n": n, "m": m, "d": d}
    for (t, u), n, m, d in zip(
        product([None, "", "a", "1.10"], repeat=2),
        cycle([None, 0, 7]),
        cycle([7, None]),
        cycle([0.5, None, 7.0, -1.0, 0.0]),
    )
]


def column(name: str) -> Expression:
    return Expression(name, lambda row: row[name])


def call(name: str, compute: Callable[..., Any], *parts: Expression) -> Expression:
    return Expression(f"{name}({', '.join(part.text for part in parts)})", total(compute, *parts))


def unary(
    name: str, compute: Callable[..., Any], inner: st.SearchStrategy[Expression]
) -> st.SearchStrategy[Expression]:
    return inner.map(lambda part: call(name, compute, part))


def binary(
    name: str, compute: Callable[..., Any], left: st.SearchStrategy[Expression], right: st.SearchStrategy[Expression]
) -> st.SearchStrategy[Expression]:
    return st.builds(lambda a, b: call(name, compute, a, b), left, right)


def value_of(text: str, size: int) -> Any:
    return ENTRIES.get((text, size))


def either(a: Expression, b: Expression) -> Expression:
    return Expression(f"coalesce({a.text}, {b.text})", lambda row: b.of(row) if a.of(row) is None else a.of(row))


def part_of(text: Expression, start: int, length: int) -> Expression:
    cut = total(lambda value: value[start - 1 : start - 1 + length], text)
    return Expression(f"substr({text.text}, {start}, {length})", cut)


SOME_TEXT = st.sampled_from("tu").map(column) | TEXTS.map(lambda text: Expression(quoted(text), lambda _: text))
SOME_WHOLE = st.sampled_from("nm").map(column)


def more_texts(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        unary("lower", scalar.lower, inner),
        unary("upper", scalar.upper, inner),
        unary("trim", lambda text: text.strip(" "), inner),
        st.builds(part_of, inner, st.integers(1, 3), st.integers(0, 3)),
        st.builds(either, inner, inner),
        st.builds(
            lambda a, b: Expression(f"list_value('pairs', 'says', {a.text}, {b.text})", total(value_of, a, b)),
            inner, SOME_WHOLE,
        ),
    )  # fmt: skip


TEXT_PARTS = st.recursive(SOME_TEXT, more_texts, max_leaves=4)
ARITHMETIC = {"+": scalar.add, "-": scalar.subtract, "*": scalar.multiply}


def computed(sign: str, a: Expression, b: Expression, as_double: bool) -> Expression:
    def compute(left: Any, right: Any) -> Any:
        return ARITHMETIC[sign](*((float(left), float(right)) if as_double else (left, right)))

    return Expression(f"({a.text} {sign} {b.text})", total(compute, a, b))


WHOLE_PARTS = st.recursive(
    st.one_of(
        SOME_WHOLE,
        unary("length", len, TEXT_PARTS),
        binary("version_compare", scalar.version_compare, TEXT_PARTS, TEXT_PARTS),
    ),
    lambda inner: st.builds(computed, st.sampled_from("+-*"), inner, inner, st.just(False)),
    max_leaves=3,
)
DOUBLE_PARTS = st.recursive(
    st.just(column("d")) | unary("number", scalar.number, TEXT_PARTS),
    lambda inner: st.one_of(
        st.builds(computed, st.sampled_from("+-*"), inner, inner, st.just(True)),
        st.builds(computed, st.sampled_from("+-*"), inner, WHOLE_PARTS, st.just(True)),
    ),
    max_leaves=3,
)
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparison(sign: str, a: Expression, b: Expression, as_double: bool) -> Expression:
    def compute(left: Any, right: Any) -> bool:
        return COMPARED[sign](*((float(left), float(right)) if as_double else (left, right)))

    return Expression(f"{a.text} {sign} {b.text}", total(compute, a, b))


def is_null(part: Expression) -> Expression:
    return Expression(f"{part.text} IS NULL", lambda row: part.of(row) is None)


def in_list(*parts: Expression) -> Expression:
    named = ", ".join(part.text for part in parts)
    keys = {key[: len(parts)] for key in ENTRIES}
    return Expression(f"in_list('pairs', {named})", total(lambda *values: values in keys, *parts))


def one_of(part: Expression, others: list[Expression]) -> Expression:
    def over(row: Row) -> bool | None:
        value, values = part.of(row), {other.of(row) for other in others}
        return None if value is None else True if value in values else None if None in values else False

    return Expression(f"{part.text} IN ({', '.join(other.text for other in others)})", over)


SIGNS = st.sampled_from(sorted(COMPARED))
CONDITIONS = st.recursive(
    st.one_of(
        st.builds(comparison, SIGNS, TEXT_PARTS, TEXT_PARTS, st.just(False)),
        st.builds(comparison, SIGNS, WHOLE_PARTS, WHOLE_PARTS, st.just(False)),
        st.builds(comparison, SIGNS, WHOLE_PARTS, DOUBLE_PARTS, st.just(True)),
        st.builds(is_null, TEXT_PARTS | WHOLE_PARTS | DOUBLE_PARTS),
        st.builds(one_of, TEXT_PARTS, st.lists(TEXT_PARTS, min_size=1, max_size=3)),
        binary("starts_with", str.startswith, TEXT_PARTS, TEXT_PARTS),
        binary("ends_with", str.endswith, TEXT_PARTS, TEXT_PARTS),
        binary("contains", lambda text, other: other in text, TEXT_PARTS, TEXT_PARTS),
        st.builds(in_list, TEXT_PARTS),
        st.builds(in_list, TEXT_PARTS, WHOLE_PARTS),
    ),
    lambda inner: st.one_of(
        inner.map(lambda part: Expression(f"NOT ({part.text})", total(operator.not_, part))),
        st.builds(
            lambda a, b: Expression(f"(({a.text}) AND ({b.text}))", lambda row: joined(row, a, b, False)), inner, inner
        ),
        st.builds(
            lambda a, b: Expression(f"(({a.text}) OR ({b.text}))", lambda row: joined(row, a, b, True)), inner, inner
        ),
    ),
    max_leaves=4,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    shape = "n BIGINT, m BIGINT, d DOUBLE PRECISION, t TEXT, u TEXT"
    async with open_store(tmp_path, shipped_catalog()) as opened:
        await opened.write(lambda tx: tx.run(f"CREATE TABLE muster_tried (number BIGINT, {shape})"))
        yield opened


def compiled(text: str) -> Predicate | None:
    """None for what decides nothing, such as a comparison of two constants."""
    try:
        return compile_predicate(text, COLUMNS, LISTS, DAY)
    except RuleError:
        return None


async def verdicts(tx: Transaction, rows: list[Row], predicates: list[Predicate]) -> list[list[bool | None]]:
    """What each condition is of each row."""
    await tx.run("DELETE FROM muster_tried")
    await tx.many(
        "INSERT INTO muster_tried VALUES (?, ?, ?, ?, ?, ?)",
        [(number, *(row[name] for name in COLUMNS)) for number, row in enumerate(rows)],
    )
    found = []
    for predicate in predicates:
        head = f"WITH {', '.join(predicate.lists.values())} " if predicate.lists else ""
        value = f"CASE WHEN {predicate.sql} THEN 1 WHEN NOT {predicate.sql} THEN 0 END"
        joins = "".join(predicate.joins.values())
        answers = await tx.rows(f"{head}SELECT {value} FROM muster_tried r{joins} ORDER BY r.number")
        found.append([None if answer is None else bool(answer) for (answer,) in answers])
    return found


@settings(
    max_examples=120,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    # Every example empties the table that all of them share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(ROWS, max_size=8).map(lambda rows: [*ALWAYS, *rows]),
    conditions=st.lists(CONDITIONS, min_size=2, max_size=6),
)
async def test_any_condition_over_any_row(store: Store, rows: list[Row], conditions: list[Expression]) -> None:
    pairs = [(condition, predicate) for condition in conditions if (predicate := compiled(condition.text))]
    found = await store.write(lambda tx: verdicts(tx, rows, [predicate for _, predicate in pairs]))
    for (condition, _), answers in zip(pairs, found, strict=True):
        assert answers == [condition.of(row) for row in rows], f"{condition.text} over {rows}"
