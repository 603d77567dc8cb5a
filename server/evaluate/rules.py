"""Rules, ready to be asked: a platform's rule as SQL over one row, true in the same cases on every database. Pure.

A row satisfies a condition only if it IS TRUE, so null never satisfies anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from server.catalog.controls import PlatformRule
from server.catalog.lists import BUILT_IN, ReferenceList
from server.evaluate.functions import call, names_of_lists
from server.evaluate.language import BOOLEAN, RuleError, Writing, compile_part, parse
from server.evaluate.sources import parse_select
from server.normalize.calendar import FIRST_DAY, Day, day_of

ALWAYS, NEVER = "1 = 1", "0 = 1"
ANY_DAY = day_of(FIRST_DAY, "UTC")
"""For checks: whether a rule is in the language does not depend on the day."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A checked condition: its SQL over the alias ``r``, the columns it reads, and the lists it looks into.

    ``lists`` are common table expressions, by the lists' names; the statement around has to begin with them. ``joins``,
    by their aliases, have to follow ``r`` in its FROM; they neither add nor take away rows.
    """

    sql: str
    columns: frozenset[str]
    lists: Mapping[str, str]
    joins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A platform's rule, ready to be asked: every part is SQL over one row ``r``.

    ``holds`` is true for rows that satisfy the condition, ``undecided`` for rows that cannot be judged, ``applies``
    for rows that show that the control applies. A row whose value in a column the rule reads did not fit the column's
    type cannot be judged either. ``deciding`` are the columns of the condition, ``read`` those of every part.
    """

    quantifier: str
    holds: str
    undecided: str
    applies: str
    empty: str
    lists: tuple[str, ...]
    joined: tuple[str, ...]
    deciding: frozenset[str]
    read: frozenset[str]

    @property
    def joins(self) -> str:
        """What has to follow ``r`` in a FROM."""
        return "".join(self.joined)


def compile_rule(rule: PlatformRule, columns: Mapping[str, str], lists: Mapping[str, ReferenceList], day: Day) -> Rule:
    """Check a rule against the columns of its query (name to kind) and compile it for a day. Raises ``RuleError``."""
    predicate = compile_predicate(rule.predicate, columns, lists, day)
    parts = [predicate]
    undecided, applies = NEVER, ALWAYS
    if rule.undecided:
        parts.append(compile_predicate(rule.undecided, columns, lists, day))
        undecided = f"({parts[-1].sql}) IS TRUE"
    if rule.applies_when:
        parts.append(compile_predicate(rule.applies_when, columns, lists, day))
        applies = f"({parts[-1].sql}) IS TRUE"
    read: frozenset[str] = frozenset().union(*(part.columns for part in parts))
    named = {name: sql for part in parts for name, sql in part.lists.items()}
    joins = {alias: sql for part in parts for alias, sql in part.joins.items()}
    undecided = f"({undecided} OR {misfit(read)})"
    return Rule(
        rule.quantifier,
        f"({predicate.sql}) IS TRUE",
        undecided,
        applies,
        rule.empty,
        tuple(sql for _, sql in sorted(named.items())),
        tuple(joins.values()),
        predicate.columns,
        read,
    )


def misfit(columns: Iterable[str]) -> str:
    """Whether a value of the row ``r`` in one of these columns did not fit the column's type."""
    # _misfit is a JSON object of the values that did not fit, by column.
    found = [f"r._misfit LIKE '%\"{name.replace('_', '!_')}\":%' ESCAPE '!'" for name in sorted(columns)]
    return f"(r._misfit IS NOT NULL AND ({' OR '.join(found)}))" if found else NEVER


def compile_predicate(text: str, columns: Mapping[str, str], lists: Mapping[str, ReferenceList], day: Day) -> Predicate:
    """Check a condition against the columns it may read (name to kind) and compile it. Raises ``RuleError``."""
    writing = Writing({name.lower(): kind for name, kind in columns.items()}, lists, day, call)
    try:
        part = compile_part(parse(text), writing)
    except RecursionError as error:
        raise RuleError("the condition is nested too deeply") from error
    if part.kind != BOOLEAN:
        raise RuleError(f"{text!r} is a value, not a condition: compare it with something")
    if not writing.read and not writing.named.keys() & BUILT_IN.keys():
        raise RuleError(f"{text!r} reads no column, so it never decides anything")
    return Predicate(part.sql, frozenset(writing.read), writing.named, writing.joins)


def columns_read(rule: PlatformRule, columns: Mapping[str, str], lists: Mapping[str, ReferenceList]) -> frozenset[str]:
    """The columns, in lower case, on which a rule's verdict rests. Raises ``RuleError``."""
    return compile_rule(rule, columns, lists, ANY_DAY).read


def lists_named(rule: PlatformRule) -> frozenset[str]:
    """The lists that a rule names, known or not; none of a part that is not in the language."""
    several = rule.sql is not None
    return frozenset[str]().union(*(_lists_in(text, several=several) for text in rule.conditions.values()))


@lru_cache(maxsize=4096)
def _lists_in(text: str, *, several: bool) -> frozenset[str]:
    """Kept, since every day asks anew for the lists of every rule."""
    try:
        return frozenset(names_of_lists([parse_select(text) if several else parse(text)]))
    except RuleError:
        return frozenset()
