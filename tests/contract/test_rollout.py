"""How far packs have come on a fleet, and what each device answers of what is expected of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.app import opened_database
from server.applying import apply
from server.catalog.canary import parse_selector
from server.catalog.content import Content
from server.cli.packs_status import device_lines, status_lines
from server.normalize.names import scheduled_name
from server.store import devices, served, shipping
from server.store.devices import Device
from server.store.driver import Driver, StoreError
from server.store.expected import device_status
from server.store.in_force import InForce, load_in_force
from server.store.migrate import migrate
from server.store.reload import Reloader
from server.store.rollout import rollout
from server.store.shipping import Request
from server.store.store import Store
from server.wire.log import parse_log
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, url_in

MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
HOUR = 3600
FILES: dict[str, str | None] = {
    "queries/osquery_schedule.sql": "-- What runs.\n-- volatile: executions, wall_time_ms, user_time, system_time,"
    " average_memory, output_size\nSELECT name, interval, executions, denylisted, wall_time_ms, user_time, system_time,"
    " average_memory, output_size FROM osquery_schedule\n",
    "queries/osquery_info.sql": "-- The osquery that answers.\nSELECT version, config_hash FROM osquery_info\n",
    "queries/doors.sql": "-- Doors.\nSELECT port FROM listening_ports\n",
    packs.PACK: "title: All\nqueries: {residents: , osquery_schedule: , osquery_info: , doors: }\n"
    "controls: [no-guests]\n",
}
BASE = packs.content(FILES)
CANARY = packs.content(
    {**FILES, packs.RESIDENTS: "-- Who.\n-- cost: 20ms\nSELECT username AS who, uid, shell FROM users\n"}
)


async def no_key(_in_force: InForce) -> None:
    return None


@dataclass
class Fleet:
    driver: Driver
    in_force: InForce
    now: float = float(MIDNIGHT)
    all: dict[str, Device] = field(default_factory=dict)

    async def begin(self) -> None:
        self.store = Store(self.driver, self.in_force, max_age_days=SINCE_1970, clock=lambda: self.now)
        self.reloader = Reloader(self.store, no_key, "here")
        for name in ("one", "two", "three"):
            self.all[name] = await add_device(self.store, name)
        await self.driver.write(lambda tx: devices.tag(tx, self.all["one"].device_id, {"eng"}, set(), 0))

    async def apply(self, content: Content, canary: str = "") -> None:
        selector = parse_selector(canary) if canary else None
        await apply(self.driver, content, Request(by="ada", selector=selector, note="why not"), self.now)
        await self.reloader.look()

    def config(self, name: str) -> tuple[int, str]:
        one = self.all[name]
        tagged = Device(one.device_no, one.device_id, one.platform, tags=frozenset({"eng"} if name == "one" else ()))
        number, config = self.store.in_force.config_of(tagged)
        return number, config.hash

    async def serve(self, *names: str) -> None:
        given = {self.all[name].device_no: self.config(name) for name in names}
        await self.driver.write(lambda tx: served.note_served(tx, given, self.now))
        await self.store.heard(list(given))

    async def answer(self, name: str, content: Content, query: str, *rows: dict[str, str]) -> None:
        version = content.load().queries[query, "linux"].version
        line = snapshot_line(scheduled_name(query, version), int(self.now), list(rows))
        await self.post(name, line)

    async def post(self, name: str, line: dict[str, object], log_type: str = "result") -> None:
        raw = json.dumps({"node_key": "k", "log_type": log_type, "data": [line]}).encode()
        assert not (await self.store.ingest(self.all[name], parse_log(raw))).rejected

    async def schedule(self, name: str, content: Content, **runs: int) -> None:
        """Tell the schedule: of each query how often it ran, -1 for a denylisted one."""
        rows = [
            {
                "name": f"pack/all/{scheduled_name(query, content.load().queries[query, 'linux'].version)}",
                "interval": "3600", "executions": str(max(count, 0)), "denylisted": str(int(count < 0)),
                "wall_time_ms": str(30 * count), "user_time": str(10 * count), "system_time": str(5 * count),
                "average_memory": "20000", "output_size": str(400 * count),
            }
            for query, count in runs.items()
        ]  # fmt: skip
        await self.answer(name, content, "osquery_schedule", *rows)

    async def fails(self, name: str, content: Content, query: str) -> None:
        scheduled = scheduled_name(query, content.load().queries[query, "linux"].version)
        line = {"severity": "2", "filename": "s.cpp", "line": "1", "version": "5.23.0", "unixTime": int(self.now)}
        await self.post(
            name, {**line, "message": f"Error executing scheduled query {scheduled}: no such door"}, "status"
        )

    async def states(self, name: str) -> dict[str, str]:
        found = await device_status(self.driver, self.store.in_force, name, self.now)
        return {one.query: one.state for one in found.queries}


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, MIDNIGHT)
        await apply(database.driver, BASE, Request(by="ada"), MIDNIGHT)
        in_force = await load_in_force(database.driver)
        assert in_force is not None
        made = Fleet(database.driver, in_force)
        await made.begin()
        yield made


async def test_devices_are_proven_by_the_hash_of_their_config(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.serve(*f.all)
        old = f.config("one")[1]
        f.now += HOUR
        for name in f.all:
            await f.answer(name, BASE, "osquery_info", {"version": "5.23.0", "config_hash": f.config(name)[1]})
        (linux,) = (await rollout(f.driver, f.store.in_force, f.now)).base.platforms
        assert (linux.platform, linux.devices, linux.proven, linux.silent) == ("linux", 3, 3, 0)
        await f.apply(CANARY)
        await f.serve("one", "two")
        f.now += HOUR
        await f.answer("one", CANARY, "osquery_info", {"version": "5.23.0", "config_hash": f.config("one")[1]})
        await f.answer("two", CANARY, "osquery_info", {"version": "5.23.0", "config_hash": "what is that"})
        await f.store.heard([f.all["one"].device_no])
        (linux,) = (await rollout(f.driver, f.store.in_force, f.now)).base.platforms
        assert (linux.proven, linux.older, linux.waiting, linux.unknown) == (1, 1, 0, 1)
        assert old != f.config("one")[1]
        f.now += 2 * HOUR
        await f.answer("two", CANARY, "osquery_info", {"version": "5.23.0", "config_hash": old})
        found = await rollout(f.driver, f.store.in_force, f.now)
        (linux,) = found.base.platforms
        assert (linux.proven, linux.older, linux.unknown) == (1, 2, 0)
        assert list(f.store.in_force.base.earlier) == [BASE.hash], "packs of before are read once"
        assert (linux.silent, linux.silent_seconds) == (2, 3 * HOUR)
        text = list(status_lines(found, f.now, whole=False))
        assert text[0].startswith("In force: application 2 (")
        assert text[0].endswith(": why not")
        assert all(len(line) <= 100 for line in text)


async def test_a_device_that_has_not_told_since_it_was_served_is_waited_for(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        (linux,) = (await rollout(f.driver, f.store.in_force, f.now)).base.platforms
        assert (linux.devices, linux.waiting) == (3, 3)


async def test_errors_and_costs_of_a_canary_and_its_base(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.fails("one", BASE, "doors")
        f.now += HOUR
        await f.apply(CANARY, "tag=eng")
        await f.serve(*f.all)
        f.now += HOUR
        await f.fails("one", CANARY, "doors")
        await f.fails("one", CANARY, "residents")
        await f.schedule("one", CANARY, residents=10, doors=-1)
        await f.answer("two", BASE, "residents", {"who": "ada", "uid": "1"}, {"who": "bob", "uid": "2"})
        await f.schedule("two", BASE, residents=4)
        found = await rollout(f.driver, f.store.in_force, f.now)
        assert found.canary is not None
        assert (found.canary.errors, found.canary.errors_before) == (2, 1)
        assert (found.base.errors, found.base.errors_before) == (0, 0)
        first = found.canary.queries[0]
        assert (first.query, first.devices, first.reporting, first.executions, first.failing) == (
            "residents",
            1,
            1,
            10,
            1,
        )
        assert (first.wall_seconds, first.user_seconds, first.memory, first.output) == (0.03, 0.01, 20_000, 400)
        assert (first.cost_seconds, first.denylisted, first.message) == (0.02, 0, "no such door")
        (residents,) = [one for one in found.base.queries if one.query == "residents"]
        assert (residents.devices, residents.reporting, residents.rows) == (2, 1, 2)
        assert [one.denylisted for one in found.canary.queries if one.query == "doors"] == [1]
        text = list(status_lines(found, f.now, whole=True))
        assert any(line.startswith("Canary on tag=eng: application 2") for line in text)
        assert "  Query errors: 2, and 1 before it was applied" in text
        assert "    residents on 1 of 1: no such door" in text
        assert all(len(line) <= 100 for line in text)


async def test_a_canary_is_promoted_once_a_device_runs_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        await f.serve(*f.all)
        with pytest.raises(StoreError, match="has said yet that it runs its config"):
            await shipping.promote(f.driver, "ada", f.now)
        f.now += HOUR
        await f.answer("two", BASE, "osquery_info", {"version": "5.23.0", "config_hash": f.config("two")[1]})
        with pytest.raises(StoreError, match="has said yet that it runs its config"):
            await shipping.promote(f.driver, "ada", f.now)
        await f.answer("one", CANARY, "osquery_info", {"version": "5.23.0", "config_hash": f.config("one")[1]})
        assert (await shipping.promote(f.driver, "ada", f.now)).state == "applied"
        with pytest.raises(StoreError, match="no canary"):
            await shipping.promote(f.driver, "ada", f.now, force=True)


async def test_what_a_device_should_answer_and_does_not(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        waiting = "schedule not told"
        assert await f.states("one") == dict.fromkeys(
            ("doors", "osquery_info", "osquery_schedule", "residents"), waiting
        )
        await f.serve("one")
        f.now += HOUR
        await f.answer("one", BASE, "residents", {"who": "ada", "uid": "1"})
        await f.schedule("one", BASE, residents=3, doors=0, osquery_schedule=2)
        assert await f.states("one") == {
            "doors": "never ran",
            "osquery_info": "never scheduled",
            "osquery_schedule": "answers",
            "residents": "answers",
        }
        await f.fails("one", BASE, "osquery_info")
        f.now += 60
        await f.schedule("one", BASE, residents=3, doors=7, osquery_schedule=2)
        assert (await f.states("one"))["osquery_info"] == "fails: no such door"
        assert (await f.states("one"))["doors"] == "ran, no answer"
        f.now += 60
        await f.schedule("one", BASE, residents=-1, doors=7, osquery_schedule=2)
        assert (await f.states("one"))["residents"] == "denylisted"
        f.now += 4 * HOUR
        assert (await f.states("one"))["osquery_schedule"] == "late"
        found = await device_status(f.driver, f.store.in_force, f.all["one"].device_id, f.now)
        assert (found.hostname, found.application, found.canary, found.config) == ("one", 1, False, "not told")
        text = list(device_lines(found))
        assert all(len(line) <= 100 for line in text)
        assert text[:2] == ["one (linux): application 1", "  Last seen: 2026-09-01T01:02:00Z"]
        assert "  4 queries are expected, 4 of them do not answer" in text
        (residents,) = [one for one in found.queries if one.query == "residents"]
        assert (residents.last_answer, residents.since) == ("2026-09-01T01:00:00Z", "2026-09-01T00:00:00Z")


async def test_a_device_is_named_by_hostname_or_id(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        with pytest.raises(StoreError, match="no device 'nobody' in use"):
            await device_status(f.driver, f.store.in_force, "nobody", f.now)
        await f.driver.write(lambda tx: tx.run("UPDATE muster_devices SET hostname = 'two' WHERE hostname = 'three'"))
        with pytest.raises(StoreError, match="2 devices have the hostname 'two': give one of their ids"):
            await device_status(f.driver, f.store.in_force, "two", f.now)
