"""Answers of devices to SQL, made once for all devices that are alike in what the SQL reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.catalog.schema import OsquerySchema
from server.simulate import areas
from server.simulate.facts import FACTS
from server.simulate.tables import PlatformDatabase, QueryFailedError, TableFailedError

__all__ = ["Answer", "AnswerBook"]
_FILLED_BY = areas

ANSWERS_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query came to: its rows, also as JSON with sorted keys, or osquery's message where it failed."""

    rows: tuple[Mapping[str, str], ...]
    json: bytes
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a statement reads on a platform, or why it cannot run there."""

    tables: frozenset[str]
    needs: tuple[str, ...]
    failure: str | None


class AnswerBook:
    """Every platform's database with the answers given so far. One a process; not for several threads."""

    def __init__(self, schema: OsquerySchema) -> None:
        self._schema = schema
        self._databases: dict[str, PlatformDatabase] = {}
        self._plans: dict[tuple[str, str], _Plan] = {}
        self._answers: dict[tuple[object, ...], Answer] = {}
        self.made = 0
        """Answers that SQLite had to work out, because no device alike had given them before."""

    def answer(self, platform: str, sql: str, aspects: Mapping[str, Any]) -> Answer:
        """The answer of a device with these facts."""
        plan = self._plan(platform, sql)
        if plan.failure is not None:
            return Answer((), b"[]", plan.failure)
        unreadable = plan.tables & aspects["broken"]
        key = (platform, sql, unreadable, *(aspects[need] for need in plan.needs))
        known = self._answers.get(key)
        if known is None:
            if len(self._answers) >= ANSWERS_KEPT:
                self._answers.clear()
            known = self._answers[key] = self._ask(platform, sql, unreadable, aspects)
        return known

    def _ask(self, platform: str, sql: str, unreadable: frozenset[str], aspects: Mapping[str, Any]) -> Answer:
        self.made += 1

        def rows(table: str) -> list[dict[str, object]]:
            if table in unreadable:
                raise TableFailedError(f"vtable constructor failed: {table}")
            return FACTS.rows(platform, table, aspects)

        try:
            found = self._database(platform).ask(sql, rows)
        except QueryFailedError as error:
            return Answer((), b"[]", str(error))
        return Answer(tuple(found), orjson.dumps(found, option=orjson.OPT_SORT_KEYS))

    def _plan(self, platform: str, sql: str) -> _Plan:
        plan = self._plans.get((platform, sql))
        if plan is None:
            try:
                tables = self._database(platform).tables_of(sql)
                plan = _Plan(tables, FACTS.needs(platform, sorted(tables)), None)
            except QueryFailedError as error:
                plan = _Plan(frozenset(), (), str(error))
            self._plans[platform, sql] = plan
        return plan

    def _database(self, platform: str) -> PlatformDatabase:
        if platform not in self._databases:
            self._databases[platform] = PlatformDatabase(self._schema, platform)
        return self._databases[platform]
