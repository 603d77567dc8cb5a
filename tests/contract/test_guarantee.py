"""A device that is awake and leaves a judged query unanswered is asked; its answer decides the day as any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import devices
from server.store.asked import A_READ, PAUSES
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
OUTCOMES = "SELECT outcome FROM asked ORDER BY asked_at, query"


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


async def asked_of(f: Fleet, device: Device) -> str:
    """Let a device be asked, and return the question."""
    await f.go_on(2 * HOUR + 31 * 60)
    (question,) = await f.questions(device)
    return question


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
        assert await rows(f.store, "SELECT hostname, why, asked_by, day, sent, answered_at, outcome FROM asked") == [
            ("a", "guarantee", "", "2026-09-01", 1, at, "answered")
        ]
        assert await f.go_on(6 * HOUR) == 0, "asked once a day"


async def test_who_answers_by_schedule_is_not_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, late = await f.device("a"), await f.device("b")
        await f.go_on(HOUR)
        await f.say(device, {"who": "ann", "uid": "7"})
        assert await f.go_on(2 * HOUR) == 1
        await f.say(late, {"who": "guest", "uid": "8"})
        assert await f.questions(late) == {}, "it has answered before it was asked"
        assert await rows(f.store, "SELECT hostname, outcome, sent FROM asked") == [("b", "not_needed", 0)]


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
            found = await rows(f.store, f"SELECT hostname, asked_at FROM asked WHERE day = '2026-09-0{day + 1}'")
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
        assert await rows(f.store, "SELECT day FROM asked") == [("2026-09-02",)]


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
        assert await rows(f.store, OUTCOMES) == [("withdrawn",)]


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
        assert await rows(f.store, "SELECT hostname FROM asked") == [("b",)]
        assert await f.questions(other) == {} and len(await f.questions(engineer)) == 1


async def test_a_query_of_a_pack_with_discovery_is_asked_of_who_has_answered_it(tmp_path: Path) -> None:
    pack = "title: All of it\ncontrols: [no-guests]\ndiscovery: [SELECT 1 FROM users]\n"
    async with fleet(tmp_path, {packs.PACK: pack}) as f:
        device, _ = await f.device("a"), await f.device("b")
        await f.say(device, {"who": "ann", "uid": "7"})
        assert await f.go_on(15 * HOUR) == 0
        assert await f.go_on(3 * HOUR) == 1
        assert await rows(f.store, "SELECT hostname, day FROM asked") == [("a", "2026-09-02")]


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


async def test_a_refused_question_is_said_and_not_asked_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.answer(device, await asked_of(f, device), message="distributed query is denylisted")
        assert (await f.verdict()) == ("error", "denylisted")
        assert await rows(f.store, "SELECT outcome, message FROM asked") == [
            ("denylisted", "distributed query is denylisted")
        ]
        assert await f.go_on(30 * HOUR) == 0


async def test_a_failure_is_an_observation_and_asked_again_if_it_may_pass(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        question = await asked_of(f, device)
        await f.answer(device, question, message="database is locked")
        await f.answer(device, question, {"who": "ann", "uid": "7"})
        assert (await f.verdict()) == ("error", "query_failed")
        assert await rows(f.store, "SELECT status, message FROM coverage") == [("error", "database is locked")]
        assert await f.questions(device) == {}
        await f.go_on(PAUSES[0])
        (again,) = await f.questions(device)
        await f.answer(device, again, {"who": "guest", "uid": "7"})
        assert (await f.verdict()) == ("fail", "rows_match")
        assert await rows(f.store, "SELECT outcome, sent FROM asked") == [("answered", 2)]


async def test_a_failure_for_good_is_not_asked_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.answer(device, await asked_of(f, device), message="no such table: users")
        assert await f.go_on(8 * HOUR) == 0 and await f.questions(device) == {}
        assert await rows(f.store, "SELECT outcome, message FROM asked") == [("failed", "no such table: users")]


async def test_a_lost_answer_is_asked_again_after_growing_pauses_and_then_given_up(tmp_path: Path) -> None:
    async with fleet(tmp_path, begin=0) as f:
        device = await f.device("a")
        sent: list[int] = []
        await f.go_on(2 * HOUR)
        for _ in range(18 * 12):
            await f.go_on(300)
            sent += [int(f.clock.now)] * len(await f.questions(device))
        assert len(sent) == len(PAUSES)
        pauses = [later - earlier for earlier, later in pairwise(sent)]
        assert all(0 <= pause - least <= 300 for pause, least in zip(pauses, PAUSES, strict=False)), pauses
        assert await rows(f.store, "SELECT outcome, sent FROM asked") == [("unanswered", 4)]


async def test_a_device_that_asks_for_no_questions_is_no_problem(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.device("a")
        await f.go_on(16 * HOUR)
        assert await rows(f.store, "SELECT day, outcome, sent, sent_at FROM asked") == [
            ("2026-09-01", "not_picked_up", 0, None)
        ]


async def test_answers_nobody_waits_for_are_thrown_away(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, other = await f.device("a"), await f.device("b")
        question = await asked_of(f, device)
        row = {"who": "guest", "uid": "1"}
        asked_at = question.split("_")[2]
        for odd in (
            question.replace(asked_at, str(int(asked_at) + 1)),
            question.replace(f"_{asked_at}_1_", f"_{asked_at}_2_"),
            question.replace(QUERY, "nothing"),
            question.replace(f.version(), "0123456789"),
            "muster_ask_1_1_x", "muster_ask_", "", "\0", question + "\0",
        ):  # fmt: skip
            await f.answer(device, odd, row)
        await f.answer(other, question, row)
        assert await rows(f.store, "SELECT COUNT(*) FROM coverage") == [(0,)]
        await f.answer(device, question, {"who": "ann", "uid": "7"})
        f.clock.now += 30
        await f.answer(device, question, row)
        assert await rows(f.store, "SELECT hostname, who FROM residents_history") == [("a", "ann")]


async def test_an_answer_that_comes_hours_late_says_nothing_of_now(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        question = await asked_of(f, device)
        f.clock.now += 901
        await f.answer(device, question, {"who": "ann", "uid": "7"})
        assert await rows(f.store, "SELECT outcome FROM asked") == [(None,)]
        assert len(await f.questions(device)) == 1, "it is asked again"


async def test_one_server_asks_and_another_takes_the_answer(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        other = Fleet(Store(f.store.driver, f.store.catalog, clock=f.clock), f.clock, [])
        question = await asked_of(f, device)
        assert await other.questions(device) == {}
        await other.answer(device, question, {"who": "ann", "uid": "7"})
        assert (await f.verdict()) == ("pass", None)


MANY = {
    f"queries/many_{n:02}.sql": f"-- Number {n}.\nSELECT username AS who, uid FROM users WHERE uid <> {n}\n"
    for n in range(12)
}


async def test_what_ended_osquery_is_not_asked_again_and_what_was_lost_with_it_is(tmp_path: Path) -> None:
    async with fleet(tmp_path, judging_many()) as f:
        device = await f.device("a")
        await f.go_on(2 * HOUR + 31 * 60)
        questions = sorted(await f.questions(device))
        assert len(questions) == A_READ, "a call is not given all of them"
        # The third one ended the worker: what had run before is lost, what had not goes on after the start.
        body = {"queries": {one: [] for one in questions[3:]}, "statuses": dict.fromkeys(questions[3:], 0)}
        await f.store.questions.answered(device, parse_answers(body))
        outcomes = dict(await rows(f.store, "SELECT query, outcome FROM asked WHERE sent > 0 ORDER BY query"))
        assert list(outcomes.values()) == [None, None, "stopped", *["answered"] * 7]
        assert len(await f.questions(device)) == 2, "the rest"
        await f.go_on(PAUSES[0] + 60)
        again = sorted(name.rpartition("_")[0] for name in await f.questions(device))
        assert len(again) == 4, "two that were lost, and the two that were asked last"
        assert not [name for name in again if name == questions[2].rpartition("_")[0]]
        assert (
            await f.go_on(24 * HOUR) == 11
            and len(await rows(f.store, "SELECT 1 FROM asked WHERE query = 'many_02'")) == 1
        )


def judging_many() -> dict[str, str | None]:
    files: dict[str, str | None] = dict(MANY)
    for n in range(12):
        text = packs.control("who = 'guest'").replace("residents", f"many_{n:02}")
        files[f"controls/accounts/many-{n:02}/control.yaml"] = text
        row = '{{"who": "{}", "uid": "0"}}'
        files[f"controls/accounts/many-{n:02}/cases.yaml"] = (
            "cases:\n"
            f"  - {{name: good, platform: linux, rows: [{row.format('ann')}], status: pass}}\n"
            f"  - {{name: bad, platform: linux, rows: [{row.format('guest')}], status: fail, reason: rows_match}}\n"
            "  - {name: nobody, platform: linux, rows: [], status: pass}\n"
        )
    controls = ", ".join(f"many-{n:02}" for n in range(12))
    return files | {packs.PACK: f"title: All of it\ncontrols: [{controls}]\n"}


async def test_a_wrong_clock_of_the_device_does_not_move_the_answer(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        (time_question,) = await f.store.clocks.due(device, "k")
        ahead = {"unix_time": str(int(f.clock.now) + 3 * 86_400), "total_seconds": "600"}
        await f.answer(device, time_question, ahead)
        await f.answer(device, await asked_of(f, device), {"who": "ann", "uid": "7"})
        assert await rows(f.store, "SELECT valid_from FROM residents_history") == [(iso(f.clock.now),)]


async def test_the_never_list_holds_for_what_was_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.answer(
            device, await asked_of(f, device), {"who": "token=AKIAIOSFODNN7EXAMPLE", "uid": "7", "password": "x"}
        )
        ((who,),) = await rows(f.store, "SELECT who FROM residents")
        assert "AKIA" not in who
        stored = await rows(f.store, "SELECT * FROM residents")
        assert "x" not in stored[0]


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
