"""Verdicts from stored answers: all seven statuses, lapses, late data, and days judged in any order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from server.api.keys import Presence
from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from server.worker import Worker
from tests.support.catalogs import daily_catalog
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

CATALOG = daily_catalog()
CONTROL = "only-root-has-uid-0"
FIRST = date(2026, 9, 1)
MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
DAY, HOUR = 86_400, 3_600

ROOT = {"uid": "0", "gid": "0", "username": "root", "description": "", "directory": "/root", "shell": "/bin/sh"}
TOOR = {**ROOT, "username": "toor"}


class Fleet:
    """A store at the end of a fortnight, and short words for what devices said when."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def users(self, device: Device, day: int, hour: float, *users: dict[str, str], version: str = "") -> None:
        query = CATALOG.queries["users", device.platform]
        name = scheduled_name(query.name, version or query.version)
        await self._send(device, "result", snapshot_line(name, int(MIDNIGHT + day * DAY + hour * HOUR), list(users)))

    async def failed(self, device: Device, day: int, hour: float) -> None:
        query = CATALOG.queries["users", device.platform]
        message = f"Error executing scheduled query pack/posture/users@{query.version}: disk I/O error"
        line = {"unixTime": int(MIDNIGHT + day * DAY + hour * HOUR), "severity": 2, "message": message}
        await self._send(device, "status", line)

    async def _send(self, device: Device, kind: str, line: dict[str, Any]) -> None:
        raw = json.dumps({"node_key": "k", "log_type": kind, "data": [line]}).encode()
        done = await self.store.ingest(device, parse_log(raw))
        assert not done.rejected

    async def judge(self, *days: int) -> None:
        for day in days:
            when = FIRST + timedelta(days=day)
            await evaluate(self.store, when, when)

    async def verdicts(self, device: Device, columns: str = "status, reason, lapsed") -> list[tuple[Any, ...]]:
        return await rows(
            self.store,
            f"SELECT {columns} FROM posture WHERE device_id = ? AND control = ? ORDER BY day",
            (device.device_id, CONTROL),
        )


@asynccontextmanager
async def fleet(directory: Path, days: int = 14) -> AsyncIterator[Fleet]:
    async with open_store(directory, CATALOG, clock=lambda: float(MIDNIGHT + days * DAY)) as store:
        yield Fleet(store)


async def test_a_device_through_a_fortnight(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 1, 9, ROOT)
        await f.users(laptop, 2, 9, ROOT, TOOR)
        await f.users(laptop, 3, 9, ROOT, TOOR)
        await f.users(laptop, 3, 12, ROOT)
        await f.users(laptop, 5, 9, ROOT)
        await f.failed(laptop, 5, 15)
        await f.users(laptop, 6, 9, ROOT)
        await f.users(laptop, 7, 9, {**ROOT, "uid": "zero"})
        await f.users(laptop, 8, 9, ROOT, version="0123456789")
        await f.judge(*range(10))
        assert await f.verdicts(laptop) == [
            ("not_applicable", "not_in_scope", 0),
            ("pass", None, 0),
            ("fail", "rows_match", 0),
            ("pass", None, 1),  # a second superuser in the morning, gone by noon
            ("stale", "too_old", 0),
            ("error", "query_failed", 0),
            ("pass", None, 0),
            ("error", "undecided", 0),
            ("stale", "other_version", 0),
            ("stale", "too_old", 0),
        ]


async def test_an_answer_to_another_version_is_no_lapse(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, TOOR, version="0123456789")
        await f.users(laptop, 0, 12, ROOT)
        await f.judge(0)
        assert await f.verdicts(laptop) == [("pass", None, 0)]


async def test_a_foreign_answer_without_rows_goes_by_the_one_before_in_any_order(tmp_path: Path) -> None:
    for order in ((0, 1), (1, 0)):
        directory = tmp_path / str(order[0])
        directory.mkdir()
        async with fleet(directory) as f:
            laptop = await add_device(f.store, "laptop")
            port = {"name": "x", "port": "22", "protocol": "6", "address": "127.0.0.1"}
            lines = [
                snapshot_line("listening_ports", MIDNIGHT + 9 * HOUR, [port]),
                snapshot_line("listening_ports", MIDNIGHT + 10 * HOUR, []),
            ]
            for position in order:
                raw = json.dumps({"node_key": "k", "log_type": "result", "data": [lines[position]]}).encode()
                await f.store.ingest(laptop, parse_log(raw))
            await f.judge(0)
            found = "SELECT status FROM posture WHERE control = 'no-cleartext-remote-access'"
            assert await rows(f.store, found) == [("pass",)]


async def test_a_foreign_answer_without_rows_alone_is_never_judged(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        line = snapshot_line("listening_ports", MIDNIGHT + 9 * HOUR, [])
        raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
        await f.store.ingest(laptop, parse_log(raw))
        await f.judge(0)
        found = "SELECT status, reason FROM posture WHERE control = 'no-cleartext-remote-access'"
        assert await rows(f.store, found) == [("stale", "other_version")]


async def test_never_answered_and_another_platform(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        silent, windows = await add_device(f.store, "silent"), await add_device(f.store, "desk", "windows")
        for device in (silent, windows):
            await f.users(device, 0, 9)  # puts both in scope
        await f.store.write(lambda tx: tx.run("DELETE FROM muster_coverage WHERE device_no = ?", (silent.device_no,)))
        await f.judge(0)
        assert await f.verdicts(silent) == [("no_data", "never_answered", 0)]
        assert await f.verdicts(windows) == [("not_applicable", "platform", 0)]


async def test_days_in_any_order_make_the_same_runs(tmp_path: Path) -> None:
    runs = []
    for name, order in (("a", [0, 1, 2, 3, 4]), ("b", [4, 0, 2, 1, 3, 2])):
        (tmp_path / name).mkdir()
        async with fleet(tmp_path / name) as f:
            laptop = await add_device(f.store, "laptop")
            for day, users in enumerate([(ROOT,), (ROOT,), (ROOT, TOOR), (ROOT,), (ROOT,)]):
                await f.users(laptop, day, 9, *users)
            await f.judge(*order)
            runs.append(
                await rows(f.store, "SELECT control, first_day, last_day, status FROM posture_runs ORDER BY 1, 2")
            )
    assert runs[0] == runs[1]
    assert [run[1:] for run in runs[0] if run[0] == CONTROL] == [
        ("2026-09-01", "2026-09-02", "pass"),
        ("2026-09-03", "2026-09-03", "fail"),
        ("2026-09-04", "2026-09-05", "pass"),
    ]


async def test_an_unchanged_day_writes_no_verdict(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in range(10):
            await f.users(laptop, day, 9, ROOT)
            await f.judge(day)
        stored = await rows(f.store, "SELECT COUNT(*) FROM muster_verdicts v JOIN muster_controls c USING (control_no)"
                            " WHERE c.control = ?", (CONTROL,))  # fmt: skip
        assert stored == [(1,)]


async def test_late_data_changes_the_day_it_is_about(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.users(laptop, 2, 9, ROOT)
        await f.judge(0, 1, 2)
        assert [row[0] for row in await f.verdicts(laptop)] == ["pass", "stale", "pass"]
        await f.users(laptop, 1, 9, ROOT, TOOR)
        await f.judge(1)
        assert [row[0] for row in await f.verdicts(laptop)] == ["pass", "fail", "pass"]


async def test_a_device_that_left_has_no_verdicts_after(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in (0, 1):
            await f.users(laptop, day, 9, ROOT)
        left = ("2026-09-02T12:00:00Z", laptop.device_no)
        await f.store.write(lambda tx: tx.run("UPDATE muster_devices SET retired_at = ? WHERE device_no = ?", left))
        await f.judge(0, 1, 2, 3)
        assert await f.verdicts(laptop, "day, status") == [("2026-09-01", "pass"), ("2026-09-02", "pass")]


async def test_totals_have_every_device_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        for number in range(5):
            device = await add_device(f.store, f"laptop-{number}")
            await f.users(device, 0, 9, *([ROOT] if number else [ROOT, TOOR]))
        await f.judge(0)
        totals = await rows(
            f.store, "SELECT status, devices FROM posture_totals WHERE control = ? ORDER BY 1", (CONTROL,)
        )
        assert totals == [("fail", 1), ("pass", 4)]


async def test_a_day_is_provisional_until_its_grace_is_over(tmp_path: Path) -> None:
    for hours, state in ((24.5, "open"), (25.1, "closed")):
        directory = tmp_path / state
        directory.mkdir()
        async with open_store(directory, CATALOG, clock=lambda hours=hours: MIDNIGHT + hours * HOUR) as store:  # type: ignore[misc]
            device = await add_device(store, "laptop")
            await Fleet(store).users(device, 0, 9, ROOT)
            await Fleet(store).judge(0)
            assert await rows(store, "SELECT state FROM days") == [(state,)]
            assert {row[0] for row in await rows(store, "SELECT provisional FROM posture")} == {int(state == "open")}


async def test_a_rule_that_does_not_fit_its_columns_is_an_error_and_no_crash(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.store.write(lambda tx: tx.run("UPDATE muster_columns SET kind = 'text' WHERE sql_name = 'uid'"))
        await f.judge(0)
        assert await f.verdicts(laptop) == [("error", "rule_broken", 0)]


async def test_late_answers_change_closed_days_that_stay_closed_and_repeated_ones_are_no_news(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.users(laptop, 2, 9, ROOT)
        worker = Worker(f.store, Presence())
        await worker.judge_news()
        states, news = "SELECT day, state, closed_at FROM days ORDER BY 1", "SELECT COUNT(*) FROM muster_news"
        closed = await rows(f.store, states)
        assert [row[0] for row in await f.verdicts(laptop)] == ["pass", "stale", "pass", *["stale"] * 11]
        await f.users(laptop, 0, 9, ROOT)
        await f.users(laptop, 2, 9, ROOT)
        assert await rows(f.store, news) == [(0,)]
        await f.users(laptop, 1, 9, ROOT)
        assert await rows(f.store, news) != [(0,)]
        await worker.judge_news()
        assert [row[0] for row in await f.verdicts(laptop)] == ["pass"] * 3 + ["stale"] * 11
        assert await rows(f.store, states) == closed
        revised = "SELECT DISTINCT first_day, last_day, before_status, after_status, cause FROM posture_revisions"
        assert await rows(f.store, f"{revised} WHERE control = ?", (CONTROL,)) == [
            ("2026-09-02", "2026-09-02", "stale", "pass", "late_data")
        ]
