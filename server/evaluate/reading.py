"""What the rules of a catalog read: the columns of which queries. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from server.catalog.catalog import Catalog
from server.catalog.controls import PlatformRule
from server.evaluate.aggregates import compile_aggregate
from server.evaluate.rules import ANY_DAY, columns_read
from server.evaluate.sources import Shape


def columns_of(catalog: Catalog, platform: str, rule: PlatformRule) -> Mapping[str, frozenset[str]]:
    """The columns, in lower case, on which a rule's verdict rests, by query. Raises ``RuleError``."""
    if rule.sql is not None:
        return compile_aggregate(rule, shapes_on(catalog, platform), catalog.lists, ANY_DAY).read
    return {rule.query: columns_read(rule, catalog.queries[rule.query, platform].kinds, catalog.lists)}


def shapes_on(catalog: Catalog, platform: str) -> dict[str, Shape]:
    """The queries of a platform as rules see them, by name."""
    return {name: Shape(query.kinds) for (name, where), query in catalog.queries.items() if where == platform}
