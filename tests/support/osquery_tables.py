"""osquery's tables as a device would name them, from the schema that is shipped."""

from __future__ import annotations

from pathlib import Path

from collector.policy.tables import Tables
from server.catalog.schema import load_schema

PACKS = Path(__file__).parents[2] / "packs"


def osquery_tables(platform: str = "linux", views: dict[str, str] | None = None) -> Tables:
    """Every table of a platform; osquery's second names for tables are views, as on a device."""
    tables = load_schema(PACKS).on(platform)
    columns = {table.name: tuple(table.by_name) for table in tables if table.name == table.canonical}
    second = {
        table.name: f"CREATE VIEW {table.name} AS SELECT * FROM {table.canonical}"
        for table in tables
        if table.name != table.canonical
    }
    return Tables("5.23.0", columns, {**second, **(views or {})})
