"""Judging a day: every control over the whole fleet, written as runs of days, the same however often it is done."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.schema import PLATFORMS
from server.evaluate import statements
from server.evaluate.courts import Court, controls_of, courts_of
from server.evaluate.language import RuleError
from server.evaluate.rules import Rule, compile_rule, lists_named
from server.evaluate.runs import VerdictRun, place
from server.evaluate.verdicts import (
    ERROR,
    EXEMPT,
    FAIL,
    NO_DATA,
    NOT_APPLICABLE,
    PASS,
    Counts,
    Heard,
    Verdict,
    judge_rows,
    judge_silence,
)
from server.evaluate.whole import refuse_unkept
from server.normalize.calendar import FIRST_DAY, Day
from server.normalize.times import iso, unix
from server.store.calendar import read_calendar
from server.store.days import begin_judging, close_judged
from server.store.driver import StoreError, Transaction
from server.store.exemptions import exempted
from server.store.store import Store
from server.store.tables import QueryTable

log = logging.getLogger(__name__)

ENGINE = "1"
"""Grows when the same rule and rows would be judged otherwise than before."""
GRACE_SECONDS = 3600
"""How long after its end a day stays open, for answers on their way."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging a control on a day came to: devices by status, and how many verdicts are not what they were."""

    day: str
    control: str
    totals: Mapping[str, int]
    changed: int


async def evaluate(store: Store, first: date, last: date, *, as_applied: bool = False) -> list[Judged]:
    """Judge every day from ``first`` to ``last``, in order. Raises ``StoreError`` for days that are not there yet.

    They are judged by the packs that are in force now or, ``as_applied``, by those that were at the end of each day.
    """
    calendar = await store.read(read_calendar)
    running = calendar.today(store.clock())
    if last < first:
        raise StoreError(f"The period ends on {last} before it begins on {first}.")
    if first < FIRST_DAY:
        raise StoreError(f"{first} is before {FIRST_DAY}: there were no computers' days to judge.")
    if last > running:
        raise StoreError(f"{last} is in the future: it is {running} in the fleet's zone {calendar.zone(running)}.")
    await store.read(partial(refuse_unkept, store.catalog, first, last, calendar))
    results: list[Judged] = []
    day = first
    while day <= last:
        results += await _evaluate_day(store, calendar.day(day), as_applied=as_applied)
        day += timedelta(days=1)
    return results


async def _evaluate_day(store: Store, day: Day, *, as_applied: bool) -> list[Judged]:
    closing, mark = store.clock() >= _closing_time(day), secrets.token_hex(8)
    now = store.in_force
    in_force = await store.in_force_at(day.ends_at) if as_applied else now

    async def begin(tx: Transaction) -> Day:
        stored = await _open_day(tx, day)
        if closing:
            await begin_judging(tx, day.day, mark)
        return stored

    bounds = await store.write(begin)
    # Judged on a reader's view, a control at a time, so that devices go on reporting; only what changes is written.
    courts = await store.read(lambda tx: courts_of(tx, in_force, bounds.ends_at))
    results = [await _judge_control(store, control_id, courts, bounds) for control_id in controls_of(courts)]
    if closing and store.in_force is now:  # else it is due still, and judged by what is in force now
        await store.write(lambda tx: close_judged(tx, day.day, mark))
    return results


async def _open_day(tx: Transaction, day: Day) -> Day:
    """Record a day; one that is recorded keeps the bounds it has, though the zone may have changed since."""
    await tx.run(
        "INSERT INTO muster_days (day, starts_at, ends_at, zone, state) VALUES (?, ?, ?, ?, 'open')"
        " ON CONFLICT (day) DO NOTHING",
        (day.day, day.starts_at, day.ends_at, day.zone),
    )
    stored = await tx.row("SELECT starts_at, ends_at, zone FROM muster_days WHERE day = ?", (day.day,))
    return Day(day.day, *stored) if stored else day


def _closing_time(day: Day) -> float:
    return unix(day.ends_at) + GRACE_SECONDS


async def _judge_control(store: Store, control_id: str, courts: Sequence[Court], day: Day) -> Judged:
    versions = [_version_by(court, control_id) for court in courts]
    if versions[-1] == versions[0] and courts[-1].reaches(control_id) == courts[0].reaches(control_id):
        courts, versions = [courts[0].for_all()], versions[:1]

    async def judge(tx: Transaction) -> dict[int, Verdict]:
        tables = await store.tables(tx)
        verdicts: dict[int, Verdict] = {}
        for court in courts:
            for platform in (*PLATFORMS, ""):
                verdicts |= court.own(await _judge_platform(tx, court, tables, control_id, platform, day))
        await _exempt(tx, control_id, day, verdicts)
        return verdicts

    verdicts = await store.read(judge)
    loaded = next(found for found in (court.control(control_id) for court in courts) if found)
    changed = await store.write(partial(_keep, store, loaded, versions, day.day, verdicts))
    totals: dict[str, int] = {}
    for verdict in verdicts.values():
        totals[verdict.status] = totals.get(verdict.status, 0) + 1
    return Judged(day.day, control_id, totals, changed)


def _version_by(court: Court, control_id: str) -> str:
    loaded = court.control(control_id)
    return rule_version(court.catalog, loaded) if loaded else ""


async def _keep(
    store: Store,
    loaded: LoadedControl,
    versions: Sequence[str],
    day: str,
    verdicts: Mapping[int, Verdict],
    tx: Transaction,
) -> int:
    control_no = await _control_no(tx, loaded)
    changed = await _write(tx, control_no, day, verdicts)
    canary_version = versions[-1] if versions[-1] != versions[0] else None
    await tx.run(
        "INSERT INTO muster_evaluation (control_no, day, rule_version, canary_version, evaluated_at)"
        " VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (control_no, day) DO UPDATE SET rule_version = excluded.rule_version,"
        " canary_version = excluded.canary_version, evaluated_at = excluded.evaluated_at"
        " WHERE muster_evaluation.rule_version <> excluded.rule_version"
        " OR COALESCE(muster_evaluation.canary_version, '-') <> COALESCE(excluded.canary_version, '-')",
        (control_no, day, versions[0], canary_version, iso(store.clock())),
    )
    return changed


async def _judge_platform(
    tx: Transaction,
    court: Court,
    tables: Mapping[str, QueryTable],
    control_id: str,
    platform: str,
    day: Day,
) -> dict[int, Verdict]:
    loaded, reach = court.control(control_id), court.reach(control_id, platform)
    platform_rule = loaded.control.rule(platform) if loaded else None
    if platform_rule and platform_rule.confidence == "draft":
        platform_rule = None
    if loaded is None or platform_rule is None or reach == frozenset():
        unknown = loaded is not None and platform_rule is None
        reason = "platform" if unknown else "not_targeted"
        rows = await tx.rows(statements.PLATFORM_DEVICES, (platform, day.starts_at))
        return {
            number: _NEVER_SEEN if unknown and never and scope < day.ends_at else _not_applicable(scope, day, reason)
            for number, scope, never in rows
        }
    table = tables[platform_rule.query]
    query = court.catalog.queries[platform_rule.query, platform]
    try:
        rule = compile_rule(
            platform_rule, {column.sql_name: column.kind for column in table.columns}, court.catalog.lists, day
        )
    except RuleError as error:
        log.error("control %s on %s: %s", loaded.control_id, platform, error)
        broken = Verdict(ERROR, ERROR, 0, "rule_broken")
        rows = await tx.rows(statements.PLATFORM_DEVICES, (platform, day.starts_at))
        return {
            number: broken if _judged_at_all(number, scope, day, reach) else _not_applicable(scope, day, "not_targeted")
            for number, scope, _ in rows
        }
    counts = {
        device_no: Counts.of(*sums)
        for device_no, *sums in await tx.rows(statements.counts_at_end(table, rule), (day.ends_at, day.ends_at))
    }
    fresh_days = timedelta(days=loaded.control.fresh_within_days - 1)
    calendar = await read_calendar(tx)
    fresh_from = calendar.day(date.fromisoformat(day.day) - fresh_days).starts_at if fresh_days else day.starts_at
    span, name = (day.ends_at, day.starts_at, day.starts_at), table.name
    parameters = (*span, name, day.ends_at, name, name, day.ends_at, platform, day.starts_at)
    verdicts: dict[int, Verdict] = {}
    for device_no, scope, *heard in await tx.rows(statements.HEARD, parameters):
        if not _judged_at_all(device_no, scope, day, reach):
            verdicts[device_no] = _not_applicable(scope, day, "not_targeted")
            continue
        judged: tuple[str, str | None] | None = judge_silence(Heard(*heard), query.version, fresh_from)
        if judged is None:
            judged = judge_rows(counts.get(device_no, _NO_ROWS), rule.quantifier, rule.empty)
        verdicts[device_no] = Verdict(judged[0], judged[0], 0, judged[1])
    return verdicts | await _lapses(tx, table, rule, query.version, platform, day, verdicts)


_NO_ROWS = Counts(0, 0, 0, 0)
_NEVER_SEEN = Verdict(NO_DATA, NO_DATA, 0, "never_answered")
"""Of a machine that never enrolled and whose register does not tell its platform: any control might be for it."""


def _judged_at_all(device_no: int, scope: str, day: Day, reach: frozenset[int] | None) -> bool:
    return scope < day.ends_at and (reach is None or device_no in reach)


def _not_applicable(scope: str, day: Day, reason: str) -> Verdict:
    return Verdict(NOT_APPLICABLE, NOT_APPLICABLE, 0, "not_in_scope" if scope >= day.ends_at else reason)


async def _lapses(
    tx: Transaction,
    table: QueryTable,
    rule: Rule,
    version: str,
    platform: str,
    day: Day,
    verdicts: Mapping[int, Verdict],
) -> dict[int, Verdict]:
    """The passing devices at which the rule was broken at some answer within the day, marked so."""
    lapsed: dict[int, Verdict] = {}
    span = (day.starts_at, day.ends_at)
    parameters = (table.name, *span, platform, *span, *span, version)
    for device_no, *sums in await tx.rows(statements.counts_within(table, rule), parameters):
        verdict = verdicts.get(device_no)
        if verdict is None or verdict.status != PASS:
            continue
        status, _ = judge_rows(Counts.of(*sums), rule.quantifier, rule.empty)
        if status == FAIL:
            lapsed[device_no] = verdict._replace(lapsed=1)
    return lapsed


async def _exempt(tx: Transaction, control: str, day: Day, verdicts: dict[int, Verdict]) -> None:
    for device_no in await exempted(tx, control, day.day):
        verdict = verdicts.get(device_no)
        if verdict and verdict.status != NOT_APPLICABLE:
            verdicts[device_no] = verdict._replace(status=EXEMPT)


async def _control_no(tx: Transaction, loaded: LoadedControl) -> int:
    values = (loaded.control.title, loaded.control.severity)
    known = await tx.row(
        "SELECT control_no, title, severity FROM muster_controls WHERE control = ?", (loaded.control_id,)
    )
    if known:
        if known[1:] != values:
            await tx.run("UPDATE muster_controls SET title = ?, severity = ? WHERE control_no = ?", (*values, known[0]))
        return int(known[0])
    top = await tx.row("SELECT COALESCE(MAX(control_no), 0) + 1 FROM muster_controls")
    number = int(top[0]) if top else 1
    await tx.run(
        "INSERT INTO muster_controls (control_no, control, title, severity) VALUES (?, ?, ?, ?)",
        (number, loaded.control_id, *values),
    )
    return number


async def _write(tx: Transaction, control_no: int, day: str, verdicts: Mapping[int, Verdict]) -> int:
    """Bring the runs of a control to these verdicts of a day; returns how many devices' runs changed."""
    newest = await tx.row("SELECT MAX(day) FROM muster_evaluation WHERE control_no = ?", (control_no,))
    latest = newest[0] if newest else None
    before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
    after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    known: dict[int, list[VerdictRun]] = {}
    for device_no, first, last, *verdict in await tx.rows(
        "SELECT device_no, first_day, last_day, status, underlying_status, lapsed, reason FROM muster_verdicts"
        " WHERE control_no = ? AND ((first_day <= ? AND last_day >= ?) OR last_day IS NULL)",
        (control_no, after, before),
    ):
        known.setdefault(device_no, []).append(VerdictRun(first, last, Verdict(*verdict)))
    erased = {row[0] for row in await tx.rows("SELECT device_no FROM muster_devices WHERE erased_at IS NOT NULL")}
    gone: list[tuple[int, int, str]] = []
    new: list[tuple[object, ...]] = []
    changed = 0
    for device_no in (known.keys() | verdicts.keys()) - erased:
        old = known.get(device_no, [])
        if len(old) == 1 and old[0].verdict == verdicts.get(device_no) and old[0].goes_on_over(day, latest):
            continue
        placed = place(old, day, latest, verdicts.get(device_no))
        if set(placed) == set(old):
            continue
        changed += 1
        gone += [(control_no, device_no, run.first_day) for run in old if run not in placed]
        new += [(device_no, control_no, run.first_day, run.last_day, *run.verdict) for run in placed if run not in old]
    await tx.many("DELETE FROM muster_verdicts WHERE control_no = ? AND device_no = ? AND first_day = ?", gone)
    await tx.many(
        "INSERT INTO muster_verdicts (device_no, control_no, first_day, last_day, status, underlying_status, lapsed,"
        " reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        new,
    )
    return changed


def rule_version(catalog: Catalog, loaded: LoadedControl) -> str:
    """A digest of everything a verdict of this control depends on but the rows."""
    parts = [ENGINE, str(loaded.control.fresh_within_days)]
    for platform, rule in sorted(loaded.control.platforms.items()):
        query = catalog.queries[rule.query, platform]
        parts.append(f"{platform} {query.name}@{query.version} {rule.quantifier} {rule.predicate}")
        parts.append(f"{rule.undecided} {rule.empty} {rule.confidence}")
        parts += [f"applies_when {rule.applies_when}"] if rule.applies_when else []
        named = lists_named(rule)
        parts += [f"list {name}@{found.digest}" for name, found in sorted(catalog.lists.items()) if name in named]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
