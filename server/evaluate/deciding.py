"""Whether a rule can decide: conditions that hold for every row, or for none, are slips. Pure.

Every comparison of one thing (a column, or what a function makes of one) with constants is tried with a value for each
way in which they can come out; any other comparison is taken to be true, false or null as it likes. So what is said to
be impossible is impossible, and what is not said may be so all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod

from sqlglot import exp

from server.catalog.controls import PlatformRule
from server.evaluate.language import COMPARISONS, parse, shown
from server.evaluate.sources import parse_select

MOST_ROWS = 5_000
"""Kinds of rows that are tried; a rule with more of them is taken to decide."""
_Value = str | int | float | None
_Truth = bool | None
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(slots=True)
class _Term:
    """A thing that is compared with constants: them, and which comparisons there are."""

    node: exp.Expr
    constants: set[str | int | float] = field(default_factory=set)
    atoms: dict[str, exp.Expr] = field(default_factory=dict)


def never_decides(rule: PlatformRule) -> Iterator[tuple[str, str]]:
    """What of a rule decides nothing, as the key of its condition and why. Its conditions are in the language."""
    names: dict[int, str] = {}
    trees = {key: _tree(rule, text) for key, text in rule.conditions.items()}
    for tree in trees.values():
        names |= {id(atom): shown(atom) for atom in _atoms(tree)}
    outcomes: set[tuple[bool, ...]] = set()
    for row in _rows(trees.values(), names):
        outcome = tuple(_truth(tree, row, names) is True for tree in trees.values())
        if outcome in outcomes:
            continue
        outcomes.add(outcome)
        if not list(_odd(rule, list(trees), outcomes)):
            return  # more kinds of rows change nothing
    if outcomes:
        yield from _odd(rule, list(trees), outcomes)


def _tree(rule: PlatformRule, text: str) -> exp.Expr:
    return parse(text) if rule.sql is None else parse_select(text).expressions[0].unalias()


def _odd(rule: PlatformRule, keys: Sequence[str], outcomes: Set[tuple[bool, ...]]) -> Iterator[tuple[str, str]]:
    """What is odd of a rule whose conditions, in the order of their keys, can only come out so together."""
    constant = {
        key: outcome
        for key, outcome in zip(keys, next(iter(outcomes)), strict=False)
        if {other[keys.index(key)] for other in outcomes} == {outcome}
    }
    for key, outcome in constant.items():
        of = "every device" if rule.sql is not None else "every row"
        yield key, f"is true of {of}" if outcome else f"is true of {of.replace('every', 'no')}: it contradicts itself"
    if constant or "undecided" not in keys:
        return
    # What is left of the condition once the rows that cannot be judged are set aside.
    judged = {outcome[0] for outcome in outcomes if not outcome[1]}
    if not judged:
        yield "undecided", "leaves no row that can be judged"
    elif len(judged) == 1:
        status = "pass" if (judged == {True}) != (rule.quantifier == "none") else "fail"
        if {status, rule.empty} != {"pass", "fail"}:
            yield "undecided", f"leaves nothing to decide: every row that can be judged is a {status}"


def _rows(trees: Iterable[exp.Expr], names: Mapping[int, str]) -> Iterator[Mapping[str, _Truth]]:
    """Every kind of row, as what each comparison comes to; none where there are too many."""
    terms: dict[str, _Term] = {}
    free: set[str] = set()
    for tree in trees:
        for atom in _atoms(tree):
            term = _term(atom)
            if term is None:
                free.add(names[id(atom)])
                continue
            known = terms.setdefault(shown(term.node), term)
            known.constants |= term.constants
            known.atoms.setdefault(names[id(atom)], atom)
    ways = [_ways(term) for term in terms.values()]
    ways += [[{name: True}, {name: False}, {name: None}] for name in sorted(free)]
    if prod(map(len, ways)) <= MOST_ROWS:
        for row in product(*ways):
            yield {name: value for part in row for name, value in part.items()}


def _ways(term: _Term) -> list[Mapping[str, _Truth]]:
    """The ways in which the comparisons of one thing can come out together."""
    found = {
        tuple(truths.values()): truths
        for value in _values(term)
        for truths in [{name: _compared(atom, value) for name, atom in term.atoms.items()}]
    }
    return list(found.values())


def _values(term: _Term) -> list[_Value]:
    """Null, the constants, and values before, between and after them."""
    function = str(term.node.this).lower() if isinstance(term.node, exp.Anonymous) else ""
    if function == "version_compare":
        return [None, -1, 0, 1]
    texts = sorted(value for value in term.constants if isinstance(value, str))
    numbers = sorted(value for value in term.constants if not isinstance(value, str))
    values: list[_Value] = [None]
    if texts or not numbers:
        values += ["", *texts, *(text + "\x01" for text in texts), "\U0010ffff"]
    if numbers or not texts:
        near = [number + step for number in numbers for step in (-1, 0, 1)]
        between = [(low + high) / 2 for low, high in pairwise(numbers)]
        values += [-1e300, *near, *between, 1e300]
    if function == "count":
        values = [value for value in values if value is not None]
    if function in ("length", "count"):
        values = [value for value in values if not isinstance(value, int | float) or value >= 0]
    if function in ("lower", "upper"):
        plain = str.lower if function == "lower" else str.upper
        values = [
            value for value in values if not isinstance(value, str) or not value.isascii() or plain(value) == value
        ]
    return values


def _atoms(node: exp.Expr) -> Iterator[exp.Expr]:
    """The comparisons that a condition is made of."""
    if isinstance(node, exp.Paren | exp.Not):
        yield from _atoms(node.this)
    elif isinstance(node, exp.And | exp.Or):
        for side in node.flatten(unnest=False):
            yield from _atoms(side)
    else:
        yield node


def _truth(node: exp.Expr, row: Mapping[str, _Truth], names: Mapping[int, str]) -> _Truth:
    if isinstance(node, exp.Paren):
        return _truth(node.this, row, names)
    if isinstance(node, exp.Not):
        inner = _truth(node.this, row, names)
        return None if inner is None else not inner
    if isinstance(node, exp.And | exp.Or):
        decides = isinstance(node, exp.Or)
        sides = {_truth(side, row, names) for side in node.flatten(unnest=False)}
        return decides if decides in sides else None if None in sides else not decides
    return row[names[id(node)]]


def _term(atom: exp.Expr) -> _Term | None:
    """The thing that a comparison compares with constants, or None where it is no such comparison."""
    node, others = _sides(atom)
    constants = [_constant(other) for other in others]
    if node is None or _constant(node) is not None or None in constants:
        return None
    return _Term(node, {value for value in constants if value is not None})


def _sides(atom: exp.Expr) -> tuple[exp.Expr | None, Sequence[exp.Expr]]:
    if isinstance(atom, exp.Is):
        return atom.this.unnest(), ()
    if isinstance(atom, exp.In):
        return atom.this.unnest(), atom.expressions
    if isinstance(atom, exp.Between):
        return atom.this.unnest(), (atom.args["low"], atom.args["high"])
    if isinstance(atom, exp.Binary) and type(atom) in COMPARISONS:
        left, right = atom.left.unnest(), atom.right.unnest()
        return (right, (left,)) if _constant(left) is not None else (left, (right,))
    return None, ()


def _constant(node: exp.Expr) -> str | int | float | None:
    node = node.unnest()
    if isinstance(node, exp.Literal):
        text = str(node.this)
        return text if node.is_string else int(text) if text.isdigit() else float(text)
    if isinstance(node, exp.Neg) and isinstance(node.this.unnest(), exp.Literal):
        inner = _constant(node.this)
        return -inner if isinstance(inner, int | float) else None
    return None


def _compared(atom: exp.Expr, value: _Value) -> _Truth:
    """What a comparison with constants comes to for a value."""
    if isinstance(atom, exp.Is):
        return value is None
    if value is None:
        return None
    _, others = _sides(atom)
    constants = [constant for other in others if (constant := _constant(other)) is not None]
    if isinstance(atom, exp.In):
        return value in constants
    if isinstance(atom, exp.Between):
        return _holds(value, ">=", constants[0]) and _holds(value, "<=", constants[1])
    operator = COMPARISONS[type(atom)]
    turned = isinstance(atom, exp.Binary) and _constant(atom.left) is not None
    return _holds(value, _TURNED.get(operator, operator) if turned else operator, constants[0])


def _holds(value: str | int | float, operator: str, other: str | int | float) -> bool:
    if operator in ("=", "<>"):
        return (value == other) == (operator == "=")
    less, equal = value < other, value == other  # type: ignore[operator]
    return {"<": less, "<=": less or equal, ">": not (less or equal), ">=": not less}[operator]
