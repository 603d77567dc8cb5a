"""What the devices of a platform are asked: which version of each query, how often, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass

from server.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it stands in a config; ``interval`` and ``cost_seconds`` (of one run) are seconds."""

    query: str
    version: str
    interval: int
    cost_seconds: float
    packs: tuple[str, ...]
    conditional: bool
    """Whether it runs on some devices only, those that a pack's discovery finds."""
    sql: str
    judged: bool
    """Whether a verdict rests on what a device answers to it at a moment: never on its events."""


def asked(catalog: Catalog, platform: str) -> dict[str, Asked]:
    """The scheduled queries of a platform, by name. Of several packs with discovery the shortest interval counts."""
    found = {}
    judged = catalog.judged_queries(platform)
    for name, places in catalog.scheduled(platform).items():
        query = catalog.queries[name, platform]
        packs = tuple(pack for pack, _ in places)
        found[name] = Asked(
            name,
            query.version,
            min(interval for _, interval in places),
            query.cost_seconds,
            packs,
            conditional=all(catalog.packs[pack].discovery for pack in packs),
            sql=query.sql,
            judged=name in judged and query.mode != "events",
        )
    return found
