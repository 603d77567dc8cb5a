"""What is too old is deleted in small steps while devices report, counted, and kept where a hold needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.keys import Presence
from server.evaluate.due import due_days
from server.evaluate.judge import evaluate
from server.normalize.calendar import ALWAYS, Calendar, day_of
from server.normalize.times import iso
from server.store import deletions
from server.store.calendar import set_zone
from server.store.driver import StoreError, Work
from server.store.holds import add_hold, end_hold
from server.store.migrate import Migration, migrate, migrations
from server.store.retention import Limits, retain
from server.store.store import Store
from server.worker import Keep, Worker, limits
from tests.contract.test_collector_batches import batch_of
from tests.contract.test_judge import CATALOG, CONTROL, DAY, FIRST, HOUR, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.contract.test_store import send
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows, url_in

HISTORY = "SELECT username, valid_from, valid_to FROM users_history ORDER BY 2, 1"


def at(day: float) -> str:
    return iso(MIDNIGHT + day * DAY)


def named(name: str) -> dict[str, str]:
    return {**ROOT, "username": name}


def until(day: float, verdicts: str = "1970-01-01") -> Limits:
    return Limits(rows=at(day), events=at(day), verdicts=verdicts)


async def test_what_collectors_lost_goes_by_when_it_was_told(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        lost = {"name": "users", "lines": 1, "first_at": MIDNIGHT, "last_at": MIDNIGHT, "reason": "full"}
        await f.store.take(laptop, batch_of(gaps=[lost]))
        told = iso(f.store.clock())
        for limit, left in ((told, 1), (iso(f.store.clock() + 1), 0)):
            await retain(f.store.driver, Limits(rows=limit, events=limit, verdicts="1970-01-01"), f.store.clock())
            assert await rows(f.store, "SELECT COUNT(*) FROM posture_collector_gaps") == [(left,)]
            assert await rows(f.store, "SELECT COUNT(*) FROM muster_batches") == [(left,)]


async def hold(store: Store, first: int, last: int) -> str:
    days = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
    return await store.write(lambda tx: add_hold(tx, Calendar(), *days, "audit", store.clock()))


async def test_rows_that_ended_go_and_open_ones_stay_and_the_count_is_kept(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, named("old"), ROOT)
        await f.users(laptop, 1, 9, named("new"), ROOT)
        await f.users(laptop, 5, 9, ROOT)
        await f.users(laptop, 0, 12, named("late"), ROOT)  # takes an interval back
        now = f.store.clock()
        taken_back = "SELECT COUNT(*) FROM muster_rows_users WHERE muster_superseded_seq IS NOT NULL"
        assert await rows(f.store, taken_back) == [(1,)]
        await retain(f.store.driver, until(3), now)
        assert await rows(f.store, HISTORY) == [
            ("root", at(9 / 24), None),
            ("new", at(1 + 9 / 24), at(5 + 9 / 24)),
        ]
        assert await rows(f.store, taken_back) == [(0,)]
        told = "SELECT what, reason, device_id, up_to, how_many, first_at FROM deletions WHERE what = 'users'"
        assert await rows(f.store, told) == [("users", "age", "", at(3), 3, iso(now))]
        await retain(f.store.driver, until(3), now)
        assert await rows(f.store, told) == [("users", "age", "", at(3), 3, iso(now))]


async def test_an_open_row_that_was_taken_back_goes_by_when_that_was(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 1, 9, named("ann"))
        await f.users(laptop, 0, 9, named("ann"))
        count = "SELECT COUNT(*) FROM muster_rows_users"
        assert await rows(f.store, count) == [(2,)]
        # Commit sequences are of the real clock, whatever the store believes.
        await retain(f.store.driver, until(14), f.store.clock())
        assert await rows(f.store, count) == [(2,)]
        await retain(f.store.driver, Limits("2100-01-01T00:00:00Z", at(0), "1970-01-01"), f.store.clock())
        assert await rows(f.store, HISTORY) == [("ann", at(9 / 24), None)]
        assert await rows(f.store, count) == [(1,)]


async def test_logs_rejects_facts_and_coverage_go_too_but_not_that_it_once_answered(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.failed(laptop, 1, 9)
        await f.store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_rejects (device_no, digest, rejected_at, query, reason, sample)"
                " VALUES (?, 'x', ?, 'q', 'r', 's')",
                (laptop.device_no, at(1)),
            )
        )
        await f.judge(0, 1, 4)
        assert await f.verdicts(laptop) == [("pass", None, 0), ("error", "query_failed", 0), ("stale", "too_old", 0)]
        await retain(f.store.driver, until(3), f.store.clock())
        assert await rows(f.store, "SELECT * FROM status_logs") == []
        assert await rows(f.store, "SELECT * FROM rejects") == []
        assert await rows(f.store, "SELECT query, first_at, status FROM coverage") == [("users", at(9 / 24), "ok")]
        await f.judge(4)
        assert (await f.verdicts(laptop))[-1] == ("stale", "too_old", 0)
        assert sorted(await rows(f.store, "SELECT what, how_many FROM deletions")) == [
            ("coverage", 1),
            ("muster_instants", 1),
            ("rejects", 1),
            ("status_logs", 1),
        ]


async def test_events_go_by_a_limit_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await send(f.store, laptop, snapshot_line("moved", MIDNIGHT, [{"x": "1"}]))
        await f.store.write(lambda tx: tx.run("DELETE FROM muster_rows_moved"))
        await f.store.write(lambda tx: tx.run("UPDATE muster_queries SET mode = 'events' WHERE query = 'moved'"))
        await f.store.write(
            lambda tx: tx.many(
                "INSERT INTO muster_rows_moved (device_no, muster_digest, muster_ordinal, valid_from, valid_to,"
                " opened_seq, closed_seq, x) VALUES (?, ?, 0, ?, ?, 1, 1, 'x')",
                [(laptop.device_no, str(day), at(day), at(day)) for day in range(10)],
            )
        )
        await retain(f.store.driver, Limits(at(0), at(7), "1970-01-01"), f.store.clock())
        assert await rows(f.store, "SELECT MIN(valid_from), COUNT(*) FROM moved_history") == [(at(7), 3)]
        with pytest.raises(StoreError, match="in the future"):
            await evaluate(f.store, FIRST, FIRST + timedelta(days=99))
        await f.judge(0)  # events are not what days are judged by


async def test_the_steps_are_small_and_devices_report_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "STEP", 50)
    async with fleet(tmp_path) as f:
        devices = [await add_device(f.store, f"laptop-{number}") for number in range(7)]
        for number, device in enumerate(devices):
            await f.users(device, 0, 9, *(named(f"u{n}") for n in range(30 * number)))
            await f.users(device, 1, 9, ROOT)
        steps: list[int] = []
        write = f.store.driver.write

        async def counted(work: Work[Any]) -> Any:
            result = await write(work)
            if isinstance(result, tuple):
                steps.append(result[1])
                await f.users(devices[0], 2, len(steps) / 60, named(f"new-{len(steps)}"))
            return result

        monkeypatch.setattr(f.store.driver, "write", counted)
        await retain(f.store.driver, until(1.5), f.store.clock())
        users = [step for step in steps if step > 1]
        # What one answer ended goes together; a step ends with the answer that fills it.
        assert len(users) >= 6
        assert sum(users) >= 30 * 21
        assert await rows(f.store, "SELECT COUNT(*) FROM users_history WHERE valid_to <= ?", (at(1.5),)) == [(0,)]
        assert await rows(f.store, "SELECT COUNT(*) FROM users") == [(7,)]


async def test_a_device_with_very_many_is_done_in_several_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "STEP", 5)
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for minute in range(40):
            await f.users(laptop, 0, minute / 60, named(f"u{minute}"))
        await retain(f.store.driver, until(2), f.store.clock())
        assert await rows(f.store, "SELECT COUNT(*) FROM users_history") == [(1,)]
        assert await rows(f.store, "SELECT how_many FROM deletions WHERE what = 'users'") == [(39,)]


async def test_an_open_hold_keeps_what_its_days_need_and_an_ended_one_does_not(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in range(10):
            await f.users(laptop, day, 9, ROOT, *([TOOR] if day == 4 else []), named(f"day-{day}"))
        await f.judge(*range(10))
        verdicts = await f.verdicts(laptop)
        held = await hold(f.store, 3, 4)
        await retain(f.store.driver, until(9, verdicts="2026-09-10"), f.store.clock())
        assert [row[0] for row in await rows(f.store, HISTORY)] == [
            "day-0",  # a verdict may look back 31 days
            "root",
            *(f"day-{day}" for day in (1, 2, 3)),
            "day-4",
            "toor",
            "day-8",
            "day-9",
        ]
        await f.judge(3, 4)
        assert await f.verdicts(laptop) == [verdicts[3], verdicts[4], verdicts[9]]
        with pytest.raises(StoreError, match="2026-09-03 cannot be judged again"):
            await f.judge(2)
        await f.store.write(lambda tx: end_hold(tx, held, f.store.clock()))
        await retain(f.store.driver, until(9, verdicts="2026-09-10"), f.store.clock())
        assert len(await rows(f.store, HISTORY)) == 3
        assert await f.verdicts(laptop) == [verdicts[9]]
        await hold(f.store, 3, 4)
        with pytest.raises(StoreError, match="2026-09-04 cannot be judged again"):
            await f.judge(3)


async def test_verdicts_of_old_days_go_and_runs_over_the_limit_are_shortened(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop, desk = await add_device(f.store, "laptop"), await add_device(f.store, "desk")
        for day in range(8):
            await f.users(laptop, day, 9, ROOT, *([TOOR] if day < 2 else []))
            await f.users(desk, day, 9, ROOT)
        await f.judge(*range(8))
        await f.users(laptop, 2, 10, ROOT, TOOR)
        await f.users(laptop, 6, 10, ROOT, TOOR)
        await f.judge(*range(8))
        revised = "SELECT first_day, last_day FROM posture_revisions ORDER BY 1"
        assert await rows(f.store, revised) == [("2026-09-03", "2026-09-03"), ("2026-09-07", "2026-09-07")]
        before = await rows(f.store, "SELECT * FROM posture WHERE day >= '2026-09-05' ORDER BY 1, 2, 4")
        await retain(f.store.driver, until(0, verdicts="2026-09-05"), f.store.clock())
        after = await rows(f.store, "SELECT * FROM posture ORDER BY 1, 2, 4")
        assert [row[:8] for row in after] == [row[:8] for row in before]
        runs = "SELECT hostname, first_day, last_day, status FROM posture_runs WHERE control = ? ORDER BY 1"
        left = [
            ("desk", "2026-09-05", "2026-09-08", "pass"),
            ("laptop", "2026-09-05", "2026-09-06", "pass"),
            ("laptop", "2026-09-07", "2026-09-07", "fail"),
            ("laptop", "2026-09-08", "2026-09-08", "pass"),
        ]
        assert await rows(f.store, runs + ", 2", (CONTROL,)) == left
        assert await rows(f.store, revised) == [("2026-09-07", "2026-09-07")]
        assert await rows(f.store, "SELECT MIN(day) FROM days") == [("2026-09-05",)]
        assert await rows(f.store, "SELECT MIN(day) FROM posture_totals") == [("2026-09-05",)]
        counted = dict(await rows(f.store, "SELECT what, how_many FROM deletions"))
        assert counted["days"] == 4
        assert counted["posture_runs"] == 1
        await f.judge(7)
        assert await rows(f.store, runs + ", 2", (CONTROL,)) == left


async def test_days_whose_rows_are_gone_are_never_judged_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in range(14):
            await f.users(laptop, day, 9, ROOT, named(f"day-{day}"))
        await f.judge(*range(14))
        before = await f.verdicts(laptop)
        await retain(f.store.driver, until(6), f.store.clock())
        await f.users(laptop, 3, 15, ROOT, TOOR)  # news of day 3
        worker = Worker(f.store, Presence())
        await worker.judge_news()
        assert await rows(f.store, "SELECT 1 FROM muster_news") == []
        assert [day for day in await due_days(f.store) if day < FIRST + timedelta(days=6)] == []
        await retain(f.store.driver, until(6), f.store.clock())
        assert await rows(f.store, "SELECT day FROM days WHERE state = 'open' AND day < '2026-09-07'") == []
        assert (await f.verdicts(laptop))[:14] == before
        with pytest.raises(StoreError, match="rows are whole from 2026-09-07 on"):
            await evaluate(f.store, FIRST + timedelta(days=5), FIRST + timedelta(days=7))
        await f.judge(6)
        assert (await f.verdicts(laptop))[:14] == before


async def test_the_worker_deletes_once_a_day_by_whole_days_of_the_zone(tmp_path: Path) -> None:
    now = float(MIDNIGHT + 60 * DAY + 3 * HOUR)
    clock = [now]
    async with open_store(tmp_path, CATALOG, clock=lambda: clock[0]) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, "America/New_York", "init", now))
        laptop = await add_device(store, "laptop")
        f = Fleet(store)
        for hour in range(12):
            await f.users(laptop, 0, hour, named("same"))
        for day in range(1, 40):
            await f.users(laptop, day, 9, named(f"day-{day}"))
        worker = Worker(store, Presence(), Keep(rows=32, events=30, verdicts=100))
        await worker.delete_old()
        # It is the evening of the 59th day in New York, whose days begin four hours after those of UTC.
        limit = iso(MIDNIGHT + 27 * DAY + 4 * HOUR)
        assert await rows(store, "SELECT DISTINCT up_to FROM deletions") == [(limit,)]
        assert await rows(store, "SELECT COUNT(*) FROM users_history") == [(39 - 25,)]
        assert await rows(store, "SELECT COUNT(*) FROM muster_instants WHERE at < ?", (at(1),)) == [(0,)]
        await f.users(laptop, 2, 9, named("late"))
        await worker.delete_old()
        assert await rows(store, "SELECT COUNT(*) FROM users_history WHERE username = 'late'") == [(1,)]
        clock[0] += DAY
        await worker.delete_old()
        assert await rows(store, "SELECT COUNT(*) FROM users_history WHERE username = 'late'") == [(0,)]


async def test_the_worker_deletes_while_devices_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "STEP", 20)
    now = float(MIDNIGHT + 60 * DAY)
    async with open_store(tmp_path, CATALOG, clock=lambda: now) as store:
        devices = [await add_device(store, f"laptop-{number}") for number in range(4)]
        f = Fleet(store)
        for device in devices:
            await f.users(device, 0, 1, *(named(f"u{n}") for n in range(60)))
            await f.users(device, 0, 2, *(named(f"v{n}") for n in range(60)))
            await f.users(device, 59, 0, named("now-0"))
        deleting = asyncio.create_task(Worker(store, Presence(), Keep(rows=32)).delete_old())
        step = 0
        while not deleting.done():
            step += 1
            await asyncio.gather(*(f.users(device, 59, step / 3600, named(f"now-{step}")) for device in devices))
        await deleting
        assert step > 1
        assert await rows(store, "SELECT username, COUNT(*) FROM users GROUP BY 1") == [(f"now-{step}", 4)]
        assert await rows(store, "SELECT COUNT(*) FROM users_history WHERE valid_from < ?", (at(1),)) == [(4 * 60,)]
        assert await rows(store, "SELECT how_many FROM deletions WHERE what = 'users'") == [(4 * 60,)]


def test_limits_are_the_beginnings_of_days() -> None:
    found = limits(Keep(550, 30, 2557), date(2026, 9, 1), Calendar([(ALWAYS, "Europe/Berlin")]))
    assert found.rows == day_of(date(2025, 2, 28), "Europe/Berlin").starts_at == "2025-02-27T23:00:00Z"
    assert found.events == "2026-08-01T22:00:00Z"
    assert found.verdicts == "2019-09-01"


@contextmanager
def only_migrations_before(number: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        known: list[Migration] = [migration for migration in migrations() if migration.number < number]
        patched.setattr("server.store.migrate.migrations", lambda: known)
        yield


async def test_coverage_of_before_is_cut_where_the_version_changed(tmp_path: Path) -> None:
    from server.app import opened_database

    told = [(0, "ok", "v1"), (1, "ok", "v1"), (2, "ok", "v2"), (3, "ok", "?"), (4, "ok", "v2"), (5, "error", "v2")]
    async with opened_database(await url_in(tmp_path), create=True) as database:
        with only_migrations_before(4):
            await migrate(database.driver, 0.0)
        await database.driver.write(
            lambda tx: tx.many(
                "INSERT INTO muster_instants (device_no, table_name, at, status, version, fingerprint)"
                " VALUES (?, 'users', ?, ?, ?, 'x')",
                [(device_no, at(hour / 24), *said) for device_no in (1, 2) for hour, *said in told],
            )
        )
        await database.driver.write(
            lambda tx: tx.many(
                "INSERT INTO muster_coverage (device_no, table_name, first_at, last_at, status, basis, message)"
                " VALUES (?, 'users', ?, ?, ?, 'result', ?)",
                [(1, at(0), at(4 / 24), "ok", None), (1, at(5 / 24), at(5 / 24), "error", "why"),
                 (2, at(0), at(1 / 24), "ok", None), (2, at(2 / 24), at(4 / 24), "ok", None)],
            )
        )  # fmt: skip
        await migrate(database.driver, 0.0)
        found = await database.driver.read(
            lambda tx: tx.rows(
                "SELECT device_no, first_at, last_at, status, version, message FROM muster_coverage ORDER BY 1, 2"
            )
        )
        assert found == [
            (1, at(0), at(1 / 24), "ok", "v1", None),
            (1, at(2 / 24), at(2 / 24), "ok", "v2", None),
            (1, at(3 / 24), at(3 / 24), "ok", "?", None),
            (1, at(4 / 24), at(4 / 24), "ok", "v2", None),
            (1, at(5 / 24), at(5 / 24), "error", "v2", "why"),
            (2, at(0), at(1 / 24), "ok", "v1", None),
            (2, at(2 / 24), at(2 / 24), "ok", "v2", None),
            (2, at(3 / 24), at(3 / 24), "ok", "?", None),
            (2, at(4 / 24), at(4 / 24), "ok", "v2", None),
        ]
