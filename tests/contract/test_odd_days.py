"""Days, controls and fleets that are odd: each has a definite answer."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from server.catalog.problems import CatalogError
from server.evaluate.judge import evaluate
from server.store.driver import StoreError
from tests.support import packs
from tests.support.fleet_days import answered, at, contents, sent
from tests.support.fleet_run import Life, fleet_at_first
from tests.support.stores import rows

NAMES = ("anchor", "leaver")


async def lives(life: Life, until: int, *more: tuple[int, Any]) -> None:
    """Two of the fleet's devices and the worker, up to a day of October, and what else is to happen."""
    enrolled = [(at(19, "08:00"), lambda name=name: life.enrol(name)) for name in NAMES]
    left = {"leaver": at(22, "12:00")}
    bodies = life.deliveries(one for one in sent() if one.device in NAMES and one.at < left.get(one.device, one.at + 1))
    happenings = [*enrolled, *bodies, *life.judging(), *more]
    await life.live(one for one in happenings if one[0] < at(until + 1, "02:00"))


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (date(2026, 10, 20), date(2026, 10, 19), "The period ends on 2026-10-19 before it begins on 2026-10-20."),
        (date(2026, 10, 19), date(2026, 10, 20), "2026-10-20 is in the future: it is 2026-10-19 in the fleet's zone"),
        (date(9999, 12, 31), date(9999, 12, 31), "9999-12-31 is in the future"),
        (date(1969, 12, 31), date(2026, 10, 19), "1969-12-31 is before 1970-01-01"),
        (date.min, date.min, "0001-01-01 is before 1970-01-01"),
    ],
)
async def test_periods_that_cannot_be_judged(tmp_path: Path, first: date, last: date, says: str) -> None:
    async with fleet_at_first(tmp_path) as life:
        life.clock.now = float(at(19, "23:59"))
        with pytest.raises(StoreError, match=says):
            await evaluate(life.store, first, last)
        assert await rows(life.store, "SELECT day FROM days") == []


async def test_a_fleet_of_zero(tmp_path: Path) -> None:
    async with fleet_at_first(tmp_path) as life:
        await life.live(one for one in life.judging() if one[0] < at(22, "02:00"))
        assert await life.posture() == []
        judged = await evaluate(life.store, date(2026, 10, 20), date(2026, 10, 20))
        assert sorted(one.control for one in judged) == ["departed", "disk", "forwarding", "guests", "ports"]
        assert all(not one.totals and not one.changed for one in judged)
        for view in ("posture", "posture_runs", "posture_totals", "posture_revisions"):
            assert await rows(life.store, f"SELECT * FROM {view}") == []


async def test_a_day_before_the_fleet_existed(tmp_path: Path) -> None:
    async with fleet_at_first(tmp_path) as life:
        await lives(life, 20)
        judged = await evaluate(life.store, date(2026, 3, 29), date(2026, 3, 29))
        assert {status for one in judged for status in one.totals} == {"not_applicable"}
        found = await life.posture("WHERE day = '2026-03-29' AND control = 'disk'")
        assert [one[1:7] for one in found] == [
            (name, "2026-03-29", "not_applicable", "not_applicable", 0, "not_in_scope") for name in NAMES
        ]
        await life.worker.judge_news()
        assert [one[3] for one in await life.posture("WHERE day = '2026-10-19' AND control = 'disk'")] == ["pass"] * 2


async def test_a_control_whose_query_was_removed(tmp_path: Path) -> None:
    """Both go on the 21st, after the day was judged provisionally, and come back on the 23rd; one device has left."""
    async with fleet_at_first(tmp_path) as life:
        await lives(
            life,
            24,
            (at(21, "14:00"), lambda: life.apply("removed")),
            (at(22, "12:00"), lambda: life.retire("leaver")),
            (at(23, "12:00"), lambda: life.apply("first")),
        )
        found = await life.posture("WHERE control = 'forwarding' AND day < '2026-10-25'")
        assert [(name, day, status, since) for _, name, day, status, *_, since, _ in found] == [
            ("anchor", "2026-10-19", "pass", "2026-10-19"),
            ("anchor", "2026-10-20", "pass", "2026-10-19"),
            ("anchor", "2026-10-23", "pass", "2026-10-23"),
            ("anchor", "2026-10-24", "pass", "2026-10-23"),
            ("leaver", "2026-10-19", "pass", "2026-10-19"),
            ("leaver", "2026-10-20", "pass", "2026-10-19"),
        ]
        disk = await life.posture("WHERE control = 'disk' AND day < '2026-10-25'")
        assert [(name, day) for _, name, day, *_ in disk] == [
            *(("anchor", f"2026-10-{day}") for day in range(19, 25)),
            *(("leaver", f"2026-10-{day}") for day in range(19, 23)),
        ]
        assert await rows(life.store, "SELECT * FROM posture_revisions") == []
        await life.judge_all_again(19, 24)
        assert await life.posture("WHERE control = 'forwarding' AND day < '2026-10-25'") == found


async def test_a_device_that_comes_back(tmp_path: Path) -> None:
    """It leaves on the 20th and enrols again on the 22nd: on the day between it was not of the fleet."""
    async with fleet_at_first(tmp_path) as life:
        bodies = [one for one in sent() if one.device == "anchor" and not at(20, "12:00") < one.at < at(22, "12:00")]
        happenings = [
            (at(19, "08:00"), lambda: life.enrol("anchor")),
            (at(20, "12:00"), lambda: life.retire("anchor")),
            (at(22, "12:00"), lambda: life.enrol("anchor")),
            *life.deliveries(bodies),
            *life.judging(),
        ]
        await life.live(one for one in happenings if one[0] < at(24, "02:00"))
        found = await life.posture("WHERE control = 'disk' AND day < '2026-10-24'")
        assert [(day, status) for _, _, day, status, *_ in found] == [
            ("2026-10-19", "pass"),
            ("2026-10-20", "pass"),
            ("2026-10-22", "pass"),
            ("2026-10-23", "pass"),
        ]
        await life.judge_all_again(19, 23)
        assert await life.posture("WHERE control = 'disk' AND day < '2026-10-24'") == found
        assert await rows(life.store, "SELECT * FROM posture_revisions") == []


async def test_the_grace_of_a_new_device(tmp_path: Path) -> None:
    """Two days long. ``slow`` enrols on the 22nd; on the 24th it tells of the 21st, where its grace begins then."""
    async with fleet_at_first(tmp_path) as life:
        happenings = [
            (at(18, "20:30"), lambda: life.apply("graced")),
            (at(19, "08:00"), lambda: life.enrol("anchor")),
            (at(22, "08:00"), lambda: life.enrol("slow")),
            *life.deliveries(one for one in sent() if one.device == "anchor"),
            *life.deliveries(one for one in sent() if one.device == "slow" and one.at > at(22, "09:45")),
            *life.deliveries([answered("slow", at(21, "10:00"), at(24, "12:00"))]),
            *life.judging(),
        ]
        await life.live(one for one in happenings if one[0] < at(25, "02:00"))

        async def verdicts(name: str) -> list[tuple[str, str, str | None]]:
            found = await life.posture("WHERE control = 'disk' AND day < '2026-10-25' AND hostname = ?", name)
            return [(day[-2:], status, reason) for _, _, day, status, _, _, reason, *_ in found]

        new = ("not_applicable", "new_device")
        assert await verdicts("anchor") == [
            *(("19", *new), ("20", *new)),
            *((str(day), "pass", None) for day in range(21, 25)),
        ]
        assert await verdicts("slow") == [("21", *new), ("22", *new), ("23", "pass", None), ("24", "pass", None)]
        columns = "first_day, last_day, before_reason, after_status, after_reason, cause"
        revisions = f"SELECT {columns} FROM posture_revisions WHERE control = 'disk' ORDER BY 1"
        assert await rows(life.store, revisions) == [
            ("2026-10-21", "2026-10-21", None, "not_applicable", "new_device", "late_data"),
            ("2026-10-23", "2026-10-23", "new_device", "pass", None, "late_data"),
        ]
        await life.judge_all_again(19, 24)
        assert await verdicts("slow") == [("21", *new), ("22", *new), ("23", "pass", None), ("24", "pass", None)]
        assert len(await rows(life.store, revisions)) == 2


def test_a_control_without_its_query_is_no_catalog() -> None:
    files: dict[str, str | None] = {**contents()["first"].files, "queries/forwarding.linux.sql": None}
    with pytest.raises(CatalogError, match=r"controls/a/forwarding/control\.yaml:\d+: .*'forwarding'"):
        packs.content(files).load()
