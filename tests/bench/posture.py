"""Asking for the posture of a day, with a year of days behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from statistics import median

from server.catalog.schema import PLATFORMS
from server.console.mending import Kept
from server.console.overview import read_overview
from server.normalize.calendar import day_of
from server.normalize.times import iso
from server.report.asked import BY, asked
from server.report.posture import posture
from server.report.standing import standing
from server.store.driver import Transaction, Work
from server.store.numbers import Among
from server.store.pages import failures_of, verdicts_of
from server.store.store import Store
from tests.bench.measure import Aim, Line
from tests.bench.places import devices_of, enrolled, fresh
from tests.bench.scale import Scale
from tests.support.stores import shipped_catalog

DAYS = 365
CHANGED_ONE_IN = 50
TIMES = 3
POSTURE = "SELECT * FROM posture WHERE day = ?"
TOTALS = "SELECT * FROM posture_totals WHERE day = ?"
RATES = "SELECT * FROM posture_rates WHERE day = ?"
CONTROLS = 25
"""As many as judging is measured with."""


def posture_of_a_day(kind: str, scale: Scale) -> Iterator[Line]:
    """The rows of ``posture`` for one day, and the numbers of it, of a year in which one device in
    ``CHANGED_ONE_IN`` changed every day."""
    count, controls = scale.of(10_000), min(CONTROLS, len(shipped_catalog().judged()))
    first = date(2025, 1, 1)
    days = {"first": first, "middle": first + timedelta(days=DAYS // 2), "last": first + timedelta(days=DAYS - 1)}
    with fresh(kind) as place:
        enrolled(place, count, PLATFORMS)
        runs = place.with_store(lambda store: _history(store, first, controls))
        asyncio.run(place.settle())
        took = place.with_store(lambda store: _all_asked(store, days))
        numbers = place.with_store(lambda store: _numbers(store, days["last"]))
    of = f"{count:,} devices x {controls} controls, a year of history"
    facts = {"rows": count * controls, "runs": runs}
    for name, value, aim, told in (
        ("posture of a day", max(seconds for name, seconds in took.items() if name.endswith("posture")), 1.0, took),
        ("numbers of a day by control", numbers["by control"], 1.0, numbers),
        ("the console's first page, read", numbers["first page"], 0.3, {}),
    ):
        yield Line(
            name=f"{name}, {of}",
            database=kind,
            value=value,
            unit="s",
            aim=Aim(at_most=aim, unit="s"),
            facts={**facts, **{name: round(seconds, 3) for name, seconds in told.items()}},
        )


async def _all_asked(store: Store, days: Mapping[str, date]) -> dict[str, float]:
    """The seconds until the last row is there, by day and what is asked of it."""
    return {
        f"{name} {what}": await _asked(store, sql, day)
        for name, day in days.items()
        for what, sql in (("posture", POSTURE), ("totals", TOTALS), ("rates", RATES))
    }


async def _numbers(store: Store, last: date) -> dict[str, float]:
    """The seconds of what the API, the command and the console ask for on the last day."""
    seen_after, kept, catalog = iso(store.clock()), Kept(), store.catalog
    day, quarter = last.isoformat(), (last - timedelta(days=89)).isoformat()

    def numbers(by: str, **period: str) -> Work[object]:
        what = asked({"by": by, **period}, catalog, last)
        return lambda tx: posture(tx, catalog, what)

    works: dict[str, Work[object]] = {
        **{f"by {by}": numbers(by, day=day) for by in BY},
        "90 days by control": numbers("control", **{"from": quarter, "to": day}),
        "a page of verdicts": lambda tx: verdicts_of(tx, day, Among(), None, 100, 0),
        "a page of open failures": lambda tx: failures_of(tx, Among(), True, "age", 100, 0),
        "metrics": lambda tx: standing(tx, seen_after),
        "first page, first time": lambda tx: read_overview(tx, day, seen_after, Among(), Kept(), catalog),
        "first page": lambda tx: read_overview(tx, day, seen_after, Among(), kept, catalog),
    }
    return {name: await _timed(store, work) for name, work in works.items()}


async def _timed(store: Store, work: Work[object]) -> float:
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await store.read(work)
        took.append(time.perf_counter() - began)
    return median(took)


async def _asked(store: Store, sql: str, day: date) -> float:
    return await _timed(store, lambda tx: tx.rows(sql, (day.isoformat(),)))


async def _history(store: Store, first: date, controls: int) -> int:
    """Write a year of verdicts as judging leaves them: runs of days. Returns how many runs."""
    numbers = [device.device_no for device in await devices_of(store)]
    days = [(first + timedelta(days=n)).isoformat() for n in range(DAYS)]
    runs: list[tuple[object, ...]] = []
    for place, device_no in enumerate(numbers):
        for control in range(controls):
            # Each device changes every so many days, and it is another control each time.
            turns = [n for n in range(1, DAYS) if (n + place) % CHANGED_ONE_IN == 0 and n % controls == control]
            for position, start in enumerate([0, *turns]):
                last = days[turns[position] - 1] if position < len(turns) else None
                status = "fail" if position % 2 else "pass"
                runs.append((device_no, control + 1, days[start], last, status, status, 0, None))

    async def work(tx: Transaction) -> None:
        await tx.many(
            "INSERT INTO muster_controls (control_no, control, title, severity) VALUES (?, ?, ?, ?)",
            [(n + 1, f"control-{n + 1}", f"Control {n + 1}", "medium") for n in range(controls)],
        )
        await tx.many(
            "INSERT INTO muster_days (day, starts_at, ends_at, zone, state) VALUES (?, ?, ?, 'UTC', 'closed')",
            [
                (day, found.starts_at, found.ends_at)
                for day in days
                for found in [day_of(date.fromisoformat(day), "UTC")]
            ],
        )
        await tx.many(
            "INSERT INTO muster_evaluation (control_no, day, rule_version, evaluated_at) VALUES (?, ?, ?, ?)",
            [(n + 1, day, "bench", iso(store.clock())) for n in range(controls) for day in days],
        )
        await tx.many(
            "INSERT INTO muster_verdicts (device_no, control_no, first_day, last_day, status, underlying_status,"
            " lapsed, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            runs,
        )

    await store.write(work)
    return len(runs)
