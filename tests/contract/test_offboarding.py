"""The controls of people who have left, judged by what was imported: from the day after the last one on, and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.normalize.names import scheduled_name
from server.store.devices import Device
from tests.contract.test_judge import CATALOG, DAY, MIDNIGHT, Fleet, fleet
from tests.contract.test_roster import ADA, BOB, LEFT, asset, register, roster
from tests.contract.test_store import send
from tests.support.server import snapshot_line
from tests.support.stores import add_device, rows

MACHINE = {
    **dict.fromkeys(("uuid", "cpu_type", "cpu_brand", "hardware_vendor", "hardware_model", "computer_name"), "x"),
    **{"hostname": "laptop", "cpu_physical_cores": "4", "cpu_logical_cores": "8", "physical_memory": "1"},
}


async def said(f: Fleet, device: Device, name: str, day: int, *found: Mapping[str, str]) -> None:
    query = CATALOG.queries[name, device.platform]
    at = MIDNIGHT + day * DAY + 9 * 3600
    await send(f.store, device, snapshot_line(scheduled_name(name, query.version), at, [dict(row) for row in found]))


async def verdicts(f: Fleet, control: str) -> list[tuple[Any, ...]]:
    """Of the laptop; the register's machine has a device of its own, for a laptop of these tests has no serial."""
    sql = "SELECT day, status, reason FROM posture WHERE control = ? AND hostname = 'laptop' ORDER BY day"
    return await rows(f.store, sql, (control,))


async def test_from_the_day_after_the_last_one(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in (3, 4, 5, 6):
            await said(f, laptop, "accounts_in_use", day, {"account": "root"}, {"account": "ada"})
            await said(f, laptop, "system_info", day, {**MACHINE, "hardware_serial": " SN-1"})
        control, returned = "departed-user-session-absent", "departed-device-returned"
        await f.judge(4)
        assert await verdicts(f, control) == [("2026-09-05", "not_applicable", "condition")]
        await roster(f.store, ADA, BOB)
        await f.judge(4)
        assert await verdicts(f, control) == [("2026-09-05", "pass", None)]
        await roster(f.store, replace(LEFT, serials={"sn-1": "SN-1"}), BOB)
        await f.judge(3, 4, 5, 6)
        expected = [
            ("2026-09-04", "pass", None),
            ("2026-09-05", "pass", None),
            ("2026-09-06", "fail", "rows_match"),
            ("2026-09-07", "fail", "rows_match"),
        ]
        assert await verdicts(f, control) == await verdicts(f, returned) == expected
        await register(f.store, asset("SN-1", owner="bob@example.com", since="2026-09-07"))
        await f.judge(3, 4, 5, 6)
        assert await verdicts(f, control) == expected


async def test_the_register_of_the_day_that_is_judged(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in (3, 4, 5):
            await said(f, laptop, "system_info", day, {**MACHINE, "hardware_serial": "SN-1"})
        control = "asset-register-match"
        await f.judge(4)
        assert await verdicts(f, control) == [("2026-09-05", "not_applicable", "condition")]
        await register(f.store, asset("SN-1", owner="bob"), today="2026-09-02")
        await register(f.store, asset("SN-1", owner="bob", status="returned"), today="2026-09-05")
        await register(f.store, asset("SN-1", owner="bob"), today="2026-09-06")
        await f.judge(3, 4, 5)
        assert await verdicts(f, control) == [
            ("2026-09-04", "pass", None),
            ("2026-09-05", "fail", "rows_break_rule"),
            ("2026-09-06", "pass", None),
        ]


async def test_only_imports_that_fill_a_rules_lists_wait_for_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await said(f, laptop, "accounts_in_use", 4, {"account": "root"})
        await said(f, laptop, "system_info", 4, {**MACHINE, "hardware_serial": "SN-1"})
        await f.judge(4)
        controls = ("asset-register-match", "departed-user-session-absent", "departed-device-returned")

        async def imports_waiting() -> list[int | str]:
            found = [await explain(f.store, Question(laptop.device_id, control, "2026-09-05")) for control in controls]
            files = [one.lists[0].title.rsplit(" ", 1)[-1] for one in found]
            return [*(sum("import" in news for news in one.pending) for one in found), *files]

        await roster(f.store, ADA, BOB)
        assert await imports_waiting() == [0, 1, 1, "yet", "people.csv", "people.csv"]
        await register(f.store, asset("SN-1", owner="bob"), today="2026-09-02")
        assert await imports_waiting() == [1, 1, 2, "assets.csv", "people.csv", "assets.csv"]


async def test_the_register_as_of_a_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        told = "SELECT status, owner, from_day, to_day FROM muster_asset_register WHERE serial = 's1' ORDER BY 3"
        assert await rows(f.store, "SELECT * FROM muster_asset_register") == []
        await register(f.store, asset("S1", owner="ada"), today="2026-09-02")
        await register(f.store, asset("S1", owner="bob"), today="2026-09-05")
        await register(f.store, asset("S1", owner="bob", status="returned", since="2026-09-07"), today="2026-09-09")
        await register(f.store, asset("S2"), today="2026-09-11")
        assert await rows(f.store, told) == [
            ("in_use", "ada", "", "2026-09-05"),
            ("in_use", "bob", "2026-09-05", "2026-09-07"),
            ("returned", "bob", "2026-09-07", "2026-09-11"),
        ]
        await register(
            f.store, asset("S1", owner="bob", status="returned", since="2026-09-04"), asset("S2"), today="2026-09-12"
        )
        assert await rows(f.store, told) == [
            ("in_use", "ada", "", "2026-09-04"),
            ("returned", "bob", "2026-09-04", "9999-12-31"),
        ]
        assert ("*", "", "", "", "9999-12-31") in await rows(f.store, "SELECT * FROM muster_asset_register")
