"""A pack as a plain osquery pack: what an osqueryd with a config of its own can load."""

from __future__ import annotations

from typing import Any

import orjson

from server.catalog.catalog import Catalog
from server.catalog.problems import did_you_mean
from server.catalog.schema import PLATFORMS
from server.normalize.names import PACK_DELIMITER, scheduled_name


class NoSuchPackError(ValueError):
    """There is no pack of that name; the message names the nearest."""


def export_pack(catalog: Catalog, pack_id: str) -> tuple[bytes, list[str]]:
    """The pack as osquery's JSON, and what its user has to know: options it needs, what osquery has no word for.

    The queries of its controls are in it. Names carry the query's version, as Muster's own config has them, so that
    answers sent to Muster are typed and judged like those to its own config.
    """
    pack = catalog.packs.get(pack_id)
    if pack is None:
        raise NoSuchPackError(f"there is no pack {pack_id!r}; {did_you_mean(pack_id, catalog.packs)}".rstrip("; "))
    queries: dict[str, dict[str, Any]] = {}
    for platform in PLATFORMS:
        for name, interval in catalog.pack_queries(pack, platform).items():
            query = catalog.queries[name, platform]
            entry = queries.setdefault(
                scheduled_name(name, query.version),
                {"query": query.sql, "interval": interval, "description": query.description, "platforms": []},
            )
            entry["platforms"].append(platform)
            entry |= {"snapshot": True} if query.mode != "events" else {"removed": False}
    for entry in queries.values():
        entry["platform"] = ",".join(entry.pop("platforms"))
    exported: dict[str, Any] = {"queries": queries}
    if pack.platforms and set(pack.platforms) != set(PLATFORMS):
        exported["platform"] = ",".join(platform for platform in PLATFORMS if platform in pack.platforms)
    if pack.discovery:
        exported["discovery"] = list(pack.discovery)
    lost = [f"{pack_id}: set osquery's option pack_delimiter to {PACK_DELIMITER!r}, or its answers are not known here"]
    if pack.targets is not None:
        exported |= {"version": pack.targets.osquery} if pack.targets.osquery else {}
        exported |= {"shard": pack.targets.percentage} if pack.targets.percentage else {}
        if pack.targets.tags:
            lost.append(f"{pack_id}: targets: tags: is not in the export; osquery knows no tags")
    return orjson.dumps(exported, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n", lost
