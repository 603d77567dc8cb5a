"""``fleet.yaml``: what holds for a packs folder as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from server.catalog.controls import Platform
from server.catalog.problems import Problem
from server.catalog.schema import OsquerySchema, SchemaColumn, SchemaTable
from server.catalog.yaml_files import Strict, read_located
from server.normalize.values import OSQUERY_TYPES

FILE = "fleet.yaml"

Name = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Percent = Annotated[float, Field(ge=0, le=100)]
Type = Annotated[str, Field(pattern=rf"^({'|'.join(OSQUERY_TYPES)})$")]


class ExtensionTable(Strict):
    """A table that an osquery extension brings: where it is, and its columns with osquery's types."""

    platforms: Annotated[list[Platform], Field(min_length=1)]
    columns: Annotated[dict[Name, Type], Field(min_length=1)]


class CanaryLimits(Strict):
    """From when on a canary stops by itself; those in the canary's own packs count."""

    errors_percent: Percent = 5
    """Of its devices, that have a query failing or denylisted which was not so before."""
    cost_factor: Annotated[float, Field(ge=1, le=1000)] = 2
    """How many times the ``cost`` of its header a run of a query may take, by wall or CPU time."""
    slow_ms: Annotated[int, Field(ge=0, le=600_000)] = 100
    """A run that takes less, in milliseconds, is never slow, whatever its header says."""
    silent_percent: Percent = 5
    """Of its devices, that are not heard of any more."""
    silent_minutes: Annotated[float, Field(gt=0, le=10_080)] = 15
    """For how long a device is not heard of until it counts as silent: at least three of osquery's config_refresh."""


class Fleet(Strict):
    """Settings of the fleet; every one has a default, and so has the file."""

    budget_seconds_a_day: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds of a device's day that all its queries together may take."""
    exemption_days_max: Annotated[int, Field(ge=1, le=3660)] = 365
    """Days that an exemption may last at most."""
    new_device_grace_days: Annotated[int, Field(ge=0, le=30)] = 0
    """Days that a new device is not judged yet, that on which it comes into scope included."""
    extension_tables: dict[Name, ExtensionTable] = Field(default_factory=dict)
    canary: CanaryLimits = Field(default_factory=CanaryLimits)


def read_fleet(root: Path, schema: OsquerySchema, problems: list[Problem]) -> tuple[Fleet, OsquerySchema]:
    """Read the settings, and add the tables of extensions to osquery's own."""
    path = root / FILE
    located = read_located(path, FILE, Fleet, problems) if path.exists() else None
    if located is None:
        return Fleet(), schema
    fleet = located.model
    known = schema.names()
    problems += [
        located.problem(f"osquery has a table {name!r} of its own", at=("extension_tables", name))
        for name in sorted(known & set(fleet.extension_tables))
    ]
    tables = {name: _table(name, table) for name, table in fleet.extension_tables.items() if name not in known}
    return fleet, schema.with_tables(tables) if tables else schema


def _table(name: str, table: ExtensionTable) -> SchemaTable:
    platforms = tuple(table.platforms)
    columns = (SchemaColumn(name, OSQUERY_TYPES[kind], platforms, name) for name, kind in table.columns.items())
    return SchemaTable(name=name, platforms=platforms, columns=tuple(columns), canonical=name)
