"""Looking things up in lists: a list is a common table expression, of values or over a view of Muster's own. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from server.catalog.lists import BUILT_IN, BuiltInList, ReferenceList
from server.catalog.problems import did_you_mean
from server.evaluate.language import (
    BOOLEAN,
    NUMBERS,
    Part,
    RuleError,
    Writing,
    as_double,
    compile_part,
    literal,
    shown,
    shown_kind,
    text_literal,
)
from server.normalize.calendar import Day
from server.normalize.values import BIGINT, DOUBLE, TEXT, Value

MOST_VALUES = 16
"""Different look-ups by ``list_value`` in one condition: each is a join, and SQLite takes 64 tables in one SELECT."""
_SQL_TYPES = {TEXT: "TEXT", BIGINT: "BIGINT", DOUBLE: "DOUBLE PRECISION"}


@dataclass(frozen=True, slots=True)
class _Known:
    """A list as a rule sees it."""

    name: str
    columns: Mapping[str, str]
    key: int

    @property
    def table(self) -> str:
        """The name of the common table expression."""
        return f"muster_list_{self.name}"


def in_list(node: exp.Anonymous, w: Writing) -> Part:
    """``in_list('LIST', value…)``: whether an entry's key begins with these values; null where one of them is."""
    known, arguments = _list(node, w)
    keys = list(known.columns.items())[: known.key]
    if not 1 <= len(arguments) <= len(keys):
        raise RuleError(f"{shown(node)}: the key of {known.name} is {_names(keys)}: give 1 to {len(keys)} value(s)")
    pairs = _pairs(node, known, arguments, keys, w)
    values, columns = ", ".join(part.sql for part, _ in pairs), ", ".join(column for _, column in pairs)
    if not any(part.varies for part, _ in pairs) and known.name not in BUILT_IN:
        raise RuleError(f"{shown(node)} reads no column, so it never decides anything")
    # A row with a null in it may be said not to be in a list, and nothing is in an empty one.
    null = " OR ".join(f"{part.sql} IS NULL" for part, _ in pairs if part.constant is None)
    value = f"({values})" if len(pairs) > 1 else values
    found = f"{value} IN (SELECT {columns} FROM {known.table} l)"
    return Part(f"(CASE WHEN {null} THEN NULL ELSE {found} END)" if null else f"({found})", BOOLEAN)


def list_value(node: exp.Anonymous, w: Writing) -> Part:
    """``list_value('LIST', 'COLUMN', key…)``: a column of the entry with this key, else null.

    It is a join, for which databases index or hash the list once; a sub-select would read all of it for every row.
    """
    known, arguments = _list(node, w)
    if not arguments or not arguments[0].is_string:
        raise RuleError(f"{shown(node)}: the second value names a column of {known.name}, as a text in quotes")
    column, keys = str(arguments[0].this), list(known.columns.items())[: known.key]
    if column not in known.columns:
        hint = did_you_mean(column, known.columns)
        raise RuleError(f"{shown(node)}: the list {known.name} has no column {column!r}; {hint}".rstrip("; "), column)
    if len(arguments) - 1 != len(keys):
        raise RuleError(f"{shown(node)}: the key of {known.name} is {_names(keys)}: give {len(keys)} value(s)")
    pairs = _pairs(node, known, arguments[1:], keys, w)
    varies = any(part.varies for part, _ in pairs)
    if w.select:
        # In a SELECT there may be no row to join to: it may stand beside aggregates.
        found = " AND ".join(f"{name} = {part.sql}" for part, name in pairs)
        sql = f'(SELECT MAX(l."{column}") FROM {known.table} l WHERE {found})'
        return Part(sql, known.columns[column], varies)
    names = ", ".join(name for _, name in pairs)
    given = ", ".join(f"{name} AS key{number}" for number, (_, name) in enumerate(pairs))
    # Of several people with one account, say, one value: a row that is judged is never two.
    entries = f'(SELECT {given}, MAX(l."{column}") AS found FROM {known.table} l GROUP BY {names})'
    alias = f"muster_v_{hashlib.blake2b(repr((entries, pairs)).encode(), digest_size=6).hexdigest()}"
    on = " AND ".join(f"{alias}.key{number} = {part.sql}" for number, (part, _) in enumerate(pairs))
    w.joins.setdefault(alias, f" LEFT JOIN {entries} {alias} ON {on}")
    if len(w.joins) > MOST_VALUES:
        raise RuleError(f"more than {MOST_VALUES} different look-ups by list_value() in one condition")
    return Part(f"{alias}.found", known.columns[column], varies)


def _list(node: exp.Anonymous, w: Writing) -> tuple[_Known, list[exp.Expr]]:
    if not node.expressions or not node.expressions[0].is_string:
        raise RuleError(f"{shown(node)}: the first value names a list, as a text in quotes")
    name = str(node.expressions[0].this)
    found = w.lists.get(name) or BUILT_IN.get(name)
    if found is None:
        hint = did_you_mean(name, [*w.lists, *BUILT_IN])
        raise RuleError(f"{shown(node)}: there is no list {name!r}; {hint}".rstrip("; "), name)
    known = _Known(name, found.columns, found.key)
    if name not in w.named:
        columns = ", ".join(f'"{column}"' for column in found.columns)
        body = _view(found, w.day) if isinstance(found, BuiltInList) else _values(found)
        w.named[name] = f"{known.table} ({columns}) AS ({body})"
    return known, list(node.expressions[1:])


def _pairs(
    node: exp.Anonymous, known: _Known, values: Sequence[exp.Expr], keys: Sequence[tuple[str, str]], w: Writing
) -> list[tuple[Part, str]]:
    """Each value beside the list's column that it is compared with, both of one kind."""
    pairs = []
    for value, (name, kind) in zip(values, keys, strict=False):
        part, column = compile_part(value, w), f'l."{name}"'
        if shown_kind(part.kind) != shown_kind(kind):
            raise RuleError(
                f"{shown(node)}: {shown(value)} is a {shown_kind(part.kind)},"
                f" and {name} in the list {known.name} is a {shown_kind(kind)}"
            )
        if kind in NUMBERS and part.kind != kind:
            part = as_double(part)
            column = column if kind == DOUBLE else f"CAST({column} AS DOUBLE PRECISION)"
        pairs.append((part, column))
    return pairs


def _names(keys: Sequence[tuple[str, str]]) -> str:
    return ", ".join(name for name, _ in keys)


def _values(found: ReferenceList) -> str:
    kinds = list(found.columns.values())
    if not found.entries:
        return f"SELECT {', '.join(f'CAST(NULL AS {_SQL_TYPES[kind]})' for kind in kinds)} WHERE 1 = 0"
    first, *rest = found.entries
    # The first row tells the columns' types.
    typed = ", ".join(f"CAST({_value(value)} AS {_SQL_TYPES[kind]})" for value, kind in zip(first, kinds, strict=True))
    rows = [typed, *(", ".join(map(_value, entry)) for entry in rest)]
    return f"VALUES {', '.join(f'({row})' for row in rows)}"


def _value(value: Value) -> str:
    return "NULL" if value is None else literal(value).sql


def _view(found: BuiltInList, day: Day) -> str:
    key = next(iter(found.columns))
    counts = f" AND last_day < {text_literal(day.day)}" if found.departed else ""
    if found.dated:
        counts += f" AND from_day <= {text_literal(day.day)} AND to_day > {text_literal(day.day)}"
    return f"SELECT {', '.join(found.columns)} FROM {found.view} WHERE {key} IS NOT NULL{counts}"
