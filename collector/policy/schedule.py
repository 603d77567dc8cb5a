"""The config as the policy lets it through: for where the collector, not osqueryd itself, fetches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.policy.policy import Policy

DELIMITER = "_"
"""Between pack and query in a scheduled name, unless the config's options say otherwise."""


@dataclass(frozen=True, slots=True)
class Permitted:
    """A config without what the policy refuses, and what that was: scheduled names, or keys, with the reason."""

    text: str
    refused: dict[str, str] = field(default_factory=dict)


def permitted_config(policy: Policy, text: str) -> Permitted:
    """Take out of a config every statement that may not run; the text is unchanged where there is none.

    Statements stand in the schedule, in packs and their discovery, in decorators, in views, and where file paths are
    asked by SQL. Tables that a config builds of other programs' databases read what no rule can name, so they are left
    out while any table or column is denied. Raises ``ValueError`` if the text is no config.
    """
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("a config is a JSON object")
    if not policy.problem and not policy.rules.reads:
        return Permitted(text)
    sieve = _Sieve(policy)
    whole = sieve.config(config)
    return Permitted(json.dumps(whole, separators=(",", ":")) if sieve.refused else text, sieve.refused)


class _Sieve:
    """Goes through a config once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.refused: dict[str, str] = {}

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        whole = dict(config)
        options = config.get("options")
        delimiter = str(options.get("pack_delimiter", DELIMITER)) if isinstance(options, dict) else DELIMITER
        if "schedule" in whole:
            whole["schedule"] = self._queries(whole["schedule"], "")
        if "packs" in whole:
            whole["packs"] = self._packs(whole["packs"], delimiter)
        if "decorators" in whole:
            whole["decorators"] = self._decorators(whole["decorators"])
        if "views" in whole:
            whole["views"] = self._views(whole["views"])
        if "file_paths_query" in whole:
            whole["file_paths_query"] = self._lists(whole["file_paths_query"], "file_paths_query")
        if whole.pop("auto_table_construction", None):
            self.refused["auto_table_construction"] = "it cannot be told what tables made by the config read"
        return whole

    def _queries(self, queries: object, before: str) -> dict[str, Any]:
        if not isinstance(queries, dict):
            return {}
        kept = {}
        for name, query in queries.items():
            sql = query.get("query") if isinstance(query, dict) else None
            if self._may(sql, f"{before}{name}"):
                kept[name] = query
        return kept

    def _packs(self, packs: object, delimiter: str) -> dict[str, Any]:
        if not isinstance(packs, dict):
            return {}
        kept = {}
        for name, pack in packs.items():
            before = f"pack{delimiter}{name}{delimiter}"
            if not isinstance(pack, dict):
                self.refused[before + "*"] = "it cannot be told what the pack reads, since the config does not hold it"
                continue
            reason = self._discovery(pack.get("discovery", []))
            if reason:
                names = pack.get("queries")
                for query in names if isinstance(names, dict) else ():
                    self.refused[f"{before}{query}"] = f"its pack's discovery: {reason}"
                continue
            kept[name] = {**pack, "queries": self._queries(pack.get("queries"), before)}
        return kept

    def _discovery(self, statements: object) -> str | None:
        if not isinstance(statements, list):
            return "it is no list of statements"
        return next(filter(None, (self._reason(sql) for sql in statements)), None)

    def _decorators(self, decorators: object) -> dict[str, Any]:
        if not isinstance(decorators, dict):
            return {}
        kept: dict[str, Any] = {}
        for when, statements in decorators.items():
            name = f"decorators.{when}"
            if isinstance(statements, dict):
                kept[when] = self._lists(statements, name)
            else:
                kept[when] = self._list(statements, name)
        return kept

    def _views(self, views: object) -> dict[str, Any]:
        if not isinstance(views, dict):
            return {}
        return {name: sql for name, sql in views.items() if self._may(sql, f"views.{name}")}

    def _lists(self, lists: object, name: str) -> dict[str, list[Any]]:
        if not isinstance(lists, dict):
            return {}
        return {key: self._list(statements, f"{name}.{key}") for key, statements in lists.items()}

    def _list(self, statements: object, name: str) -> list[Any]:
        if not isinstance(statements, list):
            return []
        return [sql for number, sql in enumerate(statements) if self._may(sql, f"{name}[{number}]")]

    def _may(self, sql: object, name: str) -> bool:
        reason = self._reason(sql)
        if reason:
            self.refused[name] = reason
        return reason is None

    def _reason(self, sql: object) -> str | None:
        if not isinstance(sql, str):
            return "it has no statement"
        return self._policy.check(sql, live=False)
