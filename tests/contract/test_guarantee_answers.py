"""What devices answer to what they are asked, and what is lost, late, wrong or refused on the way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from server.normalize.times import iso
from server.store.asked import A_READ, PAUSES
from server.store.devices import Device
from server.store.store import Store
from server.wire.distributed import parse_answers
from tests.contract.test_guarantee import HOUR, QUERY, Fleet, fleet
from tests.support import packs
from tests.support.stores import rows


async def asked_of(f: Fleet, device: Device) -> str:
    """Let a device be asked, and return the question."""
    await f.go_on(2 * HOUR + 31 * 60)
    (question,) = await f.questions(device)
    return question


async def test_a_refused_question_is_said_and_not_asked_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.answer(device, await asked_of(f, device), message="distributed query is denylisted")
        assert (await f.verdict()) == ("error", "denylisted")
        assert await rows(f.store, "SELECT outcome, message FROM posture_asked") == [
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
        assert await rows(f.store, "SELECT outcome, sent FROM posture_asked") == [("answered", 2)]


async def test_a_failure_for_good_is_not_asked_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.answer(device, await asked_of(f, device), message="no such table: users")
        assert await f.go_on(8 * HOUR) == 0 and await f.questions(device) == {}
        assert await rows(f.store, "SELECT outcome, message FROM posture_asked") == [("failed", "no such table: users")]


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
        assert await rows(f.store, "SELECT outcome, sent FROM posture_asked") == [("unanswered", 4)]


async def test_a_device_that_asks_for_no_questions_is_no_problem(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.device("a")
        await f.go_on(16 * HOUR)
        assert await rows(f.store, "SELECT day, outcome, sent, sent_at FROM posture_asked") == [
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
        assert await rows(f.store, "SELECT outcome FROM posture_asked") == [(None,)]
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
        outcomes = dict(await rows(f.store, "SELECT query, outcome FROM posture_asked WHERE sent > 0 ORDER BY query"))
        assert list(outcomes.values()) == [None, None, "stopped", *["answered"] * 7]
        assert len(await f.questions(device)) == 2, "the rest"
        await f.go_on(PAUSES[0] + 60)
        again = sorted(name.rpartition("_")[0] for name in await f.questions(device))
        assert len(again) == 4, "two that were lost, and the two that were asked last"
        assert not [name for name in again if name == questions[2].rpartition("_")[0]]
        assert (
            await f.go_on(24 * HOUR) == 11
            and len(await rows(f.store, "SELECT 1 FROM posture_asked WHERE query = 'many_02'")) == 1
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
        (time_question,) = await f.store.questions.due(device, "k")
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
