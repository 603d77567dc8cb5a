"""The config a device was served, as osquery reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.normalize.names import parse_scheduled_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledQuery:
    """One query of the schedule. ``name`` is what osquery calls it, ``query`` the plain name in it."""

    name: str
    query: str
    sql: str
    interval: int
    """Seconds."""
    snapshot: bool
    removed: bool
    at_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """osquery's options that matter here, with osquery's own defaults. Times are in seconds."""

    logger_tls_period: int = 4
    logger_tls_compress: bool = False
    logger_tls_max_lines: int = 1024
    logger_tls_max_linesize: int = 1024 * 1024
    logger_tls_backoff_max: int = 3600
    distributed_interval: int = 60
    config_refresh: int = 300
    pack_delimiter: str = "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config with its packs chosen; queries that run at start come first, then by name."""

    settings: Settings
    queries: tuple[ScheduledQuery, ...]
    decorators: tuple[str, ...]
    config_hash: str

    def facts(self) -> tuple[tuple[str, str, str, int], ...]:
        """The schedule as ``osquery_schedule`` tells it: scheduled name, plain name, SQL and interval."""
        return tuple((query.name, query.query, query.sql, query.interval) for query in self.queries)


def read_config(raw: bytes, active: Callable[[str], bool], without: frozenset[str] = frozenset()) -> Config:
    """Read a config's bytes.

    ``active`` runs a discovery query and says whether it had rows; ``without`` names queries to leave out. Raises
    ``ValueError`` for what is no JSON object.
    """
    value = orjson.loads(raw)
    if not isinstance(value, dict):
        raise ValueError("the config is not a JSON object")
    known = Settings.__dataclass_fields__
    settings = Settings(**{name: option for name, option in value.get("options", {}).items() if name in known})
    found = [query for query in _queries(value, settings, active) if query.query not in without]
    return Config(
        settings=settings,
        queries=tuple(sorted(found, key=lambda query: (not query.at_start, query.name))),
        decorators=tuple(value.get("decorators", {}).get("load", ()))
        + tuple(value.get("decorators", {}).get("always", ())),
        config_hash=_sha1(_sha1(raw).encode() + b"".join(sorted(name.encode() for name in without))),
    )


def _queries(value: Mapping[str, Any], settings: Settings, active: Callable[[str], bool]) -> Iterator[ScheduledQuery]:
    for name, entry in value.get("schedule", {}).items():
        yield _query(name, entry)
    delimiter = settings.pack_delimiter
    for pack, content in value.get("packs", {}).items():
        if all(active(sql) for sql in content.get("discovery", ())):
            for name, entry in content.get("queries", {}).items():
                yield _query(f"pack{delimiter}{pack}{delimiter}{name}", entry)


def _query(name: str, entry: Mapping[str, Any]) -> ScheduledQuery:
    return ScheduledQuery(
        name=name,
        query=parse_scheduled_name(name).query,
        sql=entry["query"],
        interval=int(entry.get("interval", 3600)),
        snapshot=bool(entry.get("snapshot", False)),
        removed=bool(entry.get("removed", True)),
        at_start="startup_priority" in entry,
    )


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
