"""Rules of several queries, from answers to verdicts, lapses, silence and explanation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.evaluate.judge import evaluate
from server.evaluate.revisit import judge_news
from server.evaluate.versions import rule_version
from server.normalize.names import scheduled_name
from server.report import explanation as words
from server.report.explanation_json import as_json
from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.catalogs import daily_catalog
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

CATALOG = daily_catalog()
CONTROL = "daily-work-without-admin-rights"
FIRST, MIDNIGHT = date(2026, 9, 1), 1_788_220_800
DAY, HOUR = 86_400, 3_600
ADMINS, IN_USE = "local_admins", "accounts_in_use"


class Fleet:
    """A store at the end of a fortnight, and short words for what devices said when."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def says(self, device: Device, query: str, day: int, hour: float, *names: str, version: str = "") -> None:
        """The administrators, or the accounts in use, at an hour of a day."""
        known = CATALOG.queries[query, device.platform]
        more = {"through": "group sudo", "uid": "1000"} if query == ADMINS else {}
        found = [{"account": name, **more} for name in names]
        name = scheduled_name(query, version or known.version)
        await self._send(device, "result", snapshot_line(name, int(MIDNIGHT + day * DAY + hour * HOUR), found))

    async def fails(self, device: Device, query: str, day: int, hour: float) -> None:
        version = CATALOG.queries[query, device.platform].version
        message = f"Error executing scheduled query pack/accounts/{query}@{version}: disk I/O error"
        line = {"unixTime": int(MIDNIGHT + day * DAY + hour * HOUR), "severity": 2, "message": message}
        await self._send(device, "status", line)

    async def _send(self, device: Device, kind: str, line: dict[str, Any]) -> None:
        raw = json.dumps({"node_key": "k", "log_type": kind, "data": [line]}).encode()
        assert not (await self.store.ingest(device, parse_log(raw))).rejected

    async def judge(self, days: int) -> None:
        await evaluate(self.store, FIRST, FIRST + timedelta(days=days - 1))

    async def verdicts(self, device: Device) -> list[tuple[Any, ...]]:
        return await rows(
            self.store,
            "SELECT status, reason, lapsed FROM posture WHERE device_id = ? AND control = ? ORDER BY day",
            (device.device_id, CONTROL),
        )


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with open_store(directory, CATALOG, clock=lambda: float(MIDNIGHT + 14 * DAY)) as store:
        yield Fleet(store)


async def test_a_device_day_by_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in (0, 1, 3, 4, 5, 6, 7, 8):
            await f.says(laptop, ADMINS, day, 8, "root", "ada")
        for hour, names in ((9, ["root"]), (12, ["root", "ada"]), (15, ["root"])):
            await f.says(laptop, IN_USE, 1, hour, *names)
        await f.says(laptop, IN_USE, 2, 9, "root")
        await f.says(laptop, IN_USE, 3, 9, "root", "ada")
        await f.says(laptop, IN_USE, 4, 9, "root")
        await f.fails(laptop, IN_USE, 4, 10)
        await f.says(laptop, IN_USE, 5, 9, "root", version="0123456789")
        await f.says(laptop, IN_USE, 6, 9, "")
        await f.says(laptop, IN_USE, 7, 9)
        await f.says(laptop, ADMINS, 7, 10)
        await f.judge(10)
        assert await f.verdicts(laptop) == [
            ("no_data", "never_answered", 0),
            ("pass", None, 1),
            ("stale", "too_old", 0),
            ("fail", "rule_not_met", 0),
            ("error", "query_failed", 0),
            ("stale", "other_version", 0),
            ("error", "undecided", 0),
            ("error", "empty", 0),
            ("stale", "too_old", 0),
            ("stale", "too_old", 0),
        ]


async def test_of_two_silences_the_graver_one_counts(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop, other = await add_device(f.store, "laptop"), await add_device(f.store, "other")
        await f.says(laptop, ADMINS, 0, 8, "root")
        await f.says(laptop, IN_USE, 0, 8, "root")
        await f.fails(laptop, IN_USE, 1, 8)
        await f.fails(other, IN_USE, 0, 8)
        await f.judge(2)
        assert await f.verdicts(laptop) == [("pass", None, 0), ("stale", "too_old", 0)]
        assert [verdict[1] for verdict in await f.verdicts(other)] == ["never_answered"] * 2


async def test_no_lapse_before_every_query_was_answered_that_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.says(laptop, ADMINS, 0, 20, "root", "ada")
        await f.says(laptop, IN_USE, 0, 20, "root")
        await f.says(laptop, IN_USE, 1, 9, "root", "ada")
        await f.says(laptop, ADMINS, 1, 10, "root")
        await f.says(laptop, ADMINS, 2, 9, "root", "ada")
        await f.says(laptop, IN_USE, 2, 10, "root", "ada")
        await f.says(laptop, ADMINS, 2, 11, "root")
        await f.judge(3)
        assert await f.verdicts(laptop) == [("pass", None, 0), ("pass", None, 0), ("pass", None, 1)]


async def test_devices_and_platforms_do_not_see_each_others_rows(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        devices = [await add_device(f.store, name, platform=name) for name in ("linux", "darwin", "windows")]
        for device in devices:
            await f.says(device, ADMINS, 0, 8, "root", "ada")
            await f.says(device, IN_USE, 0, 8, "root", *(["ada"] if device is devices[1] else ["grace"]))
        await f.judge(1)
        assert [(await f.verdicts(device))[0][0] for device in devices] == ["pass", "fail", "pass"]


async def test_a_late_answer_to_either_query_is_news(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.says(laptop, ADMINS, 0, 8, "root")
        await f.says(laptop, IN_USE, 0, 8, "root", "ada")
        await f.judge(1)
        await judge_news(f.store, running=False)
        assert (await f.verdicts(laptop))[0] == ("pass", None, 0)
        await f.says(laptop, ADMINS, 0, 9, "root", "ada")
        assert await judge_news(f.store, running=False)
        assert (await f.verdicts(laptop))[0] == ("fail", "rule_not_met", 0)


async def test_explained(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.says(laptop, ADMINS, 0, 8, "root", "ada")
        for day, hour, names in (
            (0, 9, ["root"]),
            (0, 12, ["root", "ada"]),
            (0, 13, ["root"]),
            (1, 9, ["root", "ada"]),
        ):
            await f.says(laptop, IN_USE, day, hour, *names)
        await f.says(laptop, ADMINS, 1, 9, "root", "ada")
        await f.judge(3)
        lapsed, failed, silent = [
            await explain(f.store, Question("laptop", CONTROL, f"2026-09-0{day}")) for day in (1, 2, 3)
        ]
        assert failed.evidence is not None
        assert [{cell.column: cell.value for cell in row.cells} for row in failed.evidence.rows] == [
            {"account": "ada", "through": "group sudo"}
        ]
        assert failed.as_stored_now is None
        assert words.rows_heading(failed) == f"1 row of {ADMINS}, {IN_USE} that the rule shows"
        assert [(lapse.at, lapse.until) for lapse in lapsed.lapses] == [
            ("2026-09-01T12:00:00Z", "2026-09-01T13:00:00Z")
        ]
        assert lapsed.lapses[0].evidence.count == 1
        assert {one.query for one in silent.rule.queries} == {ADMINS, IN_USE} if silent.rule else False
        assert silent.missing is not None
        assert {one.query.query for one in silent.missing.answers} == {ADMINS, IN_USE}
        for one in (lapsed, failed, silent):
            assert json.dumps(as_json(one))


def test_its_version_names_every_query_and_its_words() -> None:
    loaded = CATALOG.controls[CONTROL]
    before = rule_version(CATALOG, loaded)
    rule = loaded.control.platforms["linux"]
    assert rule.queries == (ADMINS, IN_USE)
    assert {ADMINS, IN_USE} <= CATALOG.judged_queries("linux")
    other = rule.model_copy(update={"sql": f"{rule.sql} "})
    control = loaded.control.model_copy(update={"platforms": {**loaded.control.platforms, "linux": other}})
    assert rule_version(CATALOG, type(loaded)(loaded.control_id, loaded.area, control, (), loaded.file)) != before
