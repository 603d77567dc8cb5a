"""Judging again what news names: only that, with a revision where a closed day got another verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.api.keys import Presence
from server.evaluate import benches, prepared, revisit
from server.evaluate.judge import evaluate
from server.evaluate.revisit import judge_news
from server.evaluate.rules import Rule, compile_rule
from server.store.driver import Transaction
from server.store.news import EVERY_DEVICE, ON_AND_ON, News, note
from server.worker import Worker
from tests.contract.test_judge import CONTROL, FIRST, ROOT, TOOR, Fleet, fleet
from tests.support.stores import add_device, rows

QUERY = ("query", "users")
REVISIONS = (
    "SELECT hostname, control, first_day, last_day, before_status, after_status, cause, detail FROM posture_revisions"
    " ORDER BY 1, 2, 3"
)


def day(number: int) -> str:
    return (FIRST + timedelta(days=number)).isoformat()


async def only_news(f: Fleet, news: Sequence[News]) -> None:
    """Let these be all the news there are."""

    async def work(tx: Transaction) -> None:
        await tx.run("DELETE FROM muster_news")
        await note(tx, news)

    await f.store.write(work)


async def statuses(f: Fleet, *devices: Any) -> list[list[str]]:
    return [[row[0] for row in await f.verdicts(device)] for device in devices]


async def test_only_the_named_device_days_and_controls_are_judged_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        told, untold = await add_device(f.store, "told"), await add_device(f.store, "untold")
        for device in (told, untold):
            for number in range(3):
                await f.users(device, number, 9, ROOT)
        await f.judge(0, 1, 2)
        for device in (told, untold):
            for number in range(3):
                await f.users(device, number, 12, ROOT, TOOR)
        await only_news(f, [News(*QUERY, told.device_no, day(1), day(1), "an answer")])
        assert await judge_news(f.store, running=False)
        assert await statuses(f, told, untold) == [["pass", "fail", "pass"], ["pass"] * 3]
        assert await rows(f.store, "SELECT COUNT(*) FROM muster_news") == [(0,)]
        await only_news(f, [News("query", "elsewhere", untold.device_no, day(0), ON_AND_ON)])
        assert await judge_news(f.store, running=False)
        assert (await statuses(f, untold))[0][:3] == ["pass"] * 3


async def test_where_nearly_all_is_news_devices_are_judged_whole_and_their_neighbours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisit, "CROWD", 2)
    monkeypatch.setattr(revisit, "MANY", 1)
    async with fleet(tmp_path) as f:
        laptops = [await add_device(f.store, f"laptop-{number}") for number in range(4)]
        for hour, users in ((9, [ROOT]), (12, [ROOT, TOOR])):
            for device in laptops:
                await f.users(device, 0, hour, *users)
            if hour == 9:
                await f.judge(0)
        named = [laptops[number].device_no for number in (0, 1)]
        await only_news(f, [News(*QUERY, number, day(0), day(0)) for number in named])
        assert await judge_news(f.store, running=False)
        found = [one[0] for one in await statuses(f, *laptops)]
        assert found == ["fail", "fail", "pass", "pass"]
        assert await rows(f.store, "SELECT COUNT(*) FROM muster_news") == [(0,)]


async def test_news_of_a_device_or_of_all_devices_concern_what_they_say(tmp_path: Path) -> None:
    for news in (
        ("device", "", 1),
        (*QUERY, EVERY_DEVICE),
        ("control", CONTROL, EVERY_DEVICE),
        ("control", CONTROL, 1),
    ):
        directory = tmp_path / "-".join(map(str, news))
        directory.mkdir()
        async with fleet(directory) as f:
            laptop = await add_device(f.store, "laptop")
            await f.users(laptop, 0, 9, ROOT)
            await f.judge(0)
            await f.users(laptop, 0, 12, ROOT, TOOR)
            await only_news(f, [News(*news, day(0), ON_AND_ON)])
            assert await judge_news(f.store, running=False)
            assert (await statuses(f, laptop))[0][0] == "fail"


async def test_a_closed_day_keeps_what_it_said_as_a_revision(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for number in range(4):
            await f.users(laptop, number, 9, ROOT)
        await f.judge(0, 1, 2, 3)
        closed = await rows(f.store, "SELECT day, state, closed_at FROM days ORDER BY 1")
        for number in (1, 2):
            await f.users(laptop, number, 12, ROOT, TOOR)
        await only_news(f, [News(*QUERY, laptop.device_no, day(1), day(2), "answers to users")])
        assert await judge_news(f.store, running=False)
        expected = [("laptop", CONTROL, day(1), day(2), "pass", "fail", "late_data", "answers to users")]
        assert [row for row in await rows(f.store, REVISIONS) if row[1] == CONTROL] == expected
        await f.judge(1, 2)
        assert [row for row in await rows(f.store, REVISIONS) if row[1] == CONTROL] == expected
        assert {state for _, state, _ in closed} == {"closed"}
        assert [row[2] for row in await rows(f.store, "SELECT day, state, closed_at FROM days ORDER BY 1")] == [
            row[2] for row in closed
        ]


async def test_what_nothing_explains_was_asked_for(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await f.users(laptop, 0, 12, ROOT, TOOR)
        await only_news(f, [])
        await f.judge(0)
        assert [row[4:7] for row in await rows(f.store, REVISIONS) if row[1] == CONTROL] == [("pass", "fail", "asked")]


async def test_an_open_day_has_no_revisions(tmp_path: Path) -> None:
    async with fleet(tmp_path, days=1) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await f.users(laptop, 0, 12, ROOT, TOOR)
        await only_news(f, [News(*QUERY, laptop.device_no, day(0))])
        assert await judge_news(f.store)
        assert (await statuses(f, laptop))[0][0] == "fail"
        assert await rows(f.store, REVISIONS) == []


async def test_what_is_noted_while_days_are_judged_stays_news(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await only_news(f, [News(*QUERY, laptop.device_no, day(0), day(0))])
        await f.store.write(lambda tx: tx.run("UPDATE muster_news SET noted_seq = noted_seq + 1000000000"))
        assert await judge_news(f.store, running=False)
        assert await rows(f.store, "SELECT COUNT(*) FROM muster_news") == [(1,)], "it came after the judging began"


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_a_judging_that_is_broken_off_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr(prepared, "STRETCH", 1)
    async with fleet(tmp_path) as f:
        devices = [await add_device(f.store, f"laptop-{number}") for number in range(3)]
        for device in devices:
            await f.users(device, 0, 9, ROOT)
            await f.users(device, 1, 9, ROOT, TOOR)
            await f.users(device, 2, 9, ROOT)
        await f.judge(0)
        before = await rows(f.store, "SELECT * FROM posture ORDER BY day, control, hostname")
        going = iter([True] * left + [False])
        second = FIRST + timedelta(days=1)
        assert await evaluate(f.store, second, second, going_on=lambda: next(going)) == []
        assert await rows(f.store, "SELECT * FROM posture ORDER BY day, control, hostname") == before
        # The day after it is judged first, then the one that was broken off.
        await f.judge(2)
        assert await statuses(f, *devices) == [["pass", "pass"]] * 3
        await f.judge(1)
        assert await statuses(f, *devices) == [["pass", "fail", "pass"]] * 3
        runs = "SELECT first_day, last_day, status FROM posture_runs WHERE control = ? AND hostname = 'laptop-0'"
        assert await rows(f.store, f"{runs} ORDER BY 1", (CONTROL,)) == [
            (day(0), day(0), "pass"), (day(1), day(1), "fail"), (day(2), day(2), "pass")
        ]  # fmt: skip


async def test_the_eve_is_judged_again_before_a_judging_that_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "STRETCH", 1)
    async with fleet(tmp_path) as f:
        laptop, _ = await add_device(f.store, "laptop"), await add_device(f.store, "other")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        going, second = iter([True, False]), FIRST + timedelta(days=1)
        assert await evaluate(f.store, second, second, going_on=lambda: next(going)) == []
        await f.users(laptop, 0, 12, ROOT, TOOR)
        await f.users(laptop, 1, 12, ROOT, TOOR)
        await f.judge(0)
        await f.judge(1)
        assert (await statuses(f, laptop)) == [["fail", "fail"]]
        runs = "SELECT first_day, last_day FROM posture_runs WHERE control = ? AND hostname = 'laptop'"
        assert await rows(f.store, runs, (CONTROL,)) == [(day(0), day(1))]


async def test_a_row_that_breaks_the_rule_costs_its_device_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaking(*arguments: Any) -> Rule:
        rule = compile_rule(*arguments)
        # The absolute value of the least whole number is none: both databases give up the statement.
        return replace(rule, holds=f'(abs(r."uid") >= 0 AND {rule.holds})') if "uid" in rule.read else rule

    monkeypatch.setattr(benches, "compile_rule", breaking)
    async with fleet(tmp_path) as f:
        devices = [await add_device(f.store, f"laptop-{number}") for number in range(9)]
        for number, device in enumerate(devices):
            users = [ROOT, TOOR] if number == 2 else [ROOT]
            users += [{**ROOT, "username": "least", "uid": str(-(2**63))}] if number == 6 else []
            await f.users(device, 0, 9, *users)
        await f.judge(0)
        found = [(await f.verdicts(device))[0] for device in devices]
        expected: list[tuple[str, str | None, int]] = [("pass", None, 0)] * 9
        expected[2], expected[6] = ("fail", "rows_match", 0), ("error", "rule_broken", 0)
        assert found == expected
        assert CONTROL in caplog.text


async def test_a_fleet_of_no_devices_is_judged(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        judged = await evaluate(f.store, FIRST, FIRST)
        assert {one.control for one in judged} >= {CONTROL} and all(not one.totals for one in judged)
        assert await rows(f.store, "SELECT state FROM days") == [("closed",)]
        assert await rows(f.store, "SELECT COUNT(*) FROM posture") == [(0,)]
        assert await judge_news(f.store)


async def test_the_worker_judges_the_running_day_once_and_then_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(tmp_path, days=1) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        worker = Worker(f.store, Presence())
        await worker.judge_news()
        assert [row[1:] for row in await f.verdicts(laptop, "day, status")] == [("pass",), ("stale",)]
        await only_news(f, [])
        await f.users(laptop, 1, 0, ROOT, TOOR)
        await only_news(f, [])
        await worker.judge_news()
        assert (await statuses(f, laptop))[0] == ["pass", "stale"], "nothing is looked at that is no news"
        await only_news(f, [News(*QUERY, laptop.device_no, day(1))])
        await worker.judge_news()
        assert (await statuses(f, laptop))[0] == ["pass", "fail"]
