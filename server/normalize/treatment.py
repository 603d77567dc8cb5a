"""What becomes of each column of each query: the packs' rules and the built-in never-list put together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from server.normalize import never
from server.normalize.names import ScheduledName

Action = Literal["drop", "hash", "truncate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a pack: which columns, which of their values, and what becomes of them.

    ``queries`` are names (``*``: any), ``tables`` osquery's; one of the two is empty. Of ``equals``, ``starts_with``
    and ``contains`` one that is true is enough; a rule with none of them takes every value.
    """

    source: str
    """File and line, for people."""
    queries: frozenset[str]
    tables: frozenset[str]
    columns: frozenset[str]
    action: Action
    keep: int = 0
    """Characters that ``truncate`` leaves."""
    equals: frozenset[str] = frozenset()
    starts_with: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()

    def takes(self, text: str) -> bool:
        """Whether the rule is for this value."""
        if not (self.equals or self.starts_with or self.contains):
            return True
        return (
            text in self.equals
            or (bool(self.starts_with) and text.startswith(self.starts_with))
            or any(part in text for part in self.contains)
        )

    def names(self, column: str) -> bool:
        """Whether the rule is for a column of this name."""
        return column in self.columns or "*" in self.columns


@dataclass(frozen=True, slots=True)
class Known:
    """A shipped query on a platform: its version, where its columns come from, and whether it picks a secret by name.

    ``origins`` maps a column to the (table, column) pairs of osquery whose values it may carry.
    """

    version: str
    origins: Mapping[str, frozenset[tuple[str, str]]]
    asks_for_secret: bool = False


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one column: never stored, stored only while it says yes or no, or as the first rule says."""

    never: bool = False
    flags_only: bool = False
    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return self.never or self.flags_only or bool(self.rules)


class Minimisation:
    """The rules of the packs together with the built-in never-list: what becomes of each column of each query."""

    def __init__(self, rules: Sequence[Rule] = (), known: Mapping[tuple[str, str], Known] | None = None) -> None:
        self.rules = tuple(rules)
        self._known = known or {}

    def never_only(self) -> Minimisation:
        """The same without the rules of the packs."""
        return Minimisation((), self._known)

    def hashing(self) -> Rule | None:
        """The first rule that needs the key."""
        return next((rule for rule in self.rules if rule.action == "hash"), None)

    def is_known(self, name: ScheduledName, platform: str) -> bool:
        """Whether the SQL behind an answer is that of the packs."""
        known = self._known.get((name.query, platform))
        return known is not None and known.version == name.version

    def treatment(self, query: str, platform: str, column: str, *, known: bool = True) -> Treatment:
        """What becomes of a column. A query whose SQL is not ``known`` is judged by names only, and more strictly."""
        column = column.lower()
        shipped = self._known.get((query, platform))
        origins = shipped.origins.get(column, frozenset()) if shipped else frozenset()
        by_name = never.never_columns(query) if shipped is None or not known else frozenset()
        if origins & never.COLUMNS or "*" in by_name or column in by_name:
            return Treatment(never=True)
        names = {column, *(name for _, name in origins)}
        secret = any(never.is_secret_name(name) for name in names)
        if shipped and shipped.asks_for_secret:
            secret = secret or bool(names & never.VALUE_COLUMNS)
        rules = [
            rule for rule in self.rules if self._is_for(rule, query, column, origins, shipped is None or not known)
        ]
        return Treatment(flags_only=secret, rules=tuple(rules))

    def setting_columns(self, query: str, platform: str, columns: Set[str]) -> tuple[list[str], list[str]]:
        """The columns that name a setting and those that hold its value."""
        shipped = self._known.get((query, platform))
        naming, holding = [], []
        for column in sorted(columns):
            origins = shipped.origins.get(column.lower(), frozenset()) if shipped else frozenset()
            names = {column.lower(), *(name for _, name in origins)}
            if names & never.VALUE_COLUMNS:
                holding.append(column)
            elif names & never.NAME_COLUMNS:
                naming.append(column)
        return (naming, holding) if naming and holding else ([], [])

    @staticmethod
    def _is_for(rule: Rule, query: str, column: str, origins: Set[tuple[str, str]], by_name: bool) -> bool:
        if rule.queries:
            return bool({query, "*"} & rule.queries) and rule.names(column)
        if any(table in rule.tables and rule.names(name) for table, name in origins):
            return True
        return by_name and rule.names(column) and any(never.mentions(query, table) for table in rule.tables)
