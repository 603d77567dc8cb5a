"""Explaining a verdict: why a device has its status of a control on a day, by what was stored and judged then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from server.catalog.catalog import Catalog
from server.catalog.config import Config
from server.catalog.controls import PlatformRule
from server.catalog.targets import TargetedDevice
from server.evaluate.evidence import Reader, after
from server.evaluate.explain_packs import Candidate, Found, candidates, judged_by
from server.evaluate.explain_recorded import erasure_of, exemptions_of, pending_news, revisions_of, used_lists
from server.evaluate.explain_silence import AskedTable, Word, config_for, fresh_from, last_word, what_is_missing
from server.evaluate.explain_subject import Question, Subject, find_subject
from server.evaluate.explained import ExplainedQuery, ExplainedRule, Explanation, Lapse, Missing
from server.evaluate.readers import SeveralReader, reader
from server.evaluate.rules import lists_named
from server.evaluate.verdicts import (
    ERROR,
    FAIL,
    NO_DATA,
    NOT_APPLICABLE,
    PASS,
    SILENCES,
    STALE,
    Verdict,
    judge_silence,
)
from server.normalize.calendar import Day
from server.store.applications import tags_of
from server.store.driver import Transaction
from server.store.holds import kept_from
from server.store.store import Store
from server.store.tables import QueryTable

ROWS, MOST_ROWS = 20, 500
LAPSES_SHOWN = 20
_ANSWERS_LOOKED_AT = 1_000
_BY_ROWS = {None, "rows_break_rule", "rows_match", "no_row_matches", "rule_not_met", "empty", "condition", "undecided"}
_BY_SILENCE = {"never_answered", "too_old", "query_failed", "denylisted", "incomplete", "other_version"}


async def explain(store: Store, asked: Question, *, limit: int = ROWS, offset: int = 0) -> Explanation:
    """Explain a verdict, with up to ``limit`` of its deciding rows. Raises ``ExplainError`` where there is none."""
    shipped = {control for catalog in store.in_force.catalogs for control in catalog.controls}

    async def find(tx: Transaction) -> tuple[Subject, Sequence[Candidate]]:
        subject = await find_subject(tx, asked, shipped, store.clock())
        return subject, await candidates(tx, subject)

    subject, among = await store.read(find)
    # Packs are read outside of any transaction: it takes long, and they never change.
    found = await judged_by(store, subject, among)
    again = replace(asked, device=subject.device.device_id, day=subject.day.day)

    async def look(tx: Transaction) -> Explanation:
        now = await find_subject(tx, again, shipped, store.clock())
        return await _explained(tx, now, found, await store.tables(tx), limit, offset)

    return await store.read(look)


async def _explained(
    tx: Transaction, subject: Subject, found: Found, tables: Mapping[str, QueryTable], limit: int, offset: int
) -> Explanation:
    device, loaded, catalog = subject.device, found.loaded, found.catalog
    explanation = Explanation(
        device=device, control=subject.control, title=subject.title, severity=subject.severity, day=subject.day,
        run=subject.run, status_since=subject.status_since, before=subject.before, next=subject.next,
        judged_by=found.by, exemptions=await exemptions_of(tx, subject), revisions=await revisions_of(tx, subject),
        rows_kept_from=await kept_from(tx), erasure=await erasure_of(tx, device.device_no),
    )  # fmt: skip
    if loaded is None or catalog is None:
        return explanation
    control = loaded.control
    explanation = replace(
        explanation,
        packs=_packs(subject, catalog), fresh_within_days=control.fresh_within_days, why=control.why,
        grace_days=catalog.fleet.new_device_grace_days,
        remediation=next((how for name, how in control.remediation.items() if name == device.platform), ""),
        limits=control.limits,
    )  # fmt: skip
    platform_rule = control.rule(device.platform)
    if platform_rule is None or any((name, device.platform) not in catalog.queries for name in platform_rule.queries):
        return explanation
    config = config_for(catalog, device)
    rule = _rule(platform_rule, catalog, config, device.platform)
    asked = [AskedTable(one, tables[one.query].name) for one in rule.queries if one.query in tables]
    used = await used_lists(tx, platform_rule, catalog)
    fresh = await fresh_from(tx, subject, control.fresh_within_days)
    last = [await last_word(tx, device.device_no, one, subject.day.ends_at, fresh) for one in asked]
    explanation = replace(
        explanation,
        rule=rule,
        lists=used,
        pending=await pending_news(tx, subject, [one.table for one in asked], lists_named(platform_rule)),
        observations=[word.observation for word in last if word.observation],
        missing=await _missing(tx, subject, last, config, fresh),
    )
    ready = reader(loaded, device.platform, _bounds(subject), tables, catalog.lists)
    if ready is None or explanation.erasure:
        return explanation
    return await _by_rows(tx, explanation, ready, last, fresh, (limit, offset))


async def _by_rows(
    tx: Transaction,
    told: Explanation,
    asked: Reader | SeveralReader,
    last: Sequence[Word],
    fresh: str,
    page: tuple[int, int],
) -> Explanation:
    """What the rows of the day say, and whether they still say what they said."""
    device_no, end, verdict = told.device.device_no, told.day.ends_at, told.verdict
    silence = min((found for word in last if (found := _silence(word, fresh))), key=SILENCES.index, default=None)
    counts = await asked.counts(tx, device_no, end) if isinstance(asked, Reader) and not silence else None
    evidence = None
    if verdict.underlying_status in (PASS, FAIL, ERROR, NOT_APPLICABLE) and verdict.reason in _BY_ROWS:
        evidence = await asked.rows(tx, verdict.underlying_status, device_no, end, *page)
    status, reason = silence or await asked.outcome(tx, device_no, end)
    now = Verdict(status, status, 0, reason)
    same = (now.underlying_status, now.reason) == (verdict.underlying_status, verdict.reason)
    judged_so = verdict.reason in _BY_ROWS | _BY_SILENCE and told.judged_by.exact and not told.rows_deleted
    return replace(
        told,
        evidence=evidence,
        counts=counts,
        lapses=await _lapses(tx, told, asked) if verdict.lapsed else (),
        as_stored_now=now if judged_so and not same else None,
    )


def _silence(word: Word, fresh: str) -> tuple[str, str] | None:
    return judge_silence(word.heard, word.of.query.version, fresh)


async def _lapses(tx: Transaction, told: Explanation, asked: Reader | SeveralReader) -> list[Lapse]:
    """The answers within the day at which the rule was broken; of equal ones on end the first."""
    assert told.rule is not None
    device_no, versions = told.device.device_no, {one.query: one.version for one in told.rule.queries}
    wanted = {table.name: ("ok", versions[table.query]) for table in asked.tables}
    found: list[Lapse] = []
    broken_from: str | None = None
    last: dict[str, tuple[str, ...]] = {}
    words = await tx.rows(
        "SELECT at, table_name, status, version, fingerprint FROM muster_instants WHERE device_no = ?"
        f" AND table_name IN ({', '.join('?' * len(wanted))}) AND at >= ? AND at < ?"
        f" ORDER BY at LIMIT {_ANSWERS_LOOKED_AT}",
        (device_no, *wanted, told.day.starts_at, told.day.ends_at),
    )
    for at, together in groupby(words, key=itemgetter(0)):
        new = False
        for _, name, *said in together:
            new |= tuple(said) != last.get(name)
            last[name] = tuple(said)
        # Each query must have been answered that day, or its rows are not of it.
        if not new or any(last.get(name, ())[:2] != said for name, said in wanted.items()):
            continue
        status, reason = await asked.outcome(tx, device_no, after(at))
        if status == FAIL and len(found) < LAPSES_SHOWN:
            evidence = await asked.rows(tx, FAIL, device_no, after(at))
            found.append(Lapse(at=at, until=None, reason=reason, evidence=evidence))
            broken_from = at
        elif status != FAIL and broken_from:
            found = [replace(one, until=at) if one.until is None else one for one in found]
            broken_from = None
    return found


async def _missing(
    tx: Transaction, subject: Subject, last: Sequence[Word], config: Config, fresh: str
) -> Missing | None:
    verdict = subject.verdict
    if verdict.underlying_status not in (STALE, NO_DATA) and verdict.reason not in _BY_SILENCE:
        return None
    # What was missing may have come meanwhile.
    return await what_is_missing(tx, subject, [word for word in last if _silence(word, fresh)] or last, config)


def _bounds(subject: Subject) -> Day:
    day = subject.day
    return Day(day.day, day.starts_at, day.ends_at, day.zone)


def _packs(subject: Subject, catalog: Catalog) -> list[tuple[str, bool]]:
    device = subject.device
    of = TargetedDevice(device.device_id, device.platform, device.osquery_version, tags_of(device.tags))
    return [
        (name, pack.reaches(name, of))
        for name, pack in sorted(catalog.packs.items())
        if subject.control in pack.controls
    ]


def _rule(rule: PlatformRule, catalog: Catalog, config: Config, platform: str) -> ExplainedRule:
    queries = [
        ExplainedQuery(
            query=name,
            version=catalog.queries[name, platform].version,
            interval=config.asked[name].interval if name in config.asked else None,
        )
        for name in rule.queries
    ]
    return ExplainedRule(
        queries=queries,
        quantifier=rule.quantifier,
        condition=rule.predicate,
        undecided=rule.undecided,
        applies_when=rule.applies_when,
        empty=rule.empty,
        confidence=rule.confidence,
        note=rule.note,
    )
