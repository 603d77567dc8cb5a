"""What conditions of the rule language mean, read in Python, and strategies that write some with what they mean."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from server.catalog.lists import ReferenceList
from server.evaluate import scalar
from server.normalize.calendar import Day

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


ARITHMETIC = {"+": scalar.add, "-": scalar.subtract, "*": scalar.multiply}


def computed(sign: str, a: Expression, b: Expression, as_double: bool) -> Expression:
    def compute(left: Any, right: Any) -> Any:
        return ARITHMETIC[sign](*((float(left), float(right)) if as_double else (left, right)))

    return Expression(f"({a.text} {sign} {b.text})", total(compute, a, b))


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
Some = st.SearchStrategy[Expression]


@dataclass(frozen=True)
class Parts:
    """Strategies for texts, whole numbers, doubles and conditions made of some columns."""

    texts: Some
    wholes: Some
    doubles: Some
    conditions: Some


def parts(
    texts: Sequence[Expression],
    wholes: Sequence[Expression],
    doubles: Sequence[Expression],
    *,
    often: int = 1,
    decides: Callable[[str], bool] = lambda text: True,
) -> Parts:
    """Whatever the language makes of these, one of each kind at least; ``often`` they, and not a constant.

    ``decides`` leaves out comparisons that the language refuses.
    """
    constants = TEXTS.map(lambda text: Expression(quoted(text), lambda _: text))
    some_text = st.one_of(*[st.sampled_from(texts)] * often, constants)
    some_whole = st.sampled_from(wholes)
    of_text = st.recursive(some_text, lambda inner: _more_texts(inner, some_whole), max_leaves=4)
    of_whole = st.recursive(
        st.one_of(
            some_whole,
            unary("length", len, of_text),
            binary("version_compare", scalar.version_compare, of_text, of_text),
        ),
        lambda inner: st.builds(computed, st.sampled_from("+-*"), inner, inner, st.just(False)),
        max_leaves=3,
    )
    of_double = st.recursive(
        st.sampled_from(doubles) | unary("number", scalar.number, of_text),
        lambda inner: st.one_of(
            st.builds(computed, st.sampled_from("+-*"), inner, inner, st.just(True)),
            st.builds(computed, st.sampled_from("+-*"), inner, of_whole, st.just(True)),
        ),
        max_leaves=3,
    )
    return Parts(of_text, of_whole, of_double, _conditions(of_text, of_whole, of_double, decides))


def _more_texts(inner: Some, some_whole: Some) -> Some:
    return st.one_of(
        unary("lower", scalar.lower, inner),
        unary("upper", scalar.upper, inner),
        unary("trim", lambda text: text.strip(" "), inner),
        st.builds(part_of, inner, st.integers(1, 3), st.integers(0, 3)),
        st.builds(either, inner, inner),
        st.builds(
            lambda a, b: Expression(f"list_value('pairs', 'says', {a.text}, {b.text})", total(value_of, a, b)),
            inner, some_whole,
        ),
    )  # fmt: skip


def _conditions(of_text: Some, of_whole: Some, of_double: Some, decides: Callable[[str], bool]) -> Some:
    return st.recursive(
        st.one_of(
            st.builds(comparison, SIGNS, of_text, of_text, st.just(False)),
            st.builds(comparison, SIGNS, of_whole, of_whole, st.just(False)),
            st.builds(comparison, SIGNS, of_whole, of_double, st.just(True)),
            st.builds(is_null, of_text | of_whole | of_double),
            st.builds(one_of, of_text, st.lists(of_text, min_size=1, max_size=3)),
            binary("starts_with", str.startswith, of_text, of_text),
            binary("ends_with", str.endswith, of_text, of_text),
            binary("contains", lambda text, other: other in text, of_text, of_text),
            st.builds(in_list, of_text),
            st.builds(in_list, of_text, of_whole),
        ).filter(lambda one: decides(one.text)),
        connected,
        max_leaves=4,
    )


def connected(inner: Some) -> Some:
    """NOT, AND and OR of conditions."""
    return st.one_of(
        inner.map(lambda part: Expression(f"NOT ({part.text})", total(operator.not_, part))),
        st.builds(
            lambda a, b: Expression(f"(({a.text}) AND ({b.text}))", lambda row: joined(row, a, b, False)), inner, inner
        ),
        st.builds(
            lambda a, b: Expression(f"(({a.text}) OR ({b.text}))", lambda row: joined(row, a, b, True)), inner, inner
        ),
    )
