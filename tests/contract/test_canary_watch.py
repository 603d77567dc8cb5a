"""A canary whose devices fail, are slow or fall silent stops by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.app import opened_database
from server.applying import apply
from server.catalog.canary import parse_selector
from server.catalog.content import Content
from server.normalize.names import scheduled_name
from server.store import applications, devices, served
from server.store.applications import STOPPED, Application
from server.store.canary_watch import watch_canary
from server.store.devices import Device
from server.store.driver import Driver
from server.store.in_force import InForce, load_in_force
from server.store.migrate import migrate
from server.store.reload import Reloader
from server.store.shipping import Request
from server.store.store import Store
from server.wire.log import parse_log
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, url_in

MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
MINUTE = 60
SCHEDULE = (
    "-- What runs.\n-- volatile: executions, wall_time_ms, user_time, system_time\nSELECT name, interval, executions,"
    " denylisted, wall_time_ms, user_time, system_time FROM osquery_schedule\n"
)
ALL = "title: All of it\nqueries: {residents: , osquery_schedule: }\ncontrols: [no-guests]\n"
BASE = packs.content({"queries/osquery_schedule.sql": SCHEDULE, packs.PACK: ALL})
SHELLS = "-- Who there is.\n-- cost: 20ms\nSELECT username AS who, uid, shell FROM users\n"
CANARY = packs.content({"queries/osquery_schedule.sql": SCHEDULE, packs.PACK: ALL, packs.RESIDENTS: SHELLS})


async def no_key(_in_force: InForce) -> None:
    return None


@dataclass
class Fleet:
    """A server's store; ``c0`` to ``c3`` are in the canary, ``o0`` to ``o3`` are not."""

    driver: Driver
    in_force: InForce
    now: float = float(MIDNIGHT)
    all: dict[str, Device] = field(default_factory=dict)

    async def begin(self, canary: Content) -> None:
        self.store = Store(self.driver, self.in_force, max_age_days=SINCE_1970, clock=lambda: self.now)
        self.reloader = Reloader(self.store, no_key, "here")
        for name in [f"{of}{number}" for of in "co" for number in range(4)]:
            device = self.all[name] = await add_device(self.store, name)
            if name.startswith("c"):
                await self.driver.write(lambda tx, device=device: devices.tag(tx, device.device_id, {"eng"}, set(), 0))  # type: ignore[misc]
        self.now += MINUTE
        await apply(self.driver, canary, Request(by="ada", selector=parse_selector("tag=eng")), self.now)
        await self.reload()
        self.now += MINUTE
        await self.serve(*self.all)

    async def reload(self) -> None:
        await self.reloader.look()

    async def serve(self, *names: str) -> None:
        """Note that these devices were served their config, and heard of, now."""
        given = {
            self.all[name].device_no: (number, config.hash)
            for name in names
            for number, config in [self.store.in_force.config_of(await self.as_stored(name))]
        }
        await self.driver.write(lambda tx: served.note_served(tx, given, self.now))
        await self.heard(*names)

    async def as_stored(self, name: str) -> Device:
        device = self.all[name]
        return Device(
            device.device_no, device.device_id, device.platform, tags=frozenset({"eng"} if name[0] == "c" else ())
        )

    async def heard(self, *names: str) -> None:
        await self.store.heard([self.all[name].device_no for name in names])

    async def post(self, name: str, line: dict[str, object], log_type: str = "result") -> None:
        raw = json.dumps({"node_key": "k", "log_type": log_type, "data": [line]}).encode()
        assert not (await self.store.ingest(self.all[name], parse_log(raw))).rejected

    async def schedule(
        self, name: str, content: Content, *, runs: int, wall: int, cpu: int = 0, denied: int = 0
    ) -> None:
        """What ``osquery_schedule`` says on a device, of the query ``residents`` of these packs."""
        queries = content.load().queries
        row = {
            "name": f"pack/all/{scheduled_name('residents', queries['residents', 'linux'].version)}",
            "interval": "3600", "executions": str(runs), "denylisted": str(denied), "wall_time_ms": str(wall),
            "user_time": str(cpu), "system_time": "0",
        }  # fmt: skip
        version = queries["osquery_schedule", "linux"].version
        await self.post(name, snapshot_line(scheduled_name("osquery_schedule", version), int(self.now), [row]))

    async def fails(self, name: str, content: Content) -> None:
        query = scheduled_name("residents", content.load().queries["residents", "linux"].version)
        message = f"Error executing scheduled query {query}: no such column: shell"
        line = {"severity": "2", "filename": "s.cpp", "line": "1", "message": message, "version": "5.23.0"}
        await self.post(name, {**line, "unixTime": int(self.now)}, "status")

    async def look(self) -> Application | None:
        return await watch_canary(self.store, MIDNIGHT)

    async def stopped(self) -> str:
        """Why the canary is stopped; it must be."""
        stopped = await self.look()
        assert stopped is not None and (stopped.state, stopped.stopped_by) == (STOPPED, "muster")
        base, canary = await self.driver.read(applications.in_force)
        assert base is not None and (base.number, canary) == (1, None)
        return stopped.stop_reason or ""


@asynccontextmanager
async def fleet(directory: Path, canary: Content = CANARY) -> AsyncIterator[Fleet]:
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, MIDNIGHT)
        await apply(database.driver, BASE, Request(by="ada"), MIDNIGHT)
        in_force = await load_in_force(database.driver)
        assert in_force is not None
        made = Fleet(database.driver, in_force)
        await made.begin(canary)
        yield made


async def test_a_query_that_fails_on_a_device_of_the_canary(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += MINUTE
        assert await f.look() is None
        await f.fails("c2", CANARY)
        assert await f.stopped() == (
            "queries fail on 1 of 4 devices that did not before (residents: no such column: shell, on 1, on 0 of the 4"
            " others): c2"
        )


async def test_a_denylisted_query(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += MINUTE
        await f.schedule("c1", CANARY, runs=1, wall=5, denied=1)
        assert "residents is denylisted, on 1" in await f.stopped()


async def test_what_fails_beside_it_or_failed_before_does_not_count(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.fails("o0", BASE)
        await f.fails("c0", BASE)  # still the query it had before
        f.now += MINUTE
        assert await f.look() is None
        await f.fails("c0", CANARY)
        assert await f.look() is None, "as great a share of the others has it"


async def test_a_device_that_failed_before_it_was_served(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now -= 90
        await f.fails("c0", BASE)
        f.now += 90 + MINUTE
        await f.fails("c0", CANARY)
        assert await f.look() is None
        await f.fails("c1", CANARY)
        assert await f.stopped()


async def test_an_error_that_has_passed_is_none(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += MINUTE
        await f.fails("c0", CANARY)
        query = scheduled_name("residents", CANARY.load().queries["residents", "linux"].version)
        await f.post("c0", snapshot_line(query, int(f.now) + 10, []))
        assert await f.look() is None


async def test_a_slow_query(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += MINUTE
        await f.schedule("c0", CANARY, runs=10, wall=300)
        await f.schedule("o0", BASE, runs=10, wall=90_000)
        assert await f.look() is None
        await f.schedule("c1", CANARY, runs=4, wall=200, cpu=7200)
        await f.schedule("c2", CANARY, runs=2, wall=5000)
        assert await f.stopped() == (
            "residents takes 1.8 s a run (the median of 3 devices), and its header says 20 ms: c2 2.5 s"
        )


async def test_a_query_that_was_slow_before_is_none_of_its(tmp_path: Path) -> None:
    same = packs.content({**BASE.files, packs.CONTROL: packs.control("who = 'nobody'")})
    async with fleet(tmp_path, same) as f:
        f.now += MINUTE
        await f.schedule("c0", same, runs=10, wall=90_000)
        assert await f.look() is None


async def test_a_day_above_the_budget(tmp_path: Path) -> None:
    often = "title: All of it\nqueries: {residents: {interval: 60}, osquery_schedule: }\ncontrols: [no-guests]\n"
    async with fleet(tmp_path, packs.content({**BASE.files, packs.PACK: often})) as f:
        f.now += MINUTE
        await f.schedule("c0", BASE, runs=10, wall=3000)
        assert await f.stopped() == (
            "all queries take 432 s a day (the median of 1 device), more than the budget of 300 s: c0 432 s, of which"
            " residents 432 s, osquery_schedule 240 ms"
        )


async def test_devices_that_fall_silent(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.all["c-late"] = await add_device(f.store, "c-late")  # nobody knows what it did before
        await f.driver.write(lambda tx: devices.tag(tx, f.all["c-late"].device_id, {"eng"}, set(), f.now))
        await f.reload()
        await f.serve("c-late")
        f.now += 10 * MINUTE
        await f.heard("c0", "c1", "o0", "o1", "o2", "o3")
        assert await f.look() is None
        f.now += 6 * MINUTE
        assert await f.stopped() == (
            "2 of 5 devices were not heard of for 15 minutes after they were served it, and 0 of the 4 others: c2, c3"
        )


async def test_a_fleet_that_falls_asleep_together(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += 16 * MINUTE
        await f.heard("c0", "o0")
        assert await f.look() is None


async def test_nobody_is_silent_while_no_server_listened(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now += 16 * MINUTE
        await f.heard("o0", "o1", "o2", "o3")
        assert await watch_canary(f.store, f.now - MINUTE) is None
        assert await f.look() is not None


async def test_limits_are_those_of_the_canarys_packs(tmp_path: Path) -> None:
    limits = "canary: {errors_percent: 30, silent_minutes: 60, silent_percent: 0}\n"
    async with fleet(tmp_path, packs.content({**CANARY.files, "fleet.yaml": limits})) as f:
        f.now += 16 * MINUTE
        await f.fails("c0", CANARY)
        await f.heard("o0", "o1", "o2", "o3")
        assert await f.look() is None
        await f.fails("c1", CANARY)
        assert "on 2 of 4 devices" in await f.stopped()
