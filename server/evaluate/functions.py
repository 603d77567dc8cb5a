"""The functions of the rule language: what each takes, and its SQL. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlglot import exp

from server.catalog.problems import did_you_mean
from server.evaluate.language import (
    BOOLEAN,
    NULL,
    Part,
    RuleError,
    Writing,
    alike,
    expect,
    literal,
    shown,
)
from server.evaluate.lookups import in_list, list_value
from server.normalize.times import unix
from server.normalize.values import BIGINT, DOUBLE, TEXT

AGGREGATES = frozenset({"count", "sum", "min", "max"})
"""What a SELECT makes of many rows; not of a row."""
_UNLIKE = {"avg": "compare SUM(x) with a multiple of COUNT(x)", "total": "use SUM", "group_concat": "use EXISTS"}
_LONGEST = 2**31 - 1
_Call = Callable[[exp.Anonymous, Writing], Part]


def call(node: exp.Anonymous, w: Writing) -> Part:
    """Compile a call of a function; raises ``RuleError`` for one that the language does not have."""
    name = str(node.this).lower()
    found = FUNCTIONS.get(name)
    if name in AGGREGATES:
        raise RuleError(f"{shown(node)}: {name}() is of many rows: it stands in what a rule of the kind sql: selects")
    if found is None:
        hint = _UNLIKE.get(name) or did_you_mean(name, FUNCTIONS)
        raise RuleError(f"{shown(node)}: {name}() is not in the rule language; {hint}".rstrip("; "), str(node.this))
    return found(node, w)


def _takes(node: exp.Anonymous, least: int, most: int | None = None) -> list[exp.Expr]:
    """The arguments, if there are as many as a function takes."""
    given, most = len(node.expressions), least if most is None else most
    if not least <= given <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise RuleError(f"{shown(node)}: {str(node.this).lower()}() takes {wanted} value(s), not {given}")
    return list(node.expressions)


def _of_texts(sql: str, kind: str, count: int, node: exp.Anonymous, w: Writing) -> Part:
    """A function of texts, whose SQL has a place for each."""
    parts = [expect(TEXT, argument, w) for argument in _takes(node, count)]
    return Part(sql.format(*(part.sql for part in parts)), kind, any(part.varies for part in parts))


def _coalesce(node: exp.Anonymous, w: Writing) -> Part:
    parts = alike(node, _takes(node, 2, 20), w)
    kinds = {part.kind for part in parts} - {NULL}
    if not kinds:
        raise RuleError(f"{shown(node)} is always null")
    sql = f"coalesce({', '.join(part.sql for part in parts)})"
    return Part(sql, kinds.pop(), any(part.varies for part in parts))


def _substr(node: exp.Anonymous, w: Writing) -> Part:
    text, *numbers = _takes(node, 2, 3)
    whole = expect(TEXT, text, w)
    parts = [expect(BIGINT, number, w) for number in numbers]
    bounds = [None if part.varies else part.constant for part in parts]
    # Databases differ on a start before the first character, and a negative length is an error to some.
    for least, bound in zip((1, 0), bounds, strict=False):
        if not isinstance(bound, int) or not least <= bound <= _LONGEST:
            raise RuleError(f"{shown(node)}: substr() takes a text, a start from 1 and a length, as plain numbers")
    return replace(whole, sql=f"substr({whole.sql}, {', '.join(map(str, bounds))})", constant=None)


def _part_of(sql: str, node: exp.Anonymous, w: Writing) -> Part:
    """Whether a text has another at a place; ``sql`` is in terms of both."""
    whole, other = (expect(TEXT, argument, w) for argument in _takes(node, 2))
    if other.constant == "":
        raise RuleError(f"{shown(node)}: every text has an empty one in it")
    if not (whole.varies or other.varies):
        raise RuleError(f"{shown(node)} reads no column, so it never decides anything")
    return Part(sql.format(whole.sql, other.sql), BOOLEAN)


def _day(node: exp.Anonymous, w: Writing) -> Part:
    _takes(node, 0)
    return replace(literal(w.day.day), varies=True)


def _day_end(node: exp.Anonymous, w: Writing) -> Part:
    _takes(node, 0)
    return replace(literal(unix(w.day.ends_at)), varies=True)


def _texts(sql: str, kind: str, count: int) -> _Call:
    return partial(_of_texts, sql, kind, count)


LOOKUPS: Mapping[str, _Call] = {"in_list": in_list, "list_value": list_value}
"""Those that look into lists; the first value of each is the list's name."""
FUNCTIONS: Mapping[str, _Call] = {
    "lower": _texts("muster_lower({0})", TEXT, 1),
    "upper": _texts("muster_upper({0})", TEXT, 1),
    "trim": _texts("trim({0})", TEXT, 1),
    "length": _texts("CAST(length({0}) AS BIGINT)", BIGINT, 1),
    "substr": _substr,
    "coalesce": _coalesce,
    "starts_with": partial(_part_of, "(substr({0}, 1, length({1})) = {1})"),
    "ends_with": partial(_part_of, "(length({0}) >= length({1}) AND substr({0}, length({0}) - length({1}) + 1) = {1})"),
    "contains": partial(_part_of, "(CASE WHEN {1} = '' THEN {0} = {0} ELSE replace({0}, {1}, '') <> {0} END)"),
    "number": _texts("muster_number({0})", DOUBLE, 1),
    "version_compare": _texts("muster_version_compare({0}, {1})", BIGINT, 2),
    "day": _day,
    "day_end": _day_end,
    **LOOKUPS,
}


def names_of_lists(trees: Sequence[exp.Expr]) -> frozenset[str]:
    """The lists that conditions name, known or not."""
    return frozenset(
        str(node.expressions[0].this)
        for tree in trees
        for node in tree.find_all(exp.Anonymous)
        if str(node.this).lower() in LOOKUPS and node.expressions
    )
