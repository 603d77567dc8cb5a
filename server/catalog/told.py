"""What a device is told of its config: what each query reads, why it is asked, and what becomes of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.catalog.catalog import Catalog
from server.catalog.minimise import minimised_columns
from server.catalog.queries import Query
from server.normalize.names import scheduled_name
from server.wire.collector_messages import Hashed, config


def told_config(body: bytes, catalog: Catalog, platform: str) -> Hashed:
    """The message that tells a collector of a config, ``body``, which is made of these packs for a platform."""
    controls = _controls(catalog, platform)
    queries = []
    for name, places in catalog.scheduled(platform).items():
        query = catalog.queries[name, platform]
        asking = controls.get(name, [])
        queries.append(
            {
                "name": scheduled_name(name, query.version),
                "query": name,
                "description": query.description,
                "sql": query.sql,
                "interval": min(interval for _, interval in places),
                "columns": _columns(catalog, query, platform),
                "mode": query.mode,
                "judged": bool(asking) and query.mode != "events",
                "controls": asking,
                "discovery": _discovery([catalog.packs[pack].discovery for pack, _ in places]),
            }
        )
    return config(body, queries)


def _controls(catalog: Catalog, platform: str) -> dict[str, list[dict[str, str]]]:
    """The controls that judge each query's answers."""
    found: dict[str, list[dict[str, str]]] = {}
    for loaded in catalog.judged():
        rule = loaded.control.judging_rule(platform)
        for name in rule.queries if rule else ():
            found.setdefault(name, []).append({"id": loaded.control_id, "title": loaded.control.title})
    return found


def _columns(catalog: Catalog, query: Query, platform: str) -> list[Mapping[str, Any]]:
    """The columns, each with where in osquery's tables its values are from, and what of them is not stored."""
    minimised = minimised_columns(catalog.minimisation, query, platform)
    told: list[Mapping[str, Any]] = []
    for column in query.columns:
        origins = sorted(".".join(origin) for origin in query.known.origins.get(column.name.lower(), ()))
        parts = [", ".join(origins), minimised.get(column.name, "")]
        told.append({"name": column.name, "description": "; ".join(part for part in parts if part)})
    return told


def _discovery(packs: Sequence[Sequence[str]]) -> list[str]:
    """Statements that must all give a row for the query to run; of several packs one that runs is enough."""
    if len(packs) == 1 or not all(packs):
        return list(packs[0]) if all(packs) else []
    each = (" AND ".join(f"EXISTS ({sql.strip().rstrip(';')})" for sql in pack) for pack in packs)
    return ["SELECT 1 WHERE " + " OR ".join(f"({one})" for one in each)]
