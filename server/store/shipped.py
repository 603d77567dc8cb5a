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
    """What the store knows of a query in the catalog: its table's shape, and its version and columns per platform."""

    mode: str
    columns: tuple[Column, ...]
    versions: Mapping[str, str]
    needed: Mapping[str, frozenset[str]]
    gap: int


def shipped_queries(catalog: Catalog) -> dict[str, ShippedQuery]:
    """The catalog's queries by name. A table has the columns of all platforms, in the order they are first given."""
    intervals: dict[str, int] = {}
    for platform in PLATFORMS:
        for name, places in catalog.scheduled(platform).items():
            intervals[name] = max(intervals.get(name, 0), *(interval for _, interval in places))
    shipped: dict[str, ShippedQuery] = {}
    for name in {name for name, _ in catalog.queries}:
        variants = {where: query for (other, where), query in catalog.queries.items() if other == name}
        columns: dict[str, Column] = {}
        taken: set[str] = set()
        for query in variants.values():
            for column in query.columns:
                if column.name not in columns:
                    sql_name = column_name(column.name, taken)
                    taken.add(sql_name)
                    columns[column.name] = Column(column.name, sql_name, column.kind, column.volatile)
        shipped[name] = ShippedQuery(
            mode=next(iter(variants.values())).mode,
            columns=tuple(columns.values()),
            versions={where: query.version for where, query in variants.items()},
            needed={where: frozenset(c.name for c in query.columns) for where, query in variants.items()},
            gap=gap_for(intervals.get(name)),
        )
    return shipped
