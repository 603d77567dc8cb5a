"""Asking single devices: what a control's rule on a platform says of them, and the rows that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.catalog.catalog import LoadedControl
from server.catalog.controls import PlatformRule
from server.catalog.lists import ReferenceList
from server.evaluate.aggregate_statements import ONE_DEVICE, codes, evidence_of, shapes_of
from server.evaluate.aggregates import Aggregate, Asked, compile_aggregate, compile_evidence
from server.evaluate.evidence import ROWS_SHOWN, Cell, DecidingRow, Evidence, Reader, lookups_of
from server.evaluate.language import RuleError
from server.evaluate.rules import compile_rule
from server.evaluate.verdicts import judge_code
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.tables import QueryTable

_ONE = "SELECT CAST(? AS BIGINT) AS device_no, CAST(? AS TEXT) AS until_at"


@dataclass(frozen=True, slots=True)
class SeveralReader:
    """A rule of several queries as it was on a day, ready to be asked about single devices."""

    tables: tuple[QueryTable, ...]
    aggregate: Aggregate
    shown: Asked

    async def rows(
        self, tx: Transaction, _status: str, device_no: int, before: str, limit: int = ROWS_SHOWN, offset: int = 0
    ) -> Evidence:
        """What the rule's evidence gives, as things were just before an instant; the same whatever the status is."""
        asked = evidence_of(self.shown)
        found = await tx.rows(asked, (device_no, before, limit, offset))
        first = found or (await tx.rows(asked, (device_no, before, 1, 0)) if offset else [])
        rows = [
            DecidingRow(
                [Cell(name, value, True) for name, value in zip(self.shown.columns, row, strict=False)], "", None, {}
            )
            for row in found
        ]
        return Evidence(", ".join(self.aggregate.queries), int(first[0][-1]) if first else 0, offset, rows)

    async def outcome(self, tx: Transaction, device_no: int, before: str) -> tuple[str, str | None]:
        """What the rule said of a device just before an instant: status and reason."""
        row = await tx.row(codes(self.aggregate, _ONE), (device_no, before))
        assert row is not None
        return judge_code(int(row[1]), self.aggregate.empty)


def reader(
    loaded: LoadedControl,
    platform: str,
    day: Day,
    tables: Mapping[str, QueryTable],
    lists: Mapping[str, ReferenceList],
) -> Reader | SeveralReader | None:
    """What asks for the deciding rows; None where the platform has no rule, or its table changed below the rule."""
    rule = loaded.control.rule(platform)
    if rule is None or any(name not in tables for name in rule.queries):
        return None
    try:
        return compile_reader(rule, day, tables, lists)
    except RuleError:
        return None


def compile_reader(
    rule: PlatformRule, day: Day, tables: Mapping[str, QueryTable], lists: Mapping[str, ReferenceList]
) -> Reader | SeveralReader:
    """What asks for the deciding rows by a rule, of which all queries have tables. Raises ``RuleError``."""
    if rule.sql is not None:
        own = tuple(tables[name] for name in rule.queries)
        shapes = shapes_of({table.query: table for table in own})
        return SeveralReader(
            own,
            compile_aggregate(rule, shapes, lists, day),
            compile_evidence(rule, shapes, lists, day, ONE_DEVICE),
        )
    table = tables[rule.query]
    kinds = {column.sql_name: column.kind for column in table.columns}
    compiled = compile_rule(rule, kinds, lists, day)
    return Reader(rule.query, table, compiled, lookups_of(rule, kinds, lists, day))


async def find_evidence(
    tx: Transaction,
    loaded: LoadedControl,
    status: str,
    devices: Sequence[tuple[int, str]],
    day: Day,
    tables: Mapping[str, QueryTable],
    lists: Mapping[str, ReferenceList],
) -> dict[int, Evidence]:
    """The first deciding rows of each device (number and platform) as of the end of a day: one look-up a device."""
    readers = {platform: reader(loaded, platform, day, tables, lists) for platform in {one for _, one in devices}}
    found: dict[int, Evidence] = {}
    for device_no, platform in devices:
        if (asked := readers[platform]) is not None:
            found[device_no] = await asked.rows(tx, status, device_no, day.ends_at)
    return found
