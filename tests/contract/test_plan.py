"""What applying packs would change on the devices of a fleet, in its tables and for its verdicts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import opened_database
from server.applying import apply
from server.catalog.canary import parse_selector
from server.catalog.content import Content
from server.catalog.problems import CatalogError
from server.cli.packs_plan import plan_lines
from server.evaluate.check import checked
from server.evaluate.planning import Plan, Starts, make_plan
from server.store import applications
from server.store.driver import Driver
from server.store.in_force import load_in_force
from server.store.migrate import migrate
from server.store.shipping import Request
from server.store.store import Store
from tests.support import packs
from tests.support.stores import add_device, contents, url_in

NOW = 1_788_220_800
BASE = packs.content()
CASES = packs.CONTROL.replace("control.yaml", "cases.yaml")
SHELLS = packs.content({packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid, shell FROM users\n"})


@dataclass
class Fleet:
    driver: Driver
    store: Store

    async def plan(self, content: Content, canary: str = "") -> Plan:
        before = await load_in_force(self.driver)
        assert before is not None
        return await make_plan(
            self.driver, content, await checked(content), before, parse_selector(canary) if canary else None
        )


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, NOW)
        await apply(database.driver, BASE, Request(by="ada"), NOW)
        in_force = await load_in_force(database.driver)
        assert in_force is not None
        made = Fleet(database.driver, Store(database.driver, in_force, clock=lambda: float(NOW)))
        for number in range(20):
            await add_device(made.store, f"host-{number:02}", "darwin" if number < 5 else "linux")
        yield made


def lines(plan: Plan) -> list[str]:
    return list(plan_lines(plan, Path("packs")))


async def test_nothing_to_do_is_one_line(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        (line,) = lines(await f.plan(BASE))
        assert line.startswith("No changes: packs is what application 1 (")
        (line,) = lines(await f.plan(packs.content({packs.PACK: (BASE.files[packs.PACK]) + "# more\n"})))
        assert line.startswith("No changes: of packs only comments")


async def test_a_query_with_another_column_reaches_every_device(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        before = await contents(f.store)
        plan = await f.plan(SHELLS)
        assert [(one.platform, one.devices, one.reached, one.changed) for one in plan.platforms] == [
            ("darwin", 5, 5, 5),
            ("linux", 15, 15, 15),
            ("windows", 0, 0, 0),
        ]
        assert plan.devices_changed == 20
        assert plan.tables == ["residents gets the column shell text"]
        assert plan.starts == [Starts("no-guests", "linux", "residents", 15)]
        assert plan.queries == {"residents": (20, 20)}
        (_, (before_bytes, after_bytes)) = (plan.platforms[1].queries, plan.platforms[1].config_bytes)
        assert after_bytes - before_bytes == len(", shell")
        text = lines(plan)
        assert "      | +SELECT username AS who, uid, shell FROM users" in text
        assert "  no-guests on linux (residents): 15 devices" in text
        assert all(len(line) <= 100 for line in text[1:])
        assert await contents(f.store) == before


async def test_the_devices_of_a_canary_are_those_that_it_will_have(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        plan = await f.plan(SHELLS, "20%")
        assert plan.canary and 0 < len(plan.canary) < 20
        assert plan.devices_changed == len(plan.canary)
        selector = parse_selector("20%")
        applied, _ = await apply(f.driver, SHELLS, Request(by="ada", selector=selector), NOW)
        members = await f.driver.read(lambda tx: applications.members(tx, applied.application.number))
        names = await f.driver.read(lambda tx: tx.rows("SELECT device_no, hostname FROM muster_devices"))
        assert plan.canary == sorted(name for no, name in names if no in members)
        assert (await f.plan(SHELLS)).under_way == 2


async def test_the_devices_of_a_pack_with_targets(tmp_path: Path) -> None:
    more = "title: More\nqueries: {residents: {interval: 60}}\nplatforms: [darwin]\ntargets: {osquery: '5.1'}\n"
    async with fleet(tmp_path) as f:
        plan = await f.plan(packs.content({"more.yaml": more}))
        assert plan.packs == {"more": (0, 5)}
        assert [one.changed for one in plan.platforms] == [5, 0, 0]
        assert [one.seconds_a_day[1] for one in plan.platforms] == pytest.approx([14.4, 0.24, 0.24])
        assert "  + more, 0 → 5 devices" in lines(plan)


async def test_what_cannot_be_is_a_problem(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        latest = "-- Who there is.\n-- mode: latest\nSELECT username AS who, uid FROM users\n"
        alone = "title: A\nqueries: {residents: }\n"
        with pytest.raises(CatalogError, match="of mode state"):
            await f.plan(packs.content({packs.RESIDENTS: latest, packs.CONTROL: None, CASES: None, packs.PACK: alone}))
        typed = "-- Who there is.\nSELECT username AS who, CAST(uid AS TEXT) AS uid FROM users\n"
        assert (await f.plan(packs.content({packs.RESIDENTS: typed}))).tables == [
            "residents.uid becomes text, with all that is stored (bigint)"
        ]
        with pytest.raises(CatalogError, match="a canary shares the table"):
            await f.plan(packs.content({packs.RESIDENTS: typed}), "5%")
        with pytest.raises(CatalogError, match="no such column"):
            await f.plan(packs.content({packs.RESIDENTS: "-- Who.\nSELECT nobody FROM users\n"}))
