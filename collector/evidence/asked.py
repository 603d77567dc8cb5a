"""What the config asks for as evidence, and what osqueryd's schedule has done about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PACK = re.compile(r"pack(?P<delimiter>[^A-Za-z0-9]).*?(?P=delimiter)(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that controls are judged by."""

    name: str
    """The scheduled name, without its pack."""
    sql: str
    discovery: tuple[str, ...] = ()
    """Statements of its pack: it runs if each has rows, as osquery does it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What ``osquery_schedule`` says, by scheduled name without pack."""

    ran: Mapping[str, int]
    """Unix time of the last execution; a query that never ran since osqueryd began is not there."""
    denylisted: frozenset[str]
    scheduled: frozenset[str] = frozenset()
    """Every query in it."""


def read_queries(note: bytes | None) -> list[Query]:
    """The judged queries of the config as it was kept; none where it cannot be read."""
    try:
        told = json.loads(note or b"{}").get("queries") or []
        return [query for one in told if (query := _query(one)) is not None]
    except (ValueError, TypeError, AttributeError):
        return []


def _query(told: object) -> Query | None:
    if not isinstance(told, dict) or told.get("judged") is not True or told.get("mode") == "events":
        return None
    name, sql, discovery = told.get("name"), told.get("sql"), told.get("discovery") or []
    if not isinstance(name, str) or not isinstance(sql, str) or not name or not isinstance(discovery, list):
        return None
    return Query(name, sql, tuple(str(one) for one in discovery))


def read_schedule(rows: Iterable[Mapping[str, str]]) -> Schedule:
    """Read the rows of ``osquery_schedule``. Of a query in several packs the last execution counts.

    Denylisted is one that is so in any of them: its statement is the same.
    """
    ran: dict[str, int] = {}
    denylisted, scheduled = set(), set()
    for row in rows:
        name = without_pack(row.get("name", ""))
        scheduled.add(name)
        if row.get("denylisted", "0") not in ("0", ""):
            denylisted.add(name)
        if _number(row.get("executions")) > 0:
            ran[name] = max(ran.get(name, 0), _number(row.get("last_executed")))
    return Schedule(ran, frozenset(denylisted), frozenset(scheduled))


def without_pack(name: str) -> str:
    """``pack/inventory/users@0f3a55d1c2`` as ``users@0f3a55d1c2``; osquery's own delimiter is ``_``."""
    found = _PACK.fullmatch(name)
    return found["name"] if found else name


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
