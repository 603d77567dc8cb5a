"""While a canary is under way, its devices are served, stored and judged by its packs, and the others by theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.keys import Presence
from server.app import opened_database
from server.applying import apply
from server.catalog.canary import parse_selector
from server.catalog.content import Content
from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import applications, devices, served
from server.store.devices import Device
from server.store.driver import Driver
from server.store.in_force import InForce, load_in_force
from server.store.migrate import migrate
from server.store.reload import Reloader
from server.store.shipping import Request, roll_back
from server.store.store import Store
from server.wire.log import parse_log
from server.worker import Worker
from tests.contract.test_erasure import enrolled
from tests.contract.test_roster import asset, register
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, rows, url_in

DAY, HOUR = 86_400, 3_600
MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
FIRST_DAY = date(2026, 9, 1)

BASE = packs.content()
GREETERS = "controls/accounts/no-greeters/control.yaml"
CANARY = packs.content(
    {
        packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid, shell FROM users\n",
        packs.CONTROL: packs.control("shell = '/bin/bash'"),
        GREETERS: packs.control("who = 'greeter'"),
        packs.PACK: "title: All of it\nqueries: {residents: }\ncontrols: [no-guests, no-greeters]\n",
    }
)


async def no_key(_in_force: InForce) -> None:
    return None


@dataclass
class Fleet:
    """A server's store with two devices, of which ``chosen`` has the tag ``eng``."""

    driver: Driver
    store: Store
    now: float = float(MIDNIGHT)

    async def begin(self) -> None:
        self.store.clock = lambda: self.now
        self.reloader = Reloader(self.store, no_key, "here")
        self.chosen, self.other = await add_device(self.store, "chosen"), await add_device(self.store, "other")
        await self.driver.write(lambda tx: devices.tag(tx, self.chosen.device_id, {"eng"}, set(), self.now))

    async def apply(self, content: Content, canary: str = "") -> None:
        selector = parse_selector(canary) if canary else None
        await apply(self.driver, content, Request(by="ada", selector=selector), self.now)
        await self.reloader.look()

    async def said(self, device: Device, content: Content, hour: float, *users: dict[str, str]) -> None:
        query = content.load().queries["residents", "linux"]
        name = scheduled_name("residents", query.version)
        line = snapshot_line(name, int(MIDNIGHT + hour * HOUR), list(users))
        raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
        assert not (await self.store.ingest(device, parse_log(raw))).rejected

    async def verdicts(
        self, device: Device, day: date, *, as_applied: bool = False
    ) -> dict[str, tuple[str, str | None]]:
        await evaluate(self.store, day, day, as_applied=as_applied)
        found = await rows(
            self.store, "SELECT control, status, reason FROM posture WHERE device_id = ? AND day = ?",
            (device.device_id, day.isoformat()),
        )  # fmt: skip
        return {control: (status, reason) for control, status, reason in found}

    def queries(self, device: Device) -> list[str]:
        config = json.loads(self.store.in_force.config_of(device)[1].body)
        return [entry["query"] for pack in config["packs"].values() for entry in pack["queries"].values()]


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, MIDNIGHT)
        await apply(database.driver, BASE, Request(by="ada"), MIDNIGHT)
        in_force = await load_in_force(database.driver)
        assert in_force is not None
        made = Fleet(database.driver, Store(database.driver, in_force, max_age_days=SINCE_1970))
        await made.begin()
        yield made


async def test_each_device_is_served_its_packs_and_all_of_them_once_promoted(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        before = f.store.in_force.config_of(f.other)
        await f.apply(CANARY, "tag=eng")
        assert "shell" in f.queries(f.chosen)[0]
        assert "shell" not in f.queries(f.other)[0]
        assert f.store.in_force.config_of(f.other)[1].body == before[1].body
        assert [f.store.in_force.config_of(device)[0] for device in (f.chosen, f.other)] == [2, 1]
        await f.driver.write(lambda tx: applications.promote(tx, "ada", f.now))
        await f.reloader.look()
        assert f.queries(f.other) == f.queries(f.chosen)
        assert "shell" in f.queries(f.other)[0]


async def test_answers_to_both_versions_are_in_one_table(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 10 * HOUR
        await f.said(f.chosen, CANARY, 9, {"who": "guest", "uid": "7", "shell": "/bin/sh"})
        await f.said(f.other, BASE, 9, {"who": "guest", "uid": "7"})
        assert await rows(f.store, "SELECT hostname, who, uid, shell FROM residents ORDER BY hostname") == [
            ("chosen", "guest", 7, "/bin/sh"),
            ("other", "guest", 7, None),
        ]


async def test_each_device_is_judged_by_its_packs(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 10 * HOUR
        await f.said(f.chosen, CANARY, 9, {"who": "guest", "uid": "7", "shell": "/bin/sh"})
        await f.said(f.other, BASE, 9, {"who": "guest", "uid": "7"})
        assert await f.verdicts(f.chosen, FIRST_DAY) == {
            "no-guests": ("pass", None),  # the canary's rule minds shells, not guests
            "no-greeters": ("pass", None),
        }
        assert await f.verdicts(f.other, FIRST_DAY) == {
            "no-guests": ("fail", "rows_match"),
            "no-greeters": ("not_applicable", "not_targeted"),
        }
        versions = await rows(
            f.store,
            "SELECT c.control, e.rule_version, e.canary_version FROM muster_evaluation e"
            " JOIN muster_controls c ON c.control_no = e.control_no ORDER BY c.control",
        )
        (greeters, no_version, canarys), (guests, base_version, canary_version) = versions
        assert (greeters, no_version, guests) == ("no-greeters", "", "no-guests")
        assert canarys and canary_version and base_version and canary_version != base_version


async def test_a_canary_that_began_after_a_day_judges_nothing_of_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now = MIDNIGHT + 10 * HOUR
        await f.said(f.chosen, BASE, 9, {"who": "guest", "uid": "7"})
        f.now = MIDNIGHT + DAY + 60
        await f.apply(CANARY, "tag=eng")
        assert await f.verdicts(f.chosen, FIRST_DAY) == {"no-guests": ("fail", "rows_match")}
        assert await f.verdicts(f.chosen, FIRST_DAY + timedelta(days=1)) == {
            "no-guests": ("stale", "too_old"),
            "no-greeters": ("stale", "too_old"),
        }


async def test_a_stopped_canary_leaves_its_devices_to_the_others_packs(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 10 * HOUR
        await f.said(f.chosen, CANARY, 9, {"who": "guest", "uid": "7", "shell": "/bin/sh"})
        await roll_back(f.driver, None, Request(by="bob"), f.now)
        await f.reloader.look()
        assert "shell" not in f.queries(f.chosen)[0]
        assert await f.verdicts(f.chosen, FIRST_DAY) == {"no-guests": ("stale", "other_version")}
        f.now += HOUR
        await f.said(f.chosen, BASE, 10.5, {"who": "guest", "uid": "7"})
        assert await f.verdicts(f.chosen, FIRST_DAY) == {"no-guests": ("fail", "rows_match")}


async def test_a_day_that_is_over_is_judged_by_what_was_in_force_at_its_end(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now = MIDNIGHT + 8 * HOUR
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 10 * HOUR
        for device in (f.chosen, f.other):
            await f.said(device, CANARY, 9, {"who": "guest", "uid": "7", "shell": "/bin/bash"})
            await f.said(device, BASE if device is f.other else CANARY, 9.5, {"who": "guest", "uid": "7"})
        f.now = MIDNIGHT + DAY + 60
        await roll_back(f.driver, None, Request(by="bob"), f.now)
        await f.reloader.look()
        await f.apply(packs.content({packs.CONTROL: packs.control("who = 'nobody'")}))
        greeted = {"no-guests": ("pass", None), "no-greeters": ("pass", None)}
        assert await f.verdicts(f.chosen, FIRST_DAY, as_applied=True) == greeted
        untargeted = {"no-guests": ("fail", "rows_match"), "no-greeters": ("not_applicable", "not_targeted")}
        assert await f.verdicts(f.other, FIRST_DAY, as_applied=True) == untargeted
        assert (await f.verdicts(f.other, FIRST_DAY))["no-guests"] == ("pass", None), "asked for, it is today's rule"
        assert (await f.verdicts(f.chosen, FIRST_DAY - timedelta(days=1), as_applied=True))["no-guests"][0] == (
            "not_applicable"
        )


async def test_packs_of_the_past_that_cannot_be_read_do_not_keep_a_day_from_being_judged(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        f.now = MIDNIGHT + 10 * HOUR
        await f.driver.write(lambda tx: made_by_a_later_version(tx, f.now))
        await f.said(f.chosen, BASE, 9, {"who": "guest", "uid": "7"})
        f.now = MIDNIGHT + DAY + 60
        await f.apply(packs.content({packs.PACK: "title: Again\ncontrols: [no-guests]\n"}))
        assert await f.verdicts(f.chosen, FIRST_DAY, as_applied=True) == {"no-guests": ("fail", "rows_match")}


async def test_foreign_answers_are_held_against_the_query_of_the_devices_own_packs(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 10 * HOUR
        for device in (f.chosen, f.other):
            line = snapshot_line("residents", MIDNIGHT + 9 * HOUR, [{"who": "guest", "uid": "7"}])
            raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
            await f.store.ingest(device, parse_log(raw))
        assert (await f.verdicts(f.other, FIRST_DAY))["no-guests"] == ("fail", "rows_match")
        assert (await f.verdicts(f.chosen, FIRST_DAY))["no-guests"][0] == "stale", "no shell: not the canary's query"


async def test_another_server_goes_over_too_and_what_cannot_be_loaded_changes_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f, opened_database(await url_in(tmp_path)) as database:
        in_force = await load_in_force(database.driver)
        assert in_force is not None
        second = Store(database.driver, in_force, clock=lambda: f.now)
        looking = Reloader(second, no_key, "there")
        await looking.begin()
        await f.apply(CANARY, "tag=eng")
        await looking.look()
        assert [part.number for part in second.in_force.parts] == [1, 2]
        assert second.in_force.config_of(f.chosen)[1] == f.store.in_force.config_of(f.chosen)[1]
        told = await f.driver.read(lambda tx: served.servers(tx, f.now))
        assert [(one.server, one.number, one.canary, one.problem) for one in told] == [
            ("here", 1, 2, None),
            ("there", 1, 2, None),
        ]

        await roll_back(f.driver, None, Request(by="bob"), f.now)
        await f.driver.write(lambda tx: made_by_a_later_version(tx, f.now))
        await looking.look()
        assert [part.number for part in second.in_force.parts] == [1, 2]
        (problem,) = [
            one.problem for one in await f.driver.read(lambda tx: served.servers(tx, f.now)) if one.server == "there"
        ]
        assert problem is not None and "all.yaml" in problem


async def made_by_a_later_version(tx: Any, now: float, canary: str | None = None) -> None:
    base, _ = await applications.in_force(tx)
    assert base is not None
    later = packs.content({packs.PACK: "title: All\nnew_key: 1\n"})
    state = "canary" if canary else "applied"
    made = applications.Application(
        number=0, hash=later.hash, origin="apply", applied_by="eve", applied_at=iso(now), note="", state=state,
        canary=canary,
    )  # fmt: skip
    await applications.record(tx, made, later)


async def test_a_server_that_could_not_load_a_canary_says_so_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.reload.AGAIN_SECONDS", 0.0)
    async with fleet(tmp_path) as f:
        await f.reloader.begin()
        began = iso(f.now)
        f.now += 60
        await f.driver.write(lambda tx: made_by_a_later_version(tx, f.now, "tag=eng"))
        await f.reloader.look()
        (one,) = await f.driver.read(lambda tx: served.servers(tx, f.now))
        assert "new_key" in (one.problem or "") and (one.number, one.canary, one.loaded_at) == (1, None, began)
        await roll_back(f.driver, None, Request(by="bob"), f.now)
        for _ in range(2):
            await f.reloader.look()
        (one,) = await f.driver.read(lambda tx: served.servers(tx, f.now))
        assert (one.problem, one.number, one.canary, one.loaded_at) == (None, 1, None, began)


async def test_a_server_that_was_not_heard_of_for_long_is_listed_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.reloader.begin()
        f.now += served.GONE_SECONDS + 60
        await Reloader(f.store, no_key, "there").begin()
        assert [one.server for one in await f.driver.read(lambda tx: served.servers(tx, f.now))] == ["there"]
        await f.reloader.seen()
        assert [one.server for one in await f.driver.read(lambda tx: served.servers(tx, f.now))] == ["here", "there"]


async def test_of_an_erased_device_it_is_not_written_down_what_it_was_served(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        config = {device.device_no: (1, "h") for device in (f.chosen, f.other)}
        await f.driver.write(lambda tx: tx.run(
            "UPDATE muster_devices SET erased_at = ? WHERE device_no = ?", (iso(f.now), f.other.device_no)
        ))  # fmt: skip
        await f.driver.write(lambda tx: served.note_served(tx, config, f.now))
        assert await rows(f.store, "SELECT device_no FROM muster_served") == [(f.chosen.device_no,)]


async def test_a_device_that_two_servers_serve_is_written_down_with_the_config_it_had_last(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        workers = []
        for _ in range(2):
            store = Store(f.driver, f.store.in_force, clock=lambda: f.now)
            workers.append((store, presence := Presence(), Worker(store, presence, key_of=no_key)))

        async def serve(at: int) -> None:
            store, presence, worker = workers[at]
            await worker.look_at_packs()
            number, config = store.in_force.config_of(f.chosen)
            presence.serve(f.chosen.device_no, number, config.hash)
            await worker.write_presence()

        await serve(0)
        await f.apply(CANARY, "tag=eng")
        await serve(1)
        assert await rows(f.store, "SELECT number FROM muster_served") == [(2,)]
        await workers[0][2].look_at_packs()
        await roll_back(f.driver, None, Request(by="bob"), f.now)
        await serve(0)
        assert await rows(f.store, "SELECT number FROM muster_served") == [(1,)]


async def test_a_device_that_joins_is_noticed_without_loading_anything(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        before, ingest = f.store.in_force, f.store._ingest
        await f.driver.write(lambda tx: devices.tag(tx, f.other.device_id, {"eng"}, set(), f.now))
        assert "shell" not in f.queries(f.other)[0]
        await f.reloader.look()
        assert "shell" in f.queries(f.other)[0]
        assert (f.store.in_force, f.store._ingest) == (before, ingest)


async def test_a_device_that_the_register_brings_back_joins(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, "laptop")
        await register(f.store, asset("SN-laptop", tags="eng", status="returned"))
        await f.apply(CANARY, "tag=eng")
        assert await members(f.store) == {f.chosen.device_no}
        await register(f.store, asset("SN-laptop", tags="eng"))
        assert await members(f.store) == {f.chosen.device_no, device.device_no}


async def members(store: Store) -> frozenset[int]:
    return await store.read(lambda tx: applications.members(tx, 2))


async def test_a_columns_type_changes_while_answers_come(tmp_path: Path) -> None:
    texts = packs.content({packs.RESIDENTS: "-- Who.\nSELECT username AS who, CAST(uid AS TEXT) AS uid FROM users\n"})
    async with fleet(tmp_path) as f:
        f.now = MIDNIGHT + 12 * HOUR
        await f.said(f.chosen, BASE, 9, {"who": "guest", "uid": "7"})
        await f.apply(texts)
        await f.said(f.other, BASE, 10, {"who": "root", "uid": "0"})  # it has not fetched its config yet
        await f.said(f.chosen, texts, 11, {"who": "guest", "uid": "007"})
        assert await rows(f.store, "SELECT hostname, who, uid FROM residents ORDER BY hostname") == [
            ("chosen", "guest", "007"),
            ("other", "root", "0"),
        ]


async def test_what_devices_were_served_is_written_down_when_it_changes(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.apply(CANARY, "tag=eng")
        for later in (0, HOUR):
            config = {
                device.device_no: (number, config.hash)
                for device in (f.chosen, f.other)
                for number, config in [f.store.in_force.config_of(device)]
            }
            await f.driver.write(lambda tx, c=config, at=f.now + later: served.note_served(tx, c, at))  # type: ignore[misc]
        body = f.store.in_force.config_of(f.chosen)[1].body
        twice = hashlib.sha1(hashlib.sha1(body).hexdigest().encode()).hexdigest()
        found = await rows(f.store, "SELECT device_no, number, config_hash, since FROM muster_served ORDER BY 1")
        assert found[0] == (f.chosen.device_no, 2, twice, iso(f.now))
        assert found[1][1:2] + found[1][3:] == (1, iso(f.now))
