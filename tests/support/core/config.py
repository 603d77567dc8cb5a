"""The config that core runs: what its sources say, taken together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.core.wire import Answer

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A query on the schedule."""

    name: str
    sql: str
    interval: int
    snapshot: bool


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the stand-in heeds."""

    schedule: dict[str, Scheduled] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    load_decorators: tuple[str, ...] = ()
    always_decorators: tuple[str, ...] = ()
    packs: dict[str, bool] = field(default_factory=dict)
    """By name: whether its discovery queries found something."""
    hash: str = ""


class Configurer:
    """Reads the config from a file or from a plugin of an extension."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._sources: dict[str, str] = {}

    def read(self) -> Config | None:
        """The config as it is now; None if its plugin failed, and the old one stays."""
        plugin = self._daemon.flags.config_plugin
        if plugin == "filesystem":
            path = self._daemon.flags.path("config_path")
            if path is None or not path.exists():
                return Config()
            sources = {str(path): path.read_text(encoding="utf-8")}
        else:
            answer = self._daemon.extensions.call("config", plugin, {"action": "genConfig"})
            if answer.code != 0:
                return None
            # Sources that are left out stay as they were.
            sources = {name: text for row in answer.rows for name, text in row.items()}
        self._sources.update(sources)
        return self._merged()

    def update(self, source: str, text: str) -> Answer:
        """What an extension pushes: applied at once; a text that is no JSON is said, and loses its queries."""
        self._sources[source] = text
        self._daemon.config = self._merged()
        try:
            json.loads(text)
        except ValueError:
            return Answer(1, "Error parsing the config JSON", [])
        return Answer(0, "OK", [])

    def sources(self) -> list[dict[str, str]]:
        return [dict(self._sources)]

    def _merged(self) -> Config:
        schedule: dict[str, Scheduled] = {}
        options: dict[str, Any] = {}
        decorators: dict[str, list[str]] = {"load": [], "always": []}
        packs: dict[str, bool] = {}
        for name, text in sorted(self._sources.items()):
            try:
                value = json.loads(text)
            except ValueError:
                self._daemon.say(2, "config.cpp", 900, f"Error parsing the config source {name}")
                continue
            if not isinstance(value, dict):
                continue
            options.update(value.get("options", {}))
            for when, kept in decorators.items():
                kept.extend(value.get("decorators", {}).get(when, []))
            for query, body in value.get("schedule", {}).items():
                schedule[query] = _scheduled(query, body)
            for pack, body in value.get("packs", {}).items():
                packs[pack] = self._add_pack(pack, body, schedule, str(options.get("pack_delimiter", "_")))
        digest = "".join(hashlib.sha1(text.encode()).hexdigest() for _, text in sorted(self._sources.items()))
        return Config(
            schedule,
            options,
            tuple(decorators["load"]),
            tuple(decorators["always"]),
            packs,
            hashlib.sha1(digest.encode()).hexdigest(),
        )

    def _add_pack(self, name: str, body: Any, schedule: dict[str, Scheduled], delimiter: str) -> bool:
        if isinstance(body, str):
            request = {"action": "genPack", "name": name, "value": body}
            answer = self._daemon.extensions.call("config", self._daemon.flags.config_plugin, request)
            if answer.code != 0 or not answer.rows:
                return False
            body = json.loads(next(iter(answer.rows[0].values())))
        if body.get("platform", "linux") not in ("linux", "posix", "all", "any", ""):
            return False
        for discovery in body.get("discovery", []):
            if not self._daemon.tables.answer(discovery).rows:
                return False
        for query, inner in body.get("queries", {}).items():
            full = f"pack{delimiter}{name}{delimiter}{query}"
            schedule[full] = _scheduled(full, inner)
        return True


def _scheduled(name: str, body: dict[str, Any]) -> Scheduled:
    return Scheduled(name, body["query"], int(body.get("interval", 3600)), bool(body.get("snapshot", False)))
