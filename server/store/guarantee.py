"""The daily guarantee: a device that has been awake for two intervals of a query without the day's answer is asked.

Whether it is due is looked at once, when its time comes: two intervals after the day began, it woke or it was served
its config, whichever was last, and up to half an hour later, the same for a device on every day. A look costs one pass
over the devices; queries are looked at only of those whose time has come since the look before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from server.catalog.config import Config
from server.catalog.schema import PLATFORMS
from server.catalog.targets import TargetedDevice
from server.normalize.calendar import Day
from server.normalize.times import iso
from server.store import asked
from server.store.applications import tags_of
from server.store.calendar import read_calendar
from server.store.devices import AWAKE_SECONDS
from server.store.driver import Driver, Transaction
from server.store.in_force import InForce
from server.store.meta import keep_value, value_of
from server.store.registry import read_tables

log = logging.getLogger(__name__)

SPREAD_MINUTES = 30
INTERVALS = 2
LOOK_SECONDS = 60
CATCH_UP_SECONDS = 2 * 3600
"""How far back a new leader looks; whoever was not heard of for so long begins anew anyway."""
_UNTIL = "asked_until"

Wanted = Mapping[int, Sequence[tuple[str, str, str, int]]]
"""By interval, what configs ask: a config's hash, table, version, and 1 where discovery decides whether it runs."""


async def keep_guarantee(driver: Driver, in_force: InForce, now: float) -> int:
    """Put the questions that have become due since the last time, and give up old ones; returns how many were put."""
    end = int(now)
    today, begin, over, wanted = await driver.read(partial(_begin, in_force, end))
    put = 0
    for start in range(begin, end, LOOK_SECONDS):
        until = min(start + LOOK_SECONDS, end)
        found = await driver.read(partial(_due, wanted, today, start, until, end))
        if found or until == end:
            await driver.write(partial(_put, found, today, until, now))
        put += len(found)
    if over:
        await driver.write(lambda tx: asked.give_up(tx, today.day, now))
    if put:
        log.info("%d questions put to devices that left them unanswered on %s", put, today.day)
    return put


async def _begin(in_force: InForce, end: int, tx: Transaction) -> tuple[Day, int, bool, Wanted]:
    calendar = await read_calendar(tx)
    today = calendar.day(calendar.today(end))
    before = int(await value_of(tx, _UNTIL) or end - LOOK_SECONDS)
    begin = end - LOOK_SECONDS if before > end else max(before, end - CATCH_UP_SECONDS)
    return today, begin, await asked.over(tx, today.day, end), await _wanted(tx, in_force, end)


async def _put(found: Sequence[tuple[int, str, str]], today: Day, until: int, now: float, tx: Transaction) -> None:
    await asked.put(tx, found, asked.GUARANTEE, "", today.day, now)
    await keep_value(tx, _UNTIL, str(until))


async def _wanted(tx: Transaction, in_force: InForce, now: int) -> Wanted:
    """What the configs in force that devices were served ask for verdicts."""
    configs = {config.hash: config for config in _untargeted(in_force)}
    if any(part.configs.targeted for part in in_force.parts):
        configs |= await _served(tx, in_force, now)
    tables = await read_tables(tx)
    wanted: dict[int, list[tuple[str, str, str, int]]] = {}
    for digest, config in sorted(configs.items()):
        for one in config.asked.values():
            table = tables.get(one.query)
            if one.judged and table is not None:
                wanted.setdefault(one.interval, []).append((digest, table.name, one.version, int(one.conditional)))
    return wanted


def _untargeted(in_force: InForce) -> Iterator[Config]:
    for part in in_force.parts:
        if not part.configs.targeted:
            for platform in PLATFORMS:
                yield part.configs.of(TargetedDevice("", platform))


async def _served(tx: Transaction, in_force: InForce, now: int) -> dict[str, Config]:
    """The configs of devices that are awake, found by two devices of each: one that has other tags since is served
    another one in a moment."""
    found = {}
    samples = await tx.rows(
        "SELECT s.config_hash, MIN(s.device_no), MAX(s.device_no) FROM muster_served s"
        " JOIN muster_devices d ON d.device_no = s.device_no WHERE d.last_seen_at >= ? AND d.retired_at IS NULL"
        " GROUP BY s.config_hash",
        (iso(now - AWAKE_SECONDS),),
    )
    keys = [(number,) for _, *numbers in samples for number in numbers]
    facts = await tx.each(
        "SELECT device_no, device_id, platform, osquery_version, tags FROM muster_devices WHERE device_no = ?", keys
    )
    for number, device_id, platform, osquery_version, tags in (row for rows in facts for row in rows):
        device = TargetedDevice(device_id, platform, osquery_version, tags_of(tags))
        config = in_force.part_of(number).configs.of(device)
        found[config.hash] = config
    return found


async def _due(
    wanted: Wanted, today: Day, start: int, until: int, now: int, tx: Transaction
) -> list[tuple[int, str, str]]:
    """What became due after ``start`` and up to ``until``, in unix seconds: device, table and version."""
    found: list[tuple[int, str, str]] = []
    for interval, queries in sorted(wanted.items()):
        if iso(until - INTERVALS * interval) < today.starts_at:
            continue  # the day is not as old yet
        windows = [
            (minute, *(iso(at - INTERVALS * interval - 60 * minute) for at in (start, until)))
            for minute in range(SPREAD_MINUTES)
        ]
        values = [value for row in (*windows, *queries) for value in row]
        day = today.starts_at
        earliest, latest = windows[-1][1], windows[0][2]
        coarse = (iso(now - AWAKE_SECONDS), iso(now), latest, earliest, earliest, day, earliest)
        instants = (*coarse, day, day, day, today.day)
        found += await tx.rows(_statement(len(windows), len(queries)), (*values, *instants))
    return found


def _statement(windows: int, queries: int) -> str:
    """The statement that finds what is due, for so many windows (one a minute of the spread) and queries.

    What is asked of coverage is asked by key, pair by pair, and of due devices only: left to itself, Postgres asks it
    of all. SQLite takes CROSS JOINs as they are written: a pass over the devices, which the first conditions end for
    nearly all.
    """
    window = ", ".join(["(CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT))"] * windows)
    query = ", ".join(["(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT))"] * queries)
    key = "device_no = d.device_no AND {0}.table_name = w.table_name AND {0}.version = w.version"
    word, question = key.format("c"), key.format("m")
    began = "d.awake_since {0} AND s.since {0} AND CAST(? AS TEXT) {0}"
    later = "(d.awake_since > {0} OR s.since > {0} OR CAST(? AS TEXT) > {0})"
    return f"""
WITH windows (minute, low, high) AS (VALUES {window}),
wanted (config_hash, table_name, version, conditional) AS (VALUES {query}),
due AS MATERIALIZED (
    SELECT d.device_no, s.config_hash
      FROM muster_devices d
     CROSS JOIN muster_served s
     CROSS JOIN windows x
     WHERE d.retired_at IS NULL AND d.erased_at IS NULL AND d.last_seen_at >= ? AND d.in_scope_from <= ?
       AND d.awake_since <= ? AND s.device_no = d.device_no AND {later.format("CAST(? AS TEXT)")}
       AND x.minute = d.device_no % {SPREAD_MINUTES} AND {began.format("<= x.high")} AND {later.format("x.low")}
)
SELECT d.device_no, w.table_name, w.version
  FROM due d
 CROSS JOIN wanted w
 WHERE w.config_hash = d.config_hash
   AND COALESCE((SELECT MAX(c.last_at) FROM muster_coverage c WHERE c.{word}), '') < ?
   AND COALESCE((SELECT c.status || ' ' || c.version FROM muster_coverage c WHERE c.device_no = d.device_no
                    AND c.table_name = w.table_name ORDER BY c.first_at DESC LIMIT 1), '')
       <> 'denylisted ' || w.version
   AND (w.conditional = 0 OR (SELECT COUNT(*) FROM muster_coverage c WHERE c.{word}) > 0)
   AND (SELECT COUNT(*) FROM muster_asked m WHERE m.{question}
           AND (m.day = ? OR m.outcome IN ('stopped', 'denylisted'))) = 0
"""
