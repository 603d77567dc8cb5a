"""The rows that decide a verdict, for the devices of one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.catalog.catalog import LoadedControl
from server.catalog.lists import ReferenceList
from server.evaluate.language import RuleError
from server.evaluate.rules import compile_rule
from server.evaluate.statements import evidence
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.tables import QueryTable

ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row; ``decides`` where the rule reads its column."""

    column: str
    value: object
    decides: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """The deciding rows of a device, the first few of them."""

    query: str
    rows: Sequence[Sequence[Cell]]
    more: bool


@dataclass(frozen=True, slots=True)
class _Judge:
    query: str
    statement: str
    columns: Sequence[str]
    read: frozenset[str]


def _judge(
    loaded: LoadedControl,
    platform: str,
    status: str,
    day: Day,
    tables: Mapping[str, QueryTable],
    lists: Mapping[str, ReferenceList],
) -> _Judge | None:
    platform_rule = loaded.control.rule(platform)
    table = tables.get(platform_rule.query) if platform_rule else None
    if platform_rule is None or table is None:
        return None
    kinds = {column.sql_name: column.kind for column in table.columns}
    try:
        rule = compile_rule(platform_rule, kinds, lists, day)
    except RuleError:
        return None  # the table has changed below a control that is no longer judged
    statement = f"{evidence(table, rule, status)} LIMIT {ROWS_SHOWN + 1}"
    return _Judge(platform_rule.query, statement, [column.sql_name for column in table.columns], rule.deciding)


async def find_evidence(
    tx: Transaction,
    loaded: LoadedControl,
    status: str,
    devices: Sequence[tuple[int, str]],
    day: Day,
    tables: Mapping[str, QueryTable],
    lists: Mapping[str, ReferenceList],
) -> dict[int, Evidence]:
    """The deciding rows of each device (number and platform) as of the end of a day: one look-up a device."""
    platforms = {platform for _, platform in devices}
    judges = {platform: _judge(loaded, platform, status, day, tables, lists) for platform in platforms}
    found: dict[int, Evidence] = {}
    for device_no, platform in devices:
        judge = judges[platform]
        if judge is not None:
            rows = await tx.rows(judge.statement, (device_no, day.ends_at, day.ends_at))
            shown = [_cells(judge, row) for row in rows[:ROWS_SHOWN]]
            found[device_no] = Evidence(judge.query, shown, len(rows) > ROWS_SHOWN)
    return found


def _cells(judge: _Judge, row: tuple[Any, ...]) -> list[Cell]:
    """A row's values, those the rule reads first; empty ones only where the rule reads them."""
    cells = [Cell(name, value, name in judge.read) for name, value in zip(judge.columns, row, strict=True)]
    return sorted((cell for cell in cells if cell.decides or cell.value not in (None, "")), key=lambda c: not c.decides)
