"""Judging by rules of several queries: the devices of a platform on a day."""

from __future__ import annotations

from collections.abc import Mapping

from server.catalog.catalog import Catalog
from server.catalog.controls import PlatformRule
from server.evaluate import statements
from server.evaluate.aggregate_statements import codes, lapses, shapes_of
from server.evaluate.aggregates import compile_aggregate
from server.normalize.calendar import Day
from server.evaluate.verdicts import NO_ROWS, PASS, Heard, Verdict, gravest, judge_code, judge_silence
from server.store.driver import Transaction
from server.store.tables import QueryTable

_ON_PLATFORM = "SELECT d.device_no FROM muster_devices d WHERE d.platform = ?"
_AT_END = "SELECT d.device_no, CAST(? AS TEXT) AS until_at FROM muster_devices d WHERE d.platform = ?"


async def judge_several(
    tx: Transaction,
    catalog: Catalog,
    tables: Mapping[str, QueryTable],
    rule: PlatformRule,
    platform: str,
    day: Day,
    fresh_from: str,
) -> dict[int, tuple[str, Verdict]]:
    """The verdict of every device of a platform, and from when on it is in scope. Raises ``RuleError``."""
    aggregate = compile_aggregate(rule, shapes_of({name: tables[name] for name in rule.queries}), catalog.lists, day)
    judged = [(tables[name], catalog.queries[name, platform].version) for name in aggregate.queries]
    scopes: dict[int, str] = {}
    silences: dict[int, list[tuple[str, str] | None]] = {}
    for table, version in judged:
        for device_no, scope, heard in await _heard(tx, table, platform, day):
            scopes[device_no] = scope
            silences.setdefault(device_no, []).append(judge_silence(heard, version, fresh_from))
    found = dict(await tx.rows(codes(aggregate, _AT_END), (day.ends_at, platform)))
    verdicts: dict[int, tuple[str, Verdict]] = {}
    for device_no, scope in scopes.items():
        said = gravest(silences[device_no]) or judge_code(found.get(device_no, NO_ROWS), aggregate.empty)
        verdicts[device_no] = scope, Verdict(said[0], said[0], 0, said[1])
    statement = lapses(aggregate, judged, _ON_PLATFORM, day.starts_at, day.ends_at)
    for (device_no,) in await tx.rows(statement, (platform,)):
        scope, verdict = verdicts.get(device_no, ("", Verdict("", "", 0, None)))
        if verdict.status == PASS:
            verdicts[device_no] = scope, verdict._replace(lapsed=1)
    return verdicts


async def _heard(tx: Transaction, table: QueryTable, platform: str, day: Day) -> list[tuple[int, str, Heard]]:
    span, name = (day.ends_at, day.starts_at, day.starts_at), table.name
    parameters = (*span, name, day.ends_at, name, name, day.ends_at, platform, day.starts_at)
    rows = await tx.rows(statements.HEARD, parameters)
    return [(device_no, scope, Heard(*heard)) for device_no, scope, *heard in rows]
