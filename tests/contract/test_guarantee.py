"""A device that is awake and leaves a judged query unanswered is asked; its answer decides the day as any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import devices
from server.store.coverage import DENYLISTED
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.guarantee import keep_guarantee
from server.store.served import note_served
from server.store.store import Store
from server.wire.distributed import parse_answers
from tests.contract.test_clocks import Clock
from tests.contract.test_store import send
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
TODAY = date(2026, 9, 1)
HOUR, STEP = 3600, 240
QUERY, CONTROL = "residents", "no-guests"


@dataclass
class Fleet:
    """A store whose clock is moved by hand, a few minutes at a time, with a leader at work and devices awake."""

    store: Store
    clock: Clock
    awake: list[Device]

    async def device(self, name: str, platform: str = "linux") -> Device:
        """A device that is served its config when it enrols."""
        device = await add_device(self.store, name, platform)
        await self.store.write(lambda tx: note_served(tx, {device.device_no: self.served(device)}, self.clock()))
        self.awake.append(device)
        return device

    def served(self, device: Device) -> tuple[int, str]:
        number, config = self.store.in_force.config_of(device)
        return number, config.hash

    async def go_on(self, seconds: int) -> int:
        """Let time go on; returns how many questions were put."""
        put, until = 0, self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(self.clock.now + STEP, until)
            await self.store.heard([device.device_no for device in self.awake])
            put += await keep_guarantee(self.store.driver, self.store.in_force, self.clock())
        return put

    async def questions(self, device: Device) -> dict[str, str]:
        """What the device is asked beside the time."""
        due = await self.store.questions.due(device, "k")
        return {question: sql for question, sql in due.items() if not question.startswith("muster_time")}

    async def answer(self, device: Device, question: str, *told: dict[str, Any], message: str = "") -> None:
        body = {
            "queries": {question: list(told)},
            "statuses": {question: int(bool(message))},
            "messages": {question: message},
        }
        await self.store.questions.answered(device, parse_answers(body))

    async def say(self, device: Device, *told: dict[str, str], query: str = QUERY) -> None:
        """Answer by the schedule, now."""
        name = scheduled_name(query, self.version(query))
        await send(self.store, device, snapshot_line(name, int(self.clock.now), list(told)))

    def version(self, query: str = QUERY) -> str:
        return self.store.catalog.queries[query, "linux"].version

    async def verdict(self) -> tuple[str, str | None]:
        await evaluate(self.store, TODAY, TODAY)
        ((status, reason),) = await rows(self.store, f"SELECT status, reason FROM posture WHERE control = '{CONTROL}'")
        return status, reason


@asynccontextmanager
async def fleet(
    directory: Path, files: dict[str, str | None] | None = None, begin: int = 9 * HOUR
) -> AsyncIterator[Fleet]:
    clock = Clock()
    clock.now = float(MIDNIGHT + begin)
    async with open_store(directory, packs.content(files).load(), clock) as store:
        await keep_guarantee(store.driver, store.in_force, clock())
        yield Fleet(store, clock, [])


async def test_a_device_awake_for_two_intervals_is_asked_and_its_answer_decides(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        assert await f.go_on(2 * HOUR) == 0
        assert await f.questions(device) == {}
        assert await f.go_on(31 * 60) == 1
        assert (await f.verdict()) == ("no_data", "never_answered")
        ((question, sql),) = (await f.questions(device)).items()
        assert sql == f.store.catalog.queries[QUERY, "linux"].sql
        assert await f.questions(device) == {}, "it has just been asked"
        f.clock.now += 5
        await f.answer(device, question, {"who": "ann", "uid": "7"})
        assert (await f.verdict()) == ("pass", None)
        at = iso(f.clock.now)
        assert await rows(f.store, "SELECT who, uid, valid_from FROM residents_history") == [("ann", 7, at)]
        assert await rows(f.store, "SELECT first_at, last_at, status, basis, version FROM coverage") == [
            (at, at, "ok", "result", f.version())
        ]
        assert await rows(
            f.store, "SELECT hostname, why, asked_by, day, sent, answered_at, outcome FROM posture_asked"
        ) == [("a", "guarantee", "", "2026-09-01", 1, at, "answered")]
        assert await f.go_on(6 * HOUR) == 0, "asked once a day"


async def test_who_answers_by_schedule_is_not_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, late = await f.device("a"), await f.device("b")
        await f.go_on(HOUR)
        await f.say(device, {"who": "ann", "uid": "7"})
        assert await f.go_on(2 * HOUR) == 1
        await f.say(late, {"who": "guest", "uid": "8"})
        assert await f.questions(late) == {}, "it has answered before it was asked"
        assert await rows(f.store, "SELECT hostname, outcome, sent FROM posture_asked") == [("b", "not_needed", 0)]


async def test_a_failure_of_today_is_a_word_and_not_silence(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        line = {"unixTime": str(int(f.clock.now)), "severity": "2", "filename": "s", "line": "1", "version": "5.23.0"}
        message = f"Error executing scheduled query pack/all/{scheduled_name(QUERY, f.version())}: no such table: x"
        await send(f.store, device, {**line, "message": message}, log_type="status")
        assert await f.go_on(3 * HOUR) == 0


async def test_devices_are_asked_over_half_an_hour_at_the_same_minute_every_day(tmp_path: Path) -> None:
    async with fleet(tmp_path, begin=0) as f:
        for number in range(60):
            await f.device(f"device {number}")
        minutes: list[dict[str, int]] = []
        for day in range(2):
            await f.go_on(MIDNIGHT + day * 24 * HOUR + 2 * HOUR - 60 - int(f.clock.now))
            per_minute = [await f.go_on(60) for _ in range(30)]
            assert per_minute == [2] * 30
            found = await rows(
                f.store, f"SELECT hostname, asked_at FROM posture_asked WHERE day = '2026-09-0{day + 1}'"
            )
            minutes.append({host: int(at[14:16]) for host, at in found})
        assert minutes[0] == minutes[1]


async def test_who_slept_is_given_two_intervals_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.go_on(2 * HOUR - 600)
        f.awake.clear()
        assert await f.go_on(HOUR) == 0
        f.awake.append(device)
        woke = int(f.clock.now) + STEP
        assert await f.go_on(2 * HOUR) == 0
        assert await rows(f.store, "SELECT awake_since FROM devices") == [(iso(woke),)]
        assert await f.go_on(32 * 60) == 1


async def test_a_gap_of_a_few_calls_is_no_sleep(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        since = iso(f.clock.now)
        for _ in range(3):
            await f.go_on(120)
            f.clock.now += 150
        await f.go_on(60)
        assert await rows(f.store, "SELECT awake_since FROM devices") == [(since,)]
        await f.store.write(lambda tx: devices.heard(tx, [(device.device_no, None)], f.clock.now + 400))
        assert await rows(f.store, "SELECT awake_since FROM devices") == [(iso(f.clock.now + 400),)]


async def test_midnight_gives_everybody_two_intervals(tmp_path: Path) -> None:
    async with fleet(tmp_path, begin=20 * HOUR) as f:
        device = await f.device("a")
        await f.say(device, {"who": "ann", "uid": "7"})
        assert await f.go_on(6 * HOUR) == 0
        assert await f.go_on(32 * 60) == 1
        assert await rows(f.store, "SELECT day FROM posture_asked") == [("2026-09-02",)]


async def test_another_version_is_another_query(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.say(device, {"who": "ann", "uid": "7"})
        other = packs.content({packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid, shell FROM users\n"})
        catalog = other.load()
        await f.store.adopt(type(f.store.in_force)(type(f.store.in_force.base)(catalog)), None)
        assert await f.go_on(3 * HOUR) == 0, "it was not served the new packs yet"
        await f.store.write(lambda tx: note_served(tx, {device.device_no: f.served(device)}, f.clock()))
        assert await f.go_on(2 * HOUR) == 0
        assert await f.go_on(32 * 60) == 1
        ((question, sql),) = (await f.questions(device)).items()
        assert "shell" in sql
        await f.answer(device, question, {"who": "ann", "uid": "7", "shell": "sh"})
        assert (await f.verdict()) == ("pass", None)


async def test_a_question_to_packs_that_are_gone_is_withdrawn(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.go_on(2 * HOUR + 32 * 60)
        catalog = packs.content({packs.RESIDENTS: "-- Who.\nSELECT username AS who, uid, shell FROM users\n"}).load()
        await f.store.adopt(type(f.store.in_force)(type(f.store.in_force.base)(catalog)), None)
        assert await f.questions(device) == {}
        assert await rows(f.store, "SELECT outcome FROM posture_asked") == [("withdrawn",)]


DRAFT = packs.control("who = 'guest'").replace("confidence: documented", "confidence: draft")
EVENTS = "-- What was run.\n-- mode: events\nSELECT path AS who, uid FROM process_events\n"


@pytest.mark.parametrize(
    "files",
    [
        {packs.CONTROL: DRAFT},
        {packs.PACK: "title: All of it\nqueries: {residents: }\n"},
        {packs.PACK: "title: All of it\ncontrols: [no-guests]\ntargets: {tags: {include: [eng]}}\n"},
        {packs.PACK: "title: All of it\ninterval: 43200\ncontrols: [no-guests]\n"},
    ],
    ids=["draft", "not judged", "not targeted", "half a day's interval"],
)
async def test_what_is_never_asked(tmp_path: Path, files: dict[str, str | None]) -> None:
    async with fleet(tmp_path, files, begin=0) as f:
        await f.device("a")
        assert await f.go_on(10 * HOUR) == 0


async def test_targets_decide_who_is_asked(tmp_path: Path) -> None:
    pack = "title: All of it\ncontrols: [no-guests]\ntargets: {tags: {include: [eng]}}\n"
    async with fleet(tmp_path, {packs.PACK: pack}) as f:
        other, engineer = await f.device("a"), await add_device(f.store, "b")
        await f.store.write(lambda tx: devices.tag(tx, engineer.device_id, {"eng"}, set(), f.clock()))
        engineer = Device(engineer.device_no, engineer.device_id, "linux", tags=frozenset({"eng"}))
        await f.store.write(lambda tx: note_served(tx, {engineer.device_no: f.served(engineer)}, f.clock()))
        f.awake.append(engineer)
        assert await f.go_on(3 * HOUR) == 1
        assert await rows(f.store, "SELECT hostname FROM posture_asked") == [("b",)]
        assert await f.questions(other) == {} and len(await f.questions(engineer)) == 1


async def test_a_query_of_a_pack_with_discovery_is_asked_of_who_has_answered_it(tmp_path: Path) -> None:
    pack = "title: All of it\ncontrols: [no-guests]\ndiscovery: [SELECT 1 FROM users]\n"
    async with fleet(tmp_path, {packs.PACK: pack}) as f:
        device, _ = await f.device("a"), await f.device("b")
        await f.say(device, {"who": "ann", "uid": "7"})
        assert await f.go_on(15 * HOUR) == 0
        assert await f.go_on(3 * HOUR) == 1
        assert await rows(f.store, "SELECT hostname, day FROM posture_asked") == [("a", "2026-09-02")]


async def test_a_denylisted_query_is_never_asked(tmp_path: Path) -> None:
    schedule = "-- The schedule.\nSELECT name, denylisted FROM osquery_schedule\n"
    files: dict[str, str | None] = {
        "queries/osquery_schedule.sql": schedule,
        packs.PACK: "title: All of it\nqueries: {osquery_schedule: }\ncontrols: [no-guests]\n",
    }
    async with fleet(tmp_path, files, begin=20 * HOUR) as f:
        device = await f.device("a")
        row = {"name": f"pack/all/{scheduled_name(QUERY, f.version())}", "denylisted": "1"}
        await f.say(device, row, query="osquery_schedule")
        assert await rows(f.store, f"SELECT status FROM coverage WHERE query = '{QUERY}'") == [(DENYLISTED,)]
        assert await f.go_on(9 * HOUR) == 0


async def test_a_new_leader_goes_on_where_the_old_one_ended(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.go_on(2 * HOUR - 60)

        async def minutes(tx: Transaction) -> None:
            await devices.heard(tx, [(device.device_no, None)], f.clock())

        for _ in range(10):  # nobody leads
            f.clock.now += 240
            await f.store.write(minutes)
        assert await keep_guarantee(f.store.driver, f.store.in_force, f.clock()) == 1


async def test_retired_devices_are_not_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.device("a")
        await f.store.write(lambda tx: tx.run("UPDATE muster_devices SET retired_at = ?", (iso(f.clock()),)))
        assert await f.go_on(3 * HOUR) == 0
