"""The text of the policy: what it may say, and what it says."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

KEYS = ("deny_live", "deny_tables", "deny_columns")
ALIASES = (
    ("chrome_extensions", "default_locale", "locale"),
    ("disk_events", "device", "bsd_name"),
    ("osquery_schedule", "denylisted", "blacklisted"),
    ("process_events", "env", "environment"),
    ("process_events", "env_count", "environment_count"),
    ("process_events", "env_size", "environment_size"),
    ("process_events", "atime", "access_time"),
    ("process_events", "mtime", "modify_time"),
    ("process_events", "ctime", "change_time"),
    ("process_events", "btime", "create_time"),
    ("time", "datetime", "date_time"),
)
"""Columns of osquery that have two names; it does not tell which are one."""


class RulesError(ValueError):
    """The text is no policy; the message says what is wrong with it and what is wanted."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is denied. Names are in lower case; ``*`` and ``?`` stand for what they do in file names."""

    deny_live: bool = False
    tables: frozenset[str] = frozenset()
    columns: frozenset[tuple[str, str]] = frozenset()
    """Pairs of a table and a column."""

    @property
    def empty(self) -> bool:
        """Whether nothing at all is denied."""
        return not (self.deny_live or self.reads)

    @property
    def reads(self) -> bool:
        """Whether any table or column is denied, so that it matters what a statement reads."""
        return bool(self.tables or self.columns)

    def denies_table(self, table: str) -> str | None:
        """The entry of ``deny_tables`` that covers a table (in lower case), or None."""
        return next((entry for entry in sorted(self.tables) if fnmatchcase(table, entry)), None)

    def denies_column(self, table: str, column: str) -> str | None:
        """The entry of ``deny_columns`` that covers a column (both names in lower case), or None."""
        names = {column, *_other_names(table, column)}
        for of_table, entry in sorted(self.columns):
            if fnmatchcase(table, of_table) and any(fnmatchcase(name, entry) for name in names):
                return f"{of_table}.{entry}"
        return None


def parse_rules(text: str) -> Rules:
    """Read the policy's TOML. Raises ``RulesError``."""
    import tomllib  # only where there is a policy: it costs a megabyte

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"it is not TOML: {error}") from error
    for key in data:
        if key not in KEYS:
            raise RulesError(f"it has an unknown key {key!r}{_likely(key)}")
    deny_live = data.get("deny_live", False)
    if not isinstance(deny_live, bool):
        raise RulesError(f"deny_live is true or false, not {deny_live!r}")
    return Rules(
        deny_live=deny_live,
        tables=frozenset(_table(entry) for entry in _texts(data, "deny_tables")),
        columns=frozenset(_column(entry) for entry in _texts(data, "deny_columns")),
    )


def _texts(data: dict[str, Any], key: str) -> Iterable[str]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise RulesError(f'{key} is a list of texts, as in {key} = ["{_EXAMPLES[key]}"]')
    return value


_EXAMPLES = {"deny_tables": "shell_history", "deny_columns": "users.directory"}


def _table(entry: str) -> str:
    name = entry.strip().lower()
    if "." in name:
        raise RulesError(f"deny_tables has {entry!r}, which has a point: a column is denied by deny_columns")
    if not name:
        raise RulesError("deny_tables has an empty name")
    return name


def _column(entry: str) -> tuple[str, str]:
    table, point, column = entry.strip().lower().partition(".")
    if not (table and point and column) or "." in column:
        raise RulesError(f"deny_columns has {entry!r}: a table, a point and a column are wanted, as in users.directory")
    return table, column


def _likely(key: str) -> str:
    near = difflib.get_close_matches(key.lower(), KEYS, n=1, cutoff=0.5)
    return f": is {near[0]} meant?" if near else f": there are {', '.join(KEYS)}"


def _other_names(table: str, column: str) -> Iterable[str]:
    for of_table, one, other in ALIASES:
        if table == of_table and column in (one, other):
            yield from (one, other)
