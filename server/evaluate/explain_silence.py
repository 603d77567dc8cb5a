"""The answer a verdict rests on, and what is known about one that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.catalog.catalog import Catalog
from server.catalog.config import Config, Configs
from server.evaluate.explain_subject import Subject
from server.evaluate.explained import ExplainedDevice, ExplainedQuery, Missing, MissingAnswer, Observation, Presence
from server.evaluate.verdicts import Heard
from server.normalize.times import iso, unix
from server.store.applications import tags_of
from server.store.calendar import read_calendar
from server.store.coverage import VERSION_OF_THE_ANSWER_BEFORE
from server.store.devices import Device
from server.store.driver import Transaction, dicts
from server.store.ingest import SCHEDULE_QUERY
from server.store.observed import NameVersion, told_at

_ANSWERED = "status IN ('ok', 'incomplete')"
_MINE = "FROM muster_coverage WHERE device_no = ? AND table_name = ?"


class AskedTable(NamedTuple):
    """A query with the table of its answers."""

    query: ExplainedQuery
    table: str


class Word(NamedTuple):
    """A device's last word on a query before an instant; ``heard`` is the same as judging takes it."""

    of: AskedTable
    observation: Observation | None
    heard: Heard


def config_for(catalog: Catalog, device: ExplainedDevice) -> Config:
    """What packs ask of a device, by what is known of it now."""
    of = Device(
        device.device_no, device.device_id, device.platform, osquery_version=device.osquery_version,
        tags=tags_of(device.tags),
    )  # fmt: skip
    return Configs(catalog).of(of)


async def fresh_from(tx: Transaction, subject: Subject, days: int) -> str:
    """The instant from which on an answer counts for the day, where it counts for so many days."""
    if days <= 1:
        return subject.day.starts_at
    return (await read_calendar(tx)).starts_before(subject.day.day, days - 1)


async def last_word(tx: Transaction, device_no: int, of: AskedTable, before: str, fresh: str) -> Word:
    """The last word on a query before an instant."""
    key = (device_no, of.table, before)
    last = await tx.row(
        f"SELECT first_at, last_at, status, version, message, basis, approximate {_MINE} AND first_at < ?"
        " ORDER BY first_at DESC LIMIT 1",
        key,
    )
    if last is None:
        return Word(of, None, Heard("", "", "", ""))
    first_at, last_at, status, version, message, basis, approximate = last
    answered = await tx.row(f"SELECT MAX(first_at) {_MINE} AND first_at < ? AND {_ANSWERED}", key)
    if version == VERSION_OF_THE_ANSWER_BEFORE:
        # An answer without rows that may or may not be ours: it goes by the answer before it.
        known = await tx.row(
            f"SELECT version {_MINE} AND first_at < ? AND version <> '?' AND {_ANSWERED}"
            " ORDER BY first_at DESC LIMIT 1",
            (device_no, of.table, first_at),
        )
        version = known[0] if known else ""
    at, exact = last_at, True
    if last_at >= before:
        at, exact = await _within(tx, key, first_at)
    interval = of.query.interval
    observation = Observation(
        query=of.query, at=at, exact=exact, status=status, version=version, message=message, basis=basis,
        approximate=bool(approximate), first_at=first_at, last_at=last_at, fresh_from=fresh,
        next_expected_at=iso(unix(at) + interval) if interval and exact else None,
    )  # fmt: skip
    # Of a stretch that goes on over the day's end some instant is within the day, though it may not be kept.
    counted = at if last_at < before else max(at, fresh)
    return Word(of, observation, Heard(counted, status, version, (answered and answered[0]) or ""))


async def _within(tx: Transaction, key: tuple[int, str, str], first_at: str) -> tuple[str, bool]:
    """The last kept instant before one that a stretch goes on over, and whether none was dropped between."""
    kept = await tx.row("SELECT MAX(at) FROM muster_instants WHERE device_no = ? AND table_name = ? AND at < ?", key)
    following = await tx.row(
        "SELECT thinned FROM muster_instants WHERE device_no = ? AND table_name = ? AND at >= ? ORDER BY at LIMIT 1",
        key,
    )
    at = kept[0] if kept and kept[0] and kept[0] >= first_at else first_at
    return at, bool(following and not following[0])


async def what_is_missing(tx: Transaction, subject: Subject, words: Sequence[Word], config: Config | None) -> Missing:
    """What is known around answers that are not there or do not count."""
    device, end = subject.device, subject.day.ends_at
    served = await tx.row("SELECT number, since FROM muster_served WHERE device_no = ?", (device.device_no,))
    told, schedule = await told_at(tx, device.device_no, end)
    return Missing(
        answers=[await _answer(tx, subject, word, config, schedule) for word in words],
        presence=await _presence(tx, device.device_no, subject),
        served_number=served[0] if served else None,
        served_since=served[1] if served else None,
        config="not told" if told is None else "proven" if config and told == config.hash else "other",
        schedule_at=await _told_schedule_at(tx, device.device_no, end) if schedule else None,
    )


async def _answer(
    tx: Transaction,
    subject: Subject,
    word: Word,
    config: Config | None,
    schedule: Mapping[NameVersion, bool] | None,
) -> MissingAnswer:
    query, observed = word.of.query, word.observation
    device_no, end = subject.device.device_no, subject.day.ends_at
    key, wanted = (device_no, word.of.table, end), (query.query, query.version)
    before = await tx.row(
        f"SELECT MAX(CASE WHEN last_at < ? THEN last_at ELSE first_at END) {_MINE} AND first_at < ? AND {_ANSWERED}",
        (end, *key),
    )
    later = await tx.row(
        f"SELECT MIN(CASE WHEN first_at < ? THEN last_at ELSE first_at END) {_MINE} AND last_at >= ? AND {_ANSWERED}",
        (end, *key),
    )
    since = await tx.row("SELECT first_served_at FROM muster_query_versions WHERE query = ? AND version = ?", wanted)
    asked = config.asked.get(query.query) if config else None
    again = await dicts(
        tx,
        "SELECT why, asked_by, asked_at, sent_at, answered_at, outcome, message FROM muster_asked"
        " WHERE device_no = ? AND table_name = ? AND day = ? ORDER BY asked_at",
        (device_no, word.of.table, subject.day.day),
    )
    return MissingAnswer(
        query=query,
        last_answer_at=before[0] if before else None,
        next_answer_at=later[0] if later else None,
        answered_version=observed.version if observed and observed.status in ("ok", "incomplete") else None,
        wanted_since=since[0] if since else None,
        asked=asked is not None,
        conditional=bool(asked and asked.conditional),
        scheduled=wanted in schedule if schedule else None,
        denylisted=bool(schedule and schedule.get(wanted)),
        asked_again=again,
    )


async def _presence(tx: Transaction, device_no: int, subject: Subject) -> Presence:
    start, end = subject.day.starts_at, subject.day.ends_at
    # A stretch that reaches into the day has an instant in it: no gap within one is as long as the shortest day.
    heard = await tx.row(
        "SELECT COUNT(DISTINCT table_name), MAX(CASE WHEN last_at < ? THEN last_at END) FROM muster_coverage"
        " WHERE device_no = ? AND first_at < ? AND last_at >= ?",
        (end, device_no, end, start),
    )
    kept = await tx.row(
        "SELECT MAX(at) FROM muster_instants WHERE device_no = ? AND at >= ? AND at < ?", (device_no, start, end)
    )
    logs = await tx.row(
        "SELECT COUNT(*), MAX(at) FROM muster_status_logs WHERE device_no = ? AND at >= ? AND at < ?",
        (device_no, start, end),
    )
    instants = [row[-1] for row in (heard, kept, logs) if row and row[-1]]
    return Presence(
        queries=int(heard[0]) if heard else 0,
        status_logs=int(logs[0]) if logs else 0,
        last_at=max(instants, default=None),
    )


async def _told_schedule_at(tx: Transaction, device_no: int, before: str) -> str | None:
    found = await tx.row(
        "SELECT MAX(CASE WHEN c.last_at < ? THEN c.last_at ELSE c.first_at END) FROM muster_coverage c"
        " JOIN muster_queries q ON q.table_name = c.table_name"
        " WHERE c.device_no = ? AND q.query = ? AND c.first_at < ? AND c.status IN ('ok', 'incomplete')",
        (before, device_no, SCHEDULE_QUERY, before),
    )
    return found[0] if found else None
