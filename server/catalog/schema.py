"""The tables osquery has, per platform, and what else is known of it: data under ``packs/schema``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from server.normalize.values import OSQUERY_TYPES

PLATFORMS = ("darwin", "linux", "windows")
TABLES, NOTES = "schema/osquery.json", "schema/notes.json"
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


class SchemaError(ValueError):
    """A file of the schema cannot be used: ``file`` is its name in the packs folder, the message says why."""

    def __init__(self, file: str, why: Exception) -> None:
        super().__init__(f"not an osquery schema ({type(why).__name__}: {why})")
        self.file = file


def load_schema(packs: Path) -> OsquerySchema:
    """Read ``schema/osquery.json`` and ``schema/notes.json`` of a packs folder. Raises ``SchemaError``."""
    file = NOTES
    try:
        notes = _Notes(json.loads((packs / file).read_text(encoding="utf-8")))
        file = TABLES
        data = json.loads((packs / file).read_text(encoding="utf-8"))
        tables: dict[str, SchemaTable] = {}
        for entry in data["tables"]:
            for table in _tables(entry, notes):
                tables[table.name] = table
        return OsquerySchema(str(data["osquery_version"]), tables, notes.functions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaError(file, error) from error


class _Notes:
    """What osquery's spec files do not say."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.moving = {table: frozenset(columns) for table, columns in data["moving"].items()}
        self.system_wide_too = frozenset(data["system_wide_too"])
        self.like = frozenset(data["like"])
        own = {name: tuple(int(number) for number in numbers) for name, numbers in data["own_functions"].items()}
        self.functions = Functions(own, frozenset(data["sqlite_functions"]))


def _tables(entry: Mapping[str, Any], notes: _Notes) -> Iterator[SchemaTable]:
    """A table, and one for each of its aliases."""
    columns = _columns(entry, notes.moving.get(entry["name"], frozenset()))
    for name in (entry["name"], *entry.get("aliases", ())):
        yield SchemaTable(
            name=name,
            platforms=tuple(entry["platforms"]),
            columns=columns,
            canonical=entry["name"],
            evented=bool(entry.get("evented")),
            cacheable=bool(entry.get("cacheable")),
            per_user=bool(entry.get("user_data")) and entry["name"] not in notes.system_wide_too,
            heeds_like=entry["name"] in notes.like,
        )


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
