"""What the store knows of the catalog's queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.catalog.catalog import Catalog
from server.catalog.schema import PLATFORMS
from server.normalize.rows import Column
from server.store.coverage import gap_for
from server.store.names import column_name


@dataclass(frozen=True, slots=True)
class ShippedQuery:
    """What the store knows of a query in a catalog: its version and columns per platform, and when it is silent."""

    versions: Mapping[str, str]
    needed: Mapping[str, frozenset[str]]
    gap: int


def shipped_queries(catalog: Catalog) -> dict[str, ShippedQuery]:
    """The catalog's queries by name."""
    intervals: dict[str, int] = {}
    for platform in PLATFORMS:
        for name, places in catalog.scheduled(platform).items():
            intervals[name] = max(intervals.get(name, 0), *(interval for _, interval in places))
    shipped: dict[str, ShippedQuery] = {}
    for name in {name for name, _ in catalog.queries}:
        variants = {where: query for (other, where), query in catalog.queries.items() if other == name}
        shipped[name] = ShippedQuery(
            versions={where: query.version for where, query in variants.items()},
            needed={where: frozenset(c.name for c in query.columns) for where, query in variants.items()},
            gap=gap_for(intervals.get(name)),
        )
    return shipped


Shapes = Mapping[str, tuple[str, tuple[Column, ...]]]
"""The mode and the columns of each shipped query's table."""


def table_shapes(*catalogs: Catalog) -> Shapes:
    """The tables that hold the answers to all these catalogs' queries.

    Each has the columns of all platforms, in the order they are first given; of two catalogs the first one's hold.
    """
    modes: dict[str, str] = {}
    columns: dict[str, dict[str, Column]] = {}
    for catalog in catalogs:
        for (name, _), query in catalog.queries.items():
            modes.setdefault(name, query.mode)
            known = columns.setdefault(name, {})
            for column in query.columns:
                if column.name not in known:
                    taken = {other.sql_name for other in known.values()}
                    sql_name = column_name(column.name, taken)
                    known[column.name] = Column(column.name, sql_name, column.kind, column.volatile)
    return {name: (mode, tuple(columns[name].values())) for name, mode in modes.items()}
