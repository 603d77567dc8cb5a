"""The config osquery is served: one body per platform and set of packs, the same bytes until a pack changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import orjson

from server.catalog.asked import Asked, asked
from server.catalog.catalog import Catalog
from server.catalog.problems import Problem
from server.catalog.queries import Query
from server.catalog.schema import PLATFORMS
from server.catalog.targets import TargetedDevice
from server.catalog.told import told_config
from server.normalize.machines import SERIAL_DECORATION, UUID_DECORATION
from server.normalize.names import PACK_DELIMITER, scheduled_name
from server.wire.collector_messages import Hashed

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
            targets = catalog.packs[pack_id].targets
            if targets and targets.osquery:
                pack["version"] = targets.osquery  # osquery knows its own version at once, we by its next answer
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


def config_hash(body: bytes) -> str:
    """What ``osquery_info.config_hash`` is on a device that runs a config.

    osquery writes the JSON anew, without spaces, and hashes the hash; ours is such JSON to begin with.
    """
    return hashlib.sha1(hashlib.sha1(body).hexdigest().encode()).hexdigest()


@dataclass(frozen=True)
class Config:
    """A config's bytes, the hash by which a device tells that it runs them, and what it asks.

    ``catalog`` are the packs that it is made of, for a ``platform``.
    """

    body: bytes
    hash: str
    asked: Mapping[str, Asked]
    """The queries in it, by name."""
    catalog: Catalog = field(repr=False, compare=False)
    platform: str

    @cached_property
    def told(self) -> Hashed:
        """The config as a collector is told of it."""
        return told_config(self.body, self.catalog, self.platform)


class Addressee(Protocol):
    """What of a device decides its config."""

    @property
    def device_id(self) -> str:
        """Its id."""

    @property
    def platform(self) -> str:
        """darwin, linux or windows; anything else is asked nothing."""

    @property
    def osquery_version(self) -> str:
        """Empty where it is not known."""

    @property
    def tags(self) -> frozenset[str]:
        """Its tags."""


class Configs:
    """The configs of a catalog, each made when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._plain = frozenset(name for name, pack in catalog.packs.items() if pack.targets is None)
        self._targeted = {name: pack for name, pack in catalog.packs.items() if pack.targets is not None}
        self._configs: dict[tuple[str, frozenset[str]], Config] = {}
        self._known: dict[str, tuple[Addressee, Config]] = {}

    @property
    def targeted(self) -> bool:
        """Whether more than the platform of a device decides its config."""
        return bool(self._targeted)

    def of(self, device: Addressee) -> Config:
        """The config of a device, by its platform and the packs that reach it."""
        if not self._targeted:
            return self._config(device.platform, frozenset())
        known = self._known.get(device.device_id)
        if known is not None and known[0] is device:
            return known[1]
        config = self._config(device.platform, self.reaching(device))
        self._known[device.device_id] = (device, config)
        return config

    def reaching(self, device: Addressee) -> frozenset[str]:
        """The packs with targets that reach a device."""
        if not self._targeted:
            return frozenset()
        of = TargetedDevice(device.device_id, device.platform, device.osquery_version, device.tags)
        return frozenset(name for name, pack in self._targeted.items() if pack.reaches(name, of))

    def _config(self, platform: str, targeted: frozenset[str]) -> Config:
        at = (platform if platform in PLATFORMS else "", targeted)
        config = self._configs.get(at)
        if config is None:
            catalog = _narrowed(self._catalog, self._plain | targeted)
            body = config_body(catalog, at[0])
            config = self._configs[at] = Config(body, config_hash(body), asked(catalog, at[0]), catalog, at[0])
        return config


def _narrowed(catalog: Catalog, packs: Set[str]) -> Catalog:
    return replace(catalog, packs={name: pack for name, pack in catalog.packs.items() if name in packs})


def check_configs(catalog: Catalog) -> list[Problem]:
    """A problem for every platform whose config, with all packs in it, is larger than osquery takes."""
    bodies = {platform: config_body(catalog, platform) for platform in PLATFORMS}
    return [problem for platform, body in bodies.items() for problem in check_size(catalog, platform, body)]
