"""Catalogs in which one query has moved on."""

from __future__ import annotations

from dataclasses import replace

from server.catalog.catalog import Catalog
from server.catalog.queries import QueryColumn
from tests.support.stores import shipped_catalog

PEOPLE = "folks"


def daily_catalog() -> Catalog:
    """The shipped catalog with every control resting on the answers of its own day alone."""
    catalog = shipped_catalog()
    daily = {
        name: replace(loaded, control=loaded.control.model_copy(update={"fresh_within_days": 1}))
        for name, loaded in catalog.controls.items()
    }
    return replace(catalog, controls=daily)


def folks_catalog(version: str, *columns: str, mode: str = "state") -> Catalog:
    """The shipped catalog and a query ``folks`` for Linux with these columns (``name kind``, ``!`` for volatile)."""
    catalog = shipped_catalog()
    made = []
    for column in columns:
        name, kind = column.rstrip("!").split()
        made.append(QueryColumn(name, kind, column.endswith("!")))
    users = catalog.queries["users", "linux"]
    query = replace(
        users, name=PEOPLE, platforms=("linux",), mode=mode, columns=tuple(made), version=version, file="folks.sql"
    )
    return replace(catalog, queries={**catalog.queries, (PEOPLE, "linux"): query})
