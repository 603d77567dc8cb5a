"""The tables osquery has, per platform, and what else is known of it: data under ``packs/schema``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from server.normalize.values import OSQUERY_TYPES

PLATFORMS = ("darwin", "linux", "windows")
FLAGS = ("required", "index", "additional", "optimized", "hidden")


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column of an osquery table; ``platforms`` is where it has a meaning, ``canonical`` the name an alias is for.

    ``flags`` are those osquery's planner heeds: ``required``, ``index``, ``additional``, ``optimized``, ``hidden``.
    A ``moving`` column has another value at every look.
    """

    name: str
    kind: str
    platforms: tuple[str, ...]
    canonical: str
    flags: frozenset[str] = frozenset()
    moving: bool = False

    @property
    def required(self) -> bool:
        """Whether the table can only be read by a value of this column, or of another required one."""
        return "required" in self.flags


@dataclass(frozen=True, kw_only=True)
class SchemaTable:
    """A table of osquery; ``canonical`` is the name an alias is for."""

    name: str
    platforms: tuple[str, ...]
    columns: tuple[SchemaColumn, ...]
    canonical: str
    evented: bool = False
    """Its rows are events of the past, not what is true now."""
    cacheable: bool = False
    """Read whole by a schedule, its rows may be those of an earlier query."""
    per_user: bool = False
    """Without a user, osquery looks at its own account only."""
    heeds_like: bool = False
    """A pattern may take the place of a required value."""

    @cached_property
    def by_name(self) -> dict[str, SchemaColumn]:
        """Its columns by lower-case name."""
        return {column.name.lower(): column for column in self.columns}


@dataclass(frozen=True)
class Functions:
    """The functions of osquery's SQL: its own by numbers of arguments (-1 is any), and those of its SQLite."""

    own: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sqlite: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """All of them."""
        return self.sqlite | set(self.own)


class OsquerySchema:
    """Every table of one osquery version, by name and alias."""

    def __init__(self, version: str, tables: Mapping[str, SchemaTable], functions: Functions) -> None:
        self.version = version
        self.functions = functions
        self._tables = tables

    def table(self, name: str) -> SchemaTable | None:
        """The table of that name, on whatever platform."""
        return self._tables.get(name.lower())

    def names(self) -> frozenset[str]:
        """The names of all tables, aliases included."""
        return frozenset(self._tables)

    def with_tables(self, tables: Mapping[str, SchemaTable]) -> OsquerySchema:
        """This schema and more tables."""
        return OsquerySchema(self.version, {**self._tables, **tables}, self.functions)

    def on(self, platform: str) -> list[SchemaTable]:
        """The tables a platform has; an alias is a table of its own."""
        return [table for table in self._tables.values() if platform in table.platforms]


def load_schema(packs: Path) -> OsquerySchema:
    """Read ``schema/osquery.json`` and ``schema/notes.json`` of a packs folder; the notes may be missing."""
    data = json.loads((packs / "schema" / "osquery.json").read_text(encoding="utf-8"))
    notes_file = packs / "schema" / "notes.json"
    notes = json.loads(notes_file.read_text(encoding="utf-8")) if notes_file.is_file() else {}
    tables: dict[str, SchemaTable] = {}
    for entry in data["tables"]:
        columns = _columns(entry, frozenset(notes.get("moving", {}).get(entry["name"], ())))
        for name in (entry["name"], *entry.get("aliases", ())):
            tables[name] = SchemaTable(
                name=name,
                platforms=tuple(entry["platforms"]),
                columns=columns,
                canonical=entry["name"],
                evented=bool(entry.get("evented")),
                cacheable=bool(entry.get("cacheable")),
                per_user=bool(entry.get("user_data")) and entry["name"] not in notes.get("system_wide_too", ()),
                heeds_like=entry["name"] in notes.get("like", ()),
            )
    own = {name: tuple(numbers) for name, numbers in notes.get("own_functions", {}).items()}
    return OsquerySchema(data["osquery_version"], tables, Functions(own, frozenset(notes.get("sqlite_functions", ()))))


def _columns(entry: Mapping[str, Any], moving: frozenset[str]) -> tuple[SchemaColumn, ...]:
    return tuple(
        SchemaColumn(
            name=name,
            kind=OSQUERY_TYPES[column["type"]],
            platforms=tuple(column.get("platforms", entry["platforms"])),
            canonical=column["name"],
            flags=frozenset(flag for flag in FLAGS if column.get(flag)),
            moving=column["name"] in moving,
        )
        for column in entry["columns"]
        for name in (column["name"], *column.get("aliases", ()))
    )
