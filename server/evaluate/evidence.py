"""The rows that decide a verdict, and how the rows of one device stand to a rule at any instant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from server.catalog.controls import PlatformRule
from server.catalog.lists import ReferenceList
from server.evaluate.functions import LOOKUPS, call
from server.evaluate.language import BOOLEAN, Writing, compile_part, parse, shown
from server.evaluate.rules import Rule
from server.evaluate.statements import evidence, with_tables
from server.evaluate.verdicts import Counts, judge_rows
from server.normalize.calendar import Day
from server.normalize.times import iso, unix
from server.store.driver import Transaction
from server.store.tables import QueryTable

ROWS_SHOWN = 5
_BESIDE = ("COUNT(*) OVER ()", "r.valid_from", "r.valid_to", "r._misfit")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row; ``decides`` where the rule reads its column."""

    column: str
    value: object
    decides: bool


@dataclass(frozen=True, slots=True)
class DecidingRow:
    """A row with the interval in which it was true (``valid_to`` None: it still is), as ISO-8601 text in UTC.

    ``looked_up`` is what the rule found in lists for this row, by the look-up as the rule writes it. A row that is made
    of the rows of several queries has no interval of its own: ``valid_from`` is empty.
    """

    cells: Sequence[Cell]
    valid_from: str
    valid_to: str | None
    looked_up: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The deciding rows of a device: ``count`` of them, of which some from ``offset`` on are here.

    ``query`` is whose rows they are; with a comma between them, the queries of whose rows they are made.
    """

    query: str
    count: int
    offset: int
    rows: Sequence[DecidingRow]

    @property
    def queries(self) -> Sequence[str]:
        """Whose rows they are, or are made of."""
        return self.query.split(", ")

    @property
    def more(self) -> bool:
        """Whether there are others."""
        return self.count > len(self.rows)


@dataclass(frozen=True, slots=True)
class Reader:
    """A control's rule on one platform as it was on a day, ready to be asked about single devices."""

    query: str
    table: QueryTable
    rule: Rule
    lookups: Mapping[str, str]

    @property
    def tables(self) -> Sequence[QueryTable]:
        """The tables of its queries."""
        return (self.table,)

    async def rows(
        self, tx: Transaction, status: str, device_no: int, before: str, limit: int = ROWS_SHOWN, offset: int = 0
    ) -> Evidence:
        """The rows of a device that decide for ``status``, as they were just before an instant."""
        asked = f"{evidence(self.table, self.rule, status, *_BESIDE, *self.lookups.values())} LIMIT ? OFFSET ?"
        found = await tx.rows(asked, (device_no, before, before, limit, offset))
        count = int(found[0][len(self.table.columns)]) if found else 0
        if not found and offset:
            first = await tx.rows(asked, (device_no, before, before, 1, 0))
            count = int(first[0][len(self.table.columns)]) if first else 0
        return Evidence(self.query, count, offset, [self._row(row) for row in found])

    async def counts(self, tx: Transaction, device_no: int, before: str) -> Counts:
        """How the rows of a device stood to the rule just before an instant."""
        rule = self.rule
        decided = f"NOT {rule.undecided} AND"
        found = await tx.row(
            f"{with_tables(*rule.lists)}SELECT COUNT(*),"
            f" COALESCE(SUM(CASE WHEN {decided} {rule.holds} THEN 1 ELSE 0 END), 0),"
            f" COALESCE(SUM(CASE WHEN {rule.undecided} THEN 1 ELSE 0 END), 0),"
            f" COALESCE(SUM(CASE WHEN {decided} NOT ({rule.applies}) THEN 1 ELSE 0 END), 0)"
            f" FROM {self.table.rows_name} r{rule.joins} WHERE r.device_no = ? AND r.muster_superseded_seq IS NULL"
            " AND r.valid_from < ? AND (r.valid_to IS NULL OR r.valid_to >= ?)",
            (device_no, before, before),
        )
        return Counts.of(*(int(number) for number in found)) if found else Counts(0, 0, 0, 0)

    async def outcome(self, tx: Transaction, device_no: int, before: str) -> tuple[str, str | None]:
        """What the rows of a device came to just before an instant: status and reason."""
        return judge_rows(await self.counts(tx, device_no, before), self.rule.quantifier, self.rule.empty)

    def _row(self, row: tuple[Any, ...]) -> DecidingRow:
        """A row's values, those the rule reads first; empty ones only where the rule reads them."""
        names = [column.sql_name for column in self.table.columns]
        values, (_, valid_from, valid_to, misfit, *looked_up) = row[: len(names)], row[len(names) :]
        sent = _misfits(misfit)
        cells = [
            Cell(name, sent.get(name, value), name in self.rule.deciding)
            for name, value in zip(names, values, strict=True)
        ]
        kept = [cell for cell in cells if cell.decides or cell.value not in (None, "")]
        found = dict(zip(self.lookups, looked_up, strict=True))
        return DecidingRow(sorted(kept, key=lambda cell: not cell.decides), valid_from, valid_to, found)


def after(at: str) -> str:
    """The instant before which what was said at ``at`` is known: times are whole seconds."""
    return iso(unix(at) + 1)


def lookups_of(
    rule: PlatformRule, kinds: Mapping[str, str], lists: Mapping[str, ReferenceList], day: Day
) -> dict[str, str]:
    """SQL for what a rule finds in lists for a row, by the look-up as it is written."""
    found: dict[str, str] = {}
    for text in rule.conditions.values():
        for node in parse(text).find_all(exp.Anonymous):
            if str(node.this).lower() not in LOOKUPS:
                continue
            part = compile_part(node, Writing({name.lower(): kind for name, kind in kinds.items()}, lists, day, call))
            yes_or_no = f"CASE WHEN {part.sql} THEN 'yes' WHEN NOT {part.sql} THEN 'no' END"
            found.setdefault(shown(node), yes_or_no if part.kind == BOOLEAN else part.sql)
    return found


def _misfits(text: str | None) -> Mapping[str, object]:
    """What did not fit its column's type, as it came."""
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
