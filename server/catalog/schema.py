"""The tables osquery has, per platform: data under ``packs/schema``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from server.normalize.values import OSQUERY_TYPES

PLATFORMS = ("darwin", "linux", "windows")


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column of an osquery table; ``platforms`` is where it has a meaning, ``canonical`` the name an alias is for."""

    name: str
    kind: str
    required: bool
    platforms: tuple[str, ...]
    canonical: str


@dataclass(frozen=True)
class SchemaTable:
    """A table of osquery; ``canonical`` is the name an alias is for."""

    name: str
    platforms: tuple[str, ...]
    columns: tuple[SchemaColumn, ...]
    canonical: str

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

    def on(self, platform: str) -> list[SchemaTable]:
        """The tables a platform has; an alias is a table of its own."""
        return [table for table in self._tables.values() if platform in table.platforms]


def load_schema(packs: Path) -> OsquerySchema:
    """Read ``schema/osquery.json`` of a packs folder."""
    data = json.loads((packs / "schema" / "osquery.json").read_text(encoding="utf-8"))
    tables: dict[str, SchemaTable] = {}
    for entry in data["tables"]:
        platforms = tuple(entry["platforms"])
        columns = []
        for column in entry["columns"]:
            for name in (column["name"], *column.get("aliases", ())):
                kind = OSQUERY_TYPES[column["type"]]
                where = tuple(column.get("platforms", platforms))
                columns.append(SchemaColumn(name, kind, column.get("required", False), where, column["name"]))
        for name in (entry["name"], *entry.get("aliases", ())):
            tables[name] = SchemaTable(name, platforms, tuple(columns), entry["name"])
    return OsquerySchema(data["osquery_version"], tables)
