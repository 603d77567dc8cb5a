"""The tables osquery has, per platform: data under ``packs/schema``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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


@dataclass(frozen=True)
class SchemaTable:
    """A table of osquery; ``canonical`` is the name an alias is for."""

    name: str
    platforms: tuple[str, ...]
    columns: tuple[SchemaColumn, ...]
    canonical: str
    evented: bool = False
    cacheable: bool = False

    @cached_property
    def by_name(self) -> dict[str, SchemaColumn]:
        """Its columns by lower-case name."""
        return {column.name.lower(): column for column in self.columns}


class OsquerySchema:
    """Every table of one osquery version, by name and alias."""

    def __init__(self, version: str, tables: Mapping[str, SchemaTable]) -> None:
        self.version = version
        self._tables = tables

    def table(self, name: str) -> SchemaTable | None:
        """The table of that name, on whatever platform."""
        return self._tables.get(name.lower())

    def names(self) -> frozenset[str]:
        """The names of all tables, aliases included."""
        return frozenset(self._tables)

    def with_tables(self, tables: Mapping[str, SchemaTable]) -> OsquerySchema:
        """This schema and more tables."""
        return OsquerySchema(self.version, {**self._tables, **tables})

    def on(self, platform: str) -> list[SchemaTable]:
        """The tables a platform has; an alias is a table of its own."""
        return [table for table in self._tables.values() if platform in table.platforms]


def load_schema(packs: Path) -> OsquerySchema:
    """Read ``schema/osquery.json`` of a packs folder, and ``schema/moving.json`` if it is there."""
    data = json.loads((packs / "schema" / "osquery.json").read_text(encoding="utf-8"))
    moving_file = packs / "schema" / "moving.json"
    moving = json.loads(moving_file.read_text(encoding="utf-8")) if moving_file.is_file() else {}
    tables: dict[str, SchemaTable] = {}
    for entry in data["tables"]:
        platforms = tuple(entry["platforms"])
        moving_here = moving.get(entry["name"], ())
        columns = tuple(
            SchemaColumn(
                name=name,
                kind=OSQUERY_TYPES[column["type"]],
                platforms=tuple(column.get("platforms", platforms)),
                canonical=column["name"],
                flags=frozenset(flag for flag in FLAGS if column.get(flag)),
                moving=column["name"] in moving_here,
            )
            for column in entry["columns"]
            for name in (column["name"], *column.get("aliases", ()))
        )
        for name in (entry["name"], *entry.get("aliases", ())):
            evented, cacheable = bool(entry.get("evented")), bool(entry.get("cacheable"))
            tables[name] = SchemaTable(name, platforms, columns, entry["name"], evented, cacheable)
    return OsquerySchema(data["osquery_version"], tables)
