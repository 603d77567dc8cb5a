"""The config osquery is served: one body per platform, the same bytes until a pack changes."""

from __future__ import annotations

from typing import Any

import orjson

from server.catalog.catalog import Catalog
from server.catalog.problems import Problem
from server.catalog.queries import Query
from server.normalize.machines import SERIAL_DECORATION, UUID_DECORATION
from server.normalize.names import PACK_DELIMITER, scheduled_name

CONFIG_BYTES = 1024 * 1024
"""osquery up to 5.23 refuses a larger config."""

OPTIONS = {
    # One line is one run, and an empty answer is said: without them "nothing" could mean anything.
    "logger_event_type": False,
    "logger_snapshot_event_type": False,
    # A longer line is dropped by osquery for good; a software inventory passes the default of 1 MiB.
    "logger_tls_max_linesize": 8 * 1024 * 1024,
    "logger_tls_compress": True,
    # The default of an hour keeps a device silent long after the server is back.
    "logger_tls_backoff_max": 300,
    "logger_tls_period": 10,
    "distributed_interval": 60,
    "pack_delimiter": PACK_DELIMITER,
}


def _entry(query: Query, interval: int, judged: bool) -> dict[str, object]:
    entry: dict[str, object] = {"query": query.sql, "interval": interval}
    entry |= {"snapshot": True} if query.mode != "events" else {"removed": False}
    return entry | {"startup_priority": 1} if judged else entry


def config_body(catalog: Catalog, platform: str) -> bytes:
    """The config of a device of ``platform``; an unknown platform is asked nothing.

    Queries of controls carry startup_priority: a laptop that is awake for minutes a day still answers them.
    """
    judged = catalog.judged_queries(platform)
    packs: dict[str, dict[str, Any]] = {}
    for name, places in catalog.scheduled(platform).items():
        query = catalog.queries[name, platform]
        for pack_id, interval in places:
            pack = packs.setdefault(pack_id, {"queries": {}})
            if catalog.packs[pack_id].discovery:
                pack["discovery"] = catalog.packs[pack_id].discovery
            pack["queries"][scheduled_name(name, query.version)] = _entry(query, interval, name in judged)
    decorators = {
        "load": [f"SELECT uuid AS {UUID_DECORATION}, hardware_serial AS {SERIAL_DECORATION} FROM system_info"]
    }
    config = {"options": OPTIONS, "decorators": decorators, "packs": packs}
    return orjson.dumps(config, option=orjson.OPT_SORT_KEYS)


def check_size(catalog: Catalog, platform: str, body: bytes) -> list[Problem]:
    """A config that osquery would refuse, with the queries that make it large."""
    if len(body) <= CONFIG_BYTES:
        return []
    sizes = {name: len(catalog.queries[name, platform].sql.encode()) for name in catalog.scheduled(platform)}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    named = ", ".join(f"{name} ({sizes[name]:,})" for name in largest)
    what = f"the config for {platform} has {len(body):,} bytes, and osquery takes {CONFIG_BYTES:,}"
    first = catalog.queries[largest[0], platform] if largest else None
    file, line = (first.file, first.text.first_line) if first else ("packs", 1)
    return [Problem(file, line, what, f"the largest queries: {named}")]
