"""Judging a day: the whole fleet, every control, and the rows a verdict rests on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import NamedTuple

from server.catalog.schema import PLATFORMS
from server.evaluate.judge import evaluate
from server.normalize.calendar import day_of
from server.normalize.times import unix
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.store import Store
from tests.bench.library import Speaker, answers_of, read, some_controls
from tests.bench.measure import Aim, Line
from tests.bench.places import devices_of, enrolled, fresh
from tests.bench.scale import Scale

CONTROLS = 25
CHANGED_ONE_IN = 50
AT_ONCE = 64
HALF_A_DAY = 43_200


def judging_a_day(kind: str, scale: Scale) -> Iterator[Line]:
    """A day of a fleet of which one device in ``CHANGED_ONE_IN`` changed, against fetching the rows it rests on."""
    count, days = scale.of(2000, full=100_000), min(scale.rounds, 3)
    with fresh(kind, lambda directory: some_controls(directory, CONTROLS)) as place:
        enrolled(place, count, PLATFORMS)
        found = place.with_store(lambda store: _days(store, days))
    value, limit = median(day.judged for day in found), median(day.fetched for day in found)
    each = median(day.fetched_each for day in found)
    yield Line(
        name=f"judging a day, {count:,} devices x {CONTROLS} controls, 2 % changed",
        database=kind,
        value=value,
        unit="s",
        limit=limit,
        ratio=value / limit,
        aim=Aim(at_most=4),
        facts={
            "days": days,
            "rows_fetched": found[-1].rows,
            "us_a_verdict": round(value * 1e6 / (count * CONTROLS), 2),
            "cpu_us_a_verdict": round(median(day.cpu for day in found) * 1e6 / (count * CONTROLS), 2),
            "limit_fetched_for_each_control": round(each, 3),
            "ratio_fetched_for_each_control": round(value / each, 3),
        },
    )


class _Day(NamedTuple):
    """Seconds for judging a day, for fetching its rows once, and for fetching them for each control that reads them."""

    judged: float
    fetched: float
    fetched_each: float
    rows: int
    cpu: float
    """Seconds of this process's processors for judging; of a database within it, its share too."""


async def _days(store: Store, days: int) -> list[_Day]:
    """Bring days of answers, judge each, and fetch its rows; the first day only makes the verdicts that change."""
    devices = await devices_of(store)
    start = datetime.now(UTC).date() - timedelta(days=days + 2)
    rules = [rule for loaded in store.catalog.judged() for rule in loaded.control.platforms.values()]
    queries = [name for rule in rules for name in rule.queries]
    found = []
    for number in range(days + 1):
        day = start + timedelta(days=number)
        bounds = day_of(day, "UTC")
        await _answer(store, devices, number, unix(bounds.starts_at) + HALF_A_DAY)
        began, worked = time.perf_counter(), time.process_time()
        await evaluate(store, day, day)
        judged, cpu = time.perf_counter() - began, time.process_time() - worked
        fetched, rows = await _fetch(store, sorted(set(queries)), bounds.ends_at)
        each, _ = await _fetch(store, queries, bounds.ends_at)
        found.append(_Day(judged, fetched, each, rows, cpu))
    return found[1:]


async def _answer(store: Store, devices: Sequence[Device], number: int, at: int) -> None:
    """Every device answers the queries that controls judge."""
    speakers = {platform: Speaker(store.catalog, platform) for platform in PLATFORMS}

    async def one(position: int, device: Device) -> None:
        speaker, rows = speakers[device.platform], answers_of(device.platform)
        lines = [
            speaker.line(query, at, [*rows[query], *_telnet(query, position, number)])
            for query in sorted(store.catalog.judged_queries(device.platform))
        ]
        await store.ingest(device, read(lines))

    for start in range(0, len(devices), AT_ONCE):
        await asyncio.gather(*(one(start + n, device) for n, device in enumerate(devices[start : start + AT_ONCE])))


def _telnet(query: str, position: int, number: int) -> list[dict[str, str]]:
    """A listener no control likes, on the devices whose turn it was to change on this day."""
    if query != "listening_ports" or number == 0 or position % CHANGED_ONE_IN != number:
        return []
    return [{"name": "telnetd", "port": "23", "protocol": "6", "address": "0.0.0.0"}]


async def _fetch(store: Store, queries: Sequence[str], end: str) -> tuple[float, int]:
    """Fetch what the verdicts rest on: devices, rows true at the end of the day, the last words before it.

    Returns the seconds and the number of rows.
    """

    async def work(tx: Transaction) -> int:
        tables = await store.tables(tx)
        rows = len(await tx.rows("SELECT device_no, platform, in_scope_from FROM muster_devices"))
        for table in (tables[name] for name in queries):
            rows += len(
                await tx.rows(
                    f"SELECT * FROM {table.rows_name} WHERE muster_superseded_seq IS NULL AND valid_from < ?"
                    " AND (valid_to IS NULL OR valid_to >= ?)",
                    (end, end),
                )
            )
            rows += len(
                await tx.rows(
                    "SELECT device_no, MAX(at) FROM muster_instants WHERE table_name = ? AND at < ? GROUP BY device_no",
                    (table.name, end),
                )
            )
        return rows

    began = time.perf_counter()
    rows = await store.read(work)
    return time.perf_counter() - began, rows
