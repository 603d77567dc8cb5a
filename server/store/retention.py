"""Retention: what is older than it is kept for is deleted, unless a hold needs it, and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from server.normalize.times import iso, unix
from server.store.deletions import AGE, STEP, Doomed, Tombstone, delete_of, step
from server.store.devices import highest_no
from server.store.driver import Driver, Transaction
from server.store.holds import KEPT_FROM, kept_from
from server.store.registry import read_tables
from server.store.tables import QueryTable

DEVICES_A_LOOK = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """What goes: rows and what tells of them, ended before an instant; events before one; verdicts before a day."""

    rows: str
    events: str
    verdicts: str


async def retain(driver: Driver, limits: Limits, now: float) -> int:
    """Delete what is too old, in small steps; returns how many rows. It may be ended at any step and begun again."""
    deleted = 0
    tables = await driver.read(read_tables)
    for doomed, judged_from, up_to in _too_old(tables, limits):
        devices = await _devices(driver, doomed)
        if not devices:
            continue
        if judged_from:
            await driver.write(partial(_remember, limits.rows))
        deleted += await delete_of(driver, doomed, devices, Tombstone(AGE, up_to), now)
    await driver.write(partial(_close_days, iso(now)))
    await driver.write(partial(_forget_alerts, limits.verdicts, now))
    return deleted + await _retain_verdicts(driver, limits.verdicts, now)


def _held(first: str, last: str | None) -> str:
    after = f" AND {last} >= h.starts_at" if last else ""
    return f"NOT EXISTS (SELECT 1 FROM muster_holds h WHERE h.ended_at IS NULL AND {first} < h.ends_at{after})"


_ANSWERED = "status IN ('ok', 'incomplete')"


def _later(table: str, at: str) -> str:
    """Of answers the last before the limit stays: it tells that, and with what version, the device once answered."""
    return (
        f"({table}.status NOT IN ('ok', 'incomplete') OR EXISTS (SELECT 1 FROM {table} n"
        f" WHERE n.device_no = {table}.device_no AND n.table_name = {table}.table_name AND n.{at} > {table}.{at}"
        f" AND n.{at} < ? AND n.{_ANSWERED} AND ({table}.version = '?' OR n.version <> '?')))"
    )


def _too_old(tables: Mapping[str, QueryTable], limits: Limits) -> Iterator[tuple[Doomed, bool, str]]:
    """What is too old, whether judging rests on it, and up to when it goes."""
    rows, events = limits.rows, limits.events
    for table in tables.values():
        what, name = table.name, table.rows_name
        if table.mode == "events":
            where = f"valid_from < ? AND {_held('valid_from', 'valid_from')}"
            yield Doomed(what=what, table=name, where=where, order="valid_from", parameters=(events,)), False, events
            continue
        where = f"valid_to IS NOT NULL AND valid_to < ? AND {_held('valid_from', 'valid_to')}"
        yield Doomed(what=what, table=name, where=where, order="valid_to", parameters=(rows,)), True, rows
        # Rows that were held to be true still when they were taken back: they are as old as the taking back.
        taken = "valid_to IS NULL AND muster_superseded_seq IS NOT NULL AND muster_superseded_seq < ?"
        where, seq = f"{taken} AND {_held('valid_from', None)}", unix(rows) * 1_000_000
        yield (
            Doomed(what=what, table=name, where=where, order="muster_superseded_seq", parameters=(seq,)),
            False,
            rows,
        )
    old = "outcome IS NOT NULL AND asked_at < ?"
    yield (
        Doomed(what="posture_asked", table="muster_asked", where=old, order="asked_at", parameters=(events,)),
        False,
        events,
    )
    for what, name, first, last, judged_from in (
        ("coverage", "muster_coverage", "first_at", "last_at", True),
        ("muster_instants", "muster_instants", "at", "at", True),
        ("status_logs", "muster_status_logs", "at", "at", False),
        ("rejects", "muster_rejects", "rejected_at", "rejected_at", False),
        ("posture_collector_gaps", "muster_gaps", "first_at", "noted_at", False),
        ("muster_batches", "muster_batches", "at", "at", False),
        ("devices_history", "muster_device_facts", "valid_from", "valid_to", False),
    ):
        where, parameters = f"{last} IS NOT NULL AND {last} < ? AND {_held(first, last)}", [rows]
        if judged_from:
            where += f" AND {_later(name, first)}"
            parameters.append(rows)
        yield (
            Doomed(what=what, table=name, where=where, order=last, parameters=tuple(parameters)),
            judged_from,
            rows,
        )


async def _devices(driver: Driver, doomed: Doomed) -> list[int]:
    """The devices that have something doomed, looked for a few at a time so that no view of the database grows old."""
    last = await driver.read(highest_no)
    sql = f"SELECT DISTINCT device_no FROM {doomed.table} WHERE device_no >= ? AND device_no < ? AND {doomed.where}"
    found: list[int] = []
    for first in range(1, last + 1, DEVICES_A_LOOK):
        values = (first, first + DEVICES_A_LOOK, *doomed.parameters)
        found += sorted(row[0] for row in await driver.read(lambda tx, values=values: tx.rows(sql, values)))  # type: ignore[misc]
    return found


async def _remember(limit: str, tx: Transaction) -> None:
    """Days that rest on what is deleted now must not be judged again."""
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key)"
        " DO UPDATE SET value = excluded.value WHERE muster_meta.value < excluded.value",
        (KEPT_FROM, limit),
    )


async def _close_days(at: str, tx: Transaction) -> None:
    """Close days that no server closed in time: they cannot be judged any more."""
    limit = await kept_from(tx)
    if limit:
        await tx.run(
            "UPDATE muster_days SET state = 'closed', closed_at = ? WHERE state = 'open' AND starts_at < ?", (at, limit)
        )


_LASTS = """(
    (kind = 'silent' AND EXISTS (
        SELECT 1 FROM muster_devices d WHERE d.device_no = muster_alerts.device_no
           AND muster_alerts.subject = CAST(d.device_no AS TEXT) || ' ' || d.last_seen_at))
    OR (kind = 'failing' AND EXISTS (
        SELECT 1 FROM muster_controls c JOIN muster_verdicts v ON v.control_no = c.control_no
         WHERE c.control = muster_alerts.control AND v.device_no = muster_alerts.device_no AND v.last_day IS NULL
           AND NOT EXISTS (SELECT 1 FROM muster_verdicts g
                            WHERE g.control_no = v.control_no AND g.device_no = v.device_no
                              AND g.first_day > muster_alerts.day
                              AND g.underlying_status IN ('pass', 'not_applicable')))))"""
"""Alerts of a silence or failure that is not over."""


async def _forget_alerts(limit: str, now: float, tx: Transaction) -> None:
    """What people were told of before a day goes with the verdicts of that time, unless it would be told again."""
    gone = await tx.run(
        f"DELETE FROM muster_alerts WHERE raised_at < ? AND day < ? AND kind <> 'canary_stopped' AND NOT {_LASTS}",
        (limit, limit),
    )
    old = "message_no IN (SELECT m.message_no FROM muster_alert_messages m WHERE m.made_at < ?)"
    await Tombstone(AGE, limit).count(tx, "posture_alerts", gone, now)
    await tx.run(f"DELETE FROM muster_alert_deliveries WHERE {old}", (limit,))
    await tx.run("DELETE FROM muster_alert_messages WHERE made_at < ?", (limit,))


_DAY_HELD = (
    "EXISTS (SELECT 1 FROM muster_holds h WHERE h.ended_at IS NULL AND {first} <= h.last_day AND {last} >= h.first_day)"
)


async def _retain_verdicts(driver: Driver, limit: str, now: float) -> int:
    """Delete the verdicts of days before one. A run that reaches over it is shortened to begin there."""
    deleted, stone = 0, Tombstone(AGE, limit)
    for (control_no,) in await driver.read(lambda tx: tx.rows("SELECT control_no FROM muster_controls ORDER BY 1")):
        gone, shortened = await driver.read(partial(_old_runs, control_no, limit))
        for start in range(0, max(len(gone), len(shortened)), STEP):
            await step(
                driver,
                partial(_end_runs, gone[start : start + STEP], shortened[start : start + STEP], limit, stone, now),
            )
        deleted += len(gone) + await driver.write(partial(_forget_days, control_no, limit, stone, now))
    return deleted


async def _old_runs(control_no: int, limit: str, tx: Transaction) -> tuple[list[tuple[int, int, str]], ...]:
    """The runs that ended before a day, and those that reach over it; without those a hold needs."""
    newest = await tx.row("SELECT COALESCE(MAX(day), '') FROM muster_evaluation WHERE control_no = ?", (control_no,))
    latest = newest[0] if newest else ""
    held = _DAY_HELD.format(first="v.first_day", last="COALESCE(v.last_day, CAST(? AS TEXT))")
    found = await tx.rows(
        "SELECT v.control_no, v.device_no, v.first_day, COALESCE(v.last_day, CAST(? AS TEXT)) FROM muster_verdicts v"
        f" WHERE v.control_no = ? AND v.first_day < ? AND NOT {held}",
        (latest, control_no, limit, latest),
    )
    gone = [row[:3] for row in found if row[3] < limit]
    return gone, [row[:3] for row in found if row[3] >= limit]


async def _end_runs(
    gone: Sequence[tuple[int, int, str]],
    shortened: Sequence[tuple[int, int, str]],
    limit: str,
    stone: Tombstone,
    now: float,
    tx: Transaction,
) -> None:
    key = "control_no = ? AND device_no = ? AND first_day = ?"
    await tx.many(f"DELETE FROM muster_verdicts WHERE {key}", gone)
    await tx.many(f"UPDATE muster_verdicts SET first_day = ? WHERE {key}", [(limit, *row) for row in shortened])
    await stone.count(tx, "posture_runs", len(gone), now)


async def _forget_days(control_no: int, limit: str, stone: Tombstone, now: float, tx: Transaction) -> int:
    held = _DAY_HELD.format(first="day", last="day")
    deleted = await tx.run(
        f"DELETE FROM muster_evaluation WHERE control_no = ? AND day < ? AND NOT {held}", (control_no, limit)
    )
    await stone.count(tx, "muster_evaluation", deleted, now)
    days = await tx.run(f"DELETE FROM muster_days WHERE day < ? AND NOT {held}", (limit,))
    await stone.count(tx, "days", days, now)
    held = _DAY_HELD.format(first="muster_revisions.first_day", last="muster_revisions.last_day")
    revisions = await tx.run(
        f"DELETE FROM muster_revisions WHERE control_no = ? AND last_day < ? AND NOT {held}", (control_no, limit)
    )
    await stone.count(tx, "posture_revisions", revisions, now)
    return deleted + days + revisions
