"""Live questions on the device: each is run at most once, in order, one at a time, and answered once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.live import queue
from collector.live.queue import MOST_WAITING
from collector.live.running import ENDED, Limits
from collector.policy import Policy
from collector.policy.ledger import Ledger
from collector.policy.questions import QuestionCheck
from collector.spool import Spool, SpoolFullError
from collector.turns import Turns
from tests.support.core.running import Core, core
from tests.support.live import BUDGET, Device, Process, answers_in, device, noted_running, until
from tests.support.osqueryd import awaited, needs_osqueryd, osqueryd

SLOW = "SELECT 'slow' AS v"


@pytest.fixture(scope="module")
def shared() -> Iterator[Core]:
    with core() as running:
        running.await_ready()
        yield running


@pytest.fixture
def own() -> Iterator[Core]:
    """One to be killed."""
    with core() as running:
        running.await_ready()
        running.do("slow", contains="'slow'", seconds=60)
        yield running


@pytest.fixture
async def live(tmp_path: Path, shared: Core) -> AsyncIterator[Device]:
    async with device(tmp_path / "spool.db", shared.socket) as made:
        yield made


def statuses(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(answer["id"], answer["status"]) for answer in answers]


async def test_rows_come_with_their_cost(live: Device) -> None:
    await live.ask(("q1", "SELECT username, uid FROM users ORDER BY uid"))
    (answer,) = await live.answered(1)
    assert (answer["id"], answer["status"], answer["message"]) == ("q1", "answered", "")
    assert answer["rows"] == [{"username": "root", "uid": "0"}, {"username": "ada", "uid": "1000"}]
    assert set(answer["cost"]) == {"wall_time_ms", "user_time", "system_time", "memory"}
    assert abs(answer["at"] - time.time()) < 60
    (entry,) = Ledger(live.spool).entries()
    assert (entry.id, entry.sql, entry.status, entry.rows) == (
        "q1",
        "SELECT username, uid FROM users ORDER BY uid",
        "answered",
        2,
    )


async def test_an_answer_is_stored_within_a_second(live: Device) -> None:
    seconds = []
    for number in range(10):
        begun = time.monotonic()
        await live.ask((f"q{number}", "SELECT 1 AS one"))
        await live.answered(number + 1)
        seconds.append(time.monotonic() - begun)
    assert sorted(seconds)[5] < 1.0, seconds


async def test_what_osquery_says_of_bad_sql_is_passed_on(live: Device) -> None:
    await live.ask(("a", "SELECT x FROM nowhere"))
    (answer,) = await live.answered(1)
    assert (answer["status"], answer["message"], answer["rows"]) == ("failed", "no such table: nowhere", [])


async def test_a_burst_is_answered_in_the_order_of_its_ids(live: Device) -> None:
    await live.ask(("c", "SELECT 3"), ("a", "SELECT 1"), ("b", "SELECT 2"))
    await live.ask(("0", "SELECT 0"))
    assert [one["id"] for one in await live.answered(4)] == ["a", "b", "c", "0"]


async def test_one_runs_at_a_time_and_a_question_goes_before_the_schedule(tmp_path: Path, shared: Core) -> None:
    turns, order = Turns(), list[str]()
    async with device(tmp_path / "spool.db", shared.socket, turns=turns) as live:
        async with turns.background():
            await live.ask(("a", "SELECT 1"))
            await until(lambda: turns.people_wait)
            later = asyncio.create_task(_background(turns, order, live))
        await later
    assert order == ["a"]


async def _background(turns: Turns, order: list[str], live: Device) -> None:
    async with turns.background():
        order += [one["id"] for one in await asyncio.to_thread(live.answers)]


async def test_the_same_question_is_run_once_until_its_answer_is_delivered(live: Device, shared: Core) -> None:
    sql = "SELECT 'once' AS v"
    await live.ask(("a", sql), ("a", sql))
    await live.ask(("a", sql))
    await live.answered(1)
    await live.ask(("a", sql))
    await live.ask(("b", "SELECT 2"))
    assert [one["id"] for one in await live.answered(2)] == ["a", "b"]
    assert _runs(shared, sql) == 1
    batch = live.spool.batch("live", 2**20, 10)
    assert batch is not None
    live.spool.settle(batch)
    await live.ask(("a", sql))
    await live.answered(1)
    assert _runs(shared, sql) == 2


async def test_cancelled_before_it_ran(live: Device, shared: Core) -> None:
    never = "SELECT 'never' AS v"
    shared.do("slow", contains="'half'", seconds=0.5)
    await live.ask(("a", "SELECT 'half' AS v"))
    await live.started("a")
    await live.ask(("b", never))
    assert await live.queue.unanswered() == ["a", "b"]
    await live.cancel("b")
    await live.cancel("unknown")
    assert statuses(await live.answered(2)) == [("b", "cancelled"), ("a", "answered")]
    assert _runs(shared, never) == 0
    assert await live.queue.unanswered() == ["a", "b"]


async def test_the_answer_to_one_cancelled_while_it_runs_is_discarded(live: Device, shared: Core) -> None:
    shared.do("slow", contains="'half'", seconds=0.5)
    await live.ask(("a", "SELECT 'half' AS v"))
    await live.started("a")
    await live.cancel("a")
    await live.cancel("a")
    assert statuses(await live.answered(1)) == [("a", "cancelled")]
    await live.ask(("b", "SELECT 1"))
    assert statuses(await live.answered(2)) == [("a", "cancelled"), ("b", "answered")]


async def test_over_its_time_it_fails_and_the_next_is_run(tmp_path: Path, shared: Core) -> None:
    shared.do("slow", contains="'two'", seconds=2)
    async with device(tmp_path / "spool.db", shared.socket, limits=Limits(seconds=0.3)) as live:
        await live.ask(("a", "SELECT 'two' AS v"), ("b", "SELECT 1"))
        answers = await live.answered(2)
    assert statuses(answers) == [("a", "failed"), ("b", "answered")]
    assert answers[0]["message"] == "it took longer than 0.3 s"
    assert answers[0]["cost"]["wall_time_ms"] >= 300


async def test_the_policy_refuses_before_anything_runs(tmp_path: Path, shared: Core) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text("deny_live = true\n")
    rules.chmod(0o600)
    spool = Spool(tmp_path / "spool.db", BUDGET)
    spool.keep("config", json.dumps({"queries": [{"name": "n", "sql": "SELECT 'scheduled' AS v;"}]}).encode())
    policy = Policy.load(rules, owner=rules.stat().st_uid)
    async with device(tmp_path / "spool.db", shared.socket, check=QuestionCheck(policy, spool)) as live:
        await live.ask(("a", "SELECT 'refused' AS v"), ("b", "SELECT 'scheduled' AS v"))
        answers = await live.answered(2)
    assert statuses(answers) == [("a", "refused"), ("b", "answered")]
    assert "deny_live" in answers[0]["message"]
    assert answers[0]["rows"] == []
    assert _runs(shared, "SELECT 'refused' AS v") == 0


async def test_a_policy_that_fails_costs_one_question(tmp_path: Path, shared: Core) -> None:
    def check(sql: str) -> str | None:
        if "bad" in sql:
            raise RuntimeError("a defect")
        return None

    async with device(tmp_path / "spool.db", shared.socket, check=check) as live:
        await live.ask(("a", "SELECT 'bad'"), ("b", "SELECT 1"))
        assert statuses(await live.answered(2)) == [("a", "failed"), ("b", "answered")]


async def test_large_answers_and_bytes_that_are_no_text(tmp_path: Path, shared: Core) -> None:
    wide = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
        " SELECT printf('%.*c', 4000, 'x') AS v, i FROM n"
    )
    async with device(tmp_path / "spool.db", shared.socket) as live:
        await live.ask(
            ("a", wide.format(11_500)), ("b", wide.format(17_500)), ("c", "SELECT CAST(x'61ff62' AS TEXT) AS v")
        )
        big, bigger, odd = await live.answered(3, 60)
    assert (big["status"], len(big["rows"])) == ("answered", 11_500)
    assert (bigger["status"], bigger["rows"]) == ("failed", [])
    assert "67,108,864 at most" in bigger["message"]
    assert odd["rows"] == [{"v": "a\ufffdb"}]


async def test_an_answer_of_too_many_rows_fails_on_the_device(tmp_path: Path, shared: Core) -> None:
    async with device(tmp_path / "spool.db", shared.socket, limits=Limits(answer_rows=2)) as live:
        await live.ask(("a", "SELECT 1 UNION SELECT 2"), ("b", "SELECT 1 UNION SELECT 2 UNION SELECT 3"))
        answers = await live.answered(2)
    assert statuses(answers) == [("a", "answered"), ("b", "failed")]
    assert answers[1]["message"] == "the answer has 3 rows; 2 at most are sent"


async def test_while_the_spool_cannot_be_written_answers_wait(
    live: Device, shared: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PAUSE", 0.01)
    stored, sql = live.spool.put, "SELECT 'on a full disk' AS v"
    await live.ask(("0", "SELECT 1"))
    await live.answered(1)
    full = monkeypatch.context()
    with full as disk:
        disk.setattr(live.spool, "put", _full)
        await live.ask(("a", sql))  # is not begun, since that could not be noted
        await live.cancel("a")
        await live.ask(("b", sql))
        await until(lambda: live.queue._unsaid)
        assert [one["id"] for one in live.answers()] == ["0"]
        assert await live.queue.unanswered() == ["b", "0", "a"]
    assert live.spool.put == stored
    assert statuses(await live.answered(3)) == [("0", "answered"), ("a", "cancelled"), ("b", "answered")]
    assert _runs(shared, sql) == 1


def _full(*_: object) -> None:
    raise SpoolFullError("the disk is full")


async def test_osqueryd_killed_while_it_ran(tmp_path: Path, own: Core) -> None:
    async with device(tmp_path / "spool.db", own.socket, limits=Limits(absent_seconds=0.2)) as live:
        await live.ask(("a", SLOW), ("b", "SELECT 1"))
        await live.started("a")
        own.kill()
        first, second = await live.answered(2)
        assert (first["status"], first["message"]) == ("failed", ENDED)
        assert (second["status"], second["message"]) == ("failed", "osqueryd does not answer on its socket")
        own.start()
        own.await_ready()
        await live.ask(("c", f" {SLOW};\n"), ("d", "SELECT 1"))
        answers = await live.answered(4)
    assert statuses(answers[2:]) == [("c", "denylisted"), ("d", "answered")]
    assert _runs(own, SLOW) == 0
    async with device(tmp_path / "spool.db", own.socket) as live:
        await live.ask(("e", SLOW))
        assert statuses(await live.answered(5))[4:] == [("e", "denylisted")]


async def test_it_waits_for_osqueryd_to_come_back(tmp_path: Path, own: Core) -> None:
    own.stop()
    async with device(tmp_path / "spool.db", own.socket) as live:
        await live.ask(("a", "SELECT 1 AS one"))
        own.start()
        (answer,) = await live.answered(1)
    assert answer["rows"] == [{"one": "1"}]


@pytest.mark.parametrize("osqueryd_too", [False, True], ids=["alone", "with osqueryd"])
async def test_killed_while_a_question_runs(tmp_path: Path, own: Core, osqueryd_too: bool) -> None:
    spool = Spool(tmp_path / "spool.db", BUDGET)
    process = Process(tmp_path / "spool.db", own.socket)
    try:
        process.burst([{"type": "ask", "id": "a", "sql": SLOW}, {"type": "ask", "id": "b", "sql": "SELECT 'b' AS v"}])
        await until(lambda: noted_running(spool) == "a")
    finally:
        process.kill()
    if osqueryd_too:
        own.kill()
        own.start()
        own.await_ready()
    else:
        own.do("slow", contains="'slow'", seconds=0)
    async with device(tmp_path / "spool.db", own.socket) as live:
        answers = await live.answered(2)
        assert statuses(answers) == [("a", "failed"), ("b", "answered")]
        assert answers[0]["message"] == "interrupted: the collector ended while it ran"
        await live.ask(("a", SLOW), ("c", SLOW))
        answers = await live.answered(3)
        assert statuses(answers[2:]) == [("c", "denylisted" if osqueryd_too else "answered")]


async def test_killed_at_any_moment_each_is_answered_and_run_at_most_once(tmp_path: Path, shared: Core) -> None:
    path = tmp_path / "spool.db"
    assert not Spool(path, BUDGET).answers()
    asks = [{"type": "ask", "id": f"{n:03}", "sql": f"SELECT 'at any moment {n}' AS v"} for n in range(40)]
    done = 0
    while done < len(asks):
        process = Process(path, shared.socket)
        try:
            process.burst(asks)  # as the server does on reconnecting; known ones are not taken again
            await until(lambda least=done: len(answers_in(path)) > least)
        finally:
            process.kill()
        done = len(answers_in(path))
    answers = answers_in(path)
    assert sorted(one["id"] for one in answers) == [ask["id"] for ask in asks]
    for ask, answer in zip(asks, sorted(answers, key=lambda one: str(one["id"])), strict=True):
        runs = _runs(shared, ask["sql"])
        assert runs == 1 if answer["status"] == "answered" else runs <= 1, (answer, runs)


async def test_hostile_messages(live: Device, shared: Core, caplog: pytest.LogCaptureFixture) -> None:
    odd = ["a\0b", "../../x", "' OR 1=1 --", "\U0001f600", "\u202e", "%s%n", "{}"]
    frames: list[str | bytes] = [
        b"\xff",
        "[]",
        "null",
        "nonsense",
        '{"type": 1}',
        '{"type": "ask"}',
        '{"type": "ask", "id": 5, "sql": "SELECT 1"}',
        '{"type": "ask", "id": "", "sql": "SELECT 1"}',
        json.dumps({"type": "ask", "id": "x" * 1_000_000, "sql": "SELECT 1"}),
        '{"type": "cancel", "id": ["a"]}',
        '{"type": "from the future", "id": "a"}',
        '{"type": "ask", "id": "list", "sql": ["SELECT 1"]}',
        json.dumps({"type": "ask", "id": "long", "sql": "SELECT 1 --" + "x" * 1_000_000}),
        '{"type": "ask", "id": "nul", "sql": "SELECT 1\\u0000"}',
        *(json.dumps({"type": "ask", "id": name, "sql": "SELECT 1 AS v"}) for name in odd),
    ]
    await live.messages.frames(frames)
    await live.messages.frames(frames)
    found = {one["id"]: one for one in await live.answered(3 + len(odd))}
    assert [found[name]["status"] for name in ("list", "long", "nul")] == ["failed"] * 3
    assert "1,000,011 bytes" in found["long"]["message"]
    assert all(found[name]["status"] == "answered" for name in odd)
    said = [record.getMessage() for record in caplog.records if "left aside" in record.getMessage()]
    assert len(said) == len(set(said)) > 3
    assert all(len(one) < 500 for one in said)


async def test_ten_thousand_questions_at_once(live: Device, shared: Core) -> None:
    shared.do("slow", contains="'hold'", seconds=3)
    await live.ask(("0", "SELECT 'hold' AS v"))
    await live.started("0")
    asks = [{"type": "ask", "id": f"{n:05}", "sql": "SELECT 1 AS v"} for n in range(10_000)]
    for at in range(0, len(asks), 1000):
        await live.messages.messages(asks[at : at + 1000])
    answers = await live.answered(10_001, 60)
    told = [one for one in answers if one["status"] == "failed"]
    assert len(told) == 10_000 - MOST_WAITING
    assert {one["message"] for one in told} == {"too many questions: the device has as many waiting as it keeps"}
    assert len({one["id"] for one in answers}) == 10_001


LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000000) SELECT MAX(i) AS i FROM n"


@needs_osqueryd
async def test_a_real_osqueryd_answers_with_what_it_cost(tmp_path: Path) -> None:
    work = LONG.replace("3000000000", "3000000")
    with osqueryd() as socket:
        async with device(tmp_path / "spool.db", socket) as live:
            await live.ask(("a", work), ("b", "SELECT x FROM nowhere"))
            first, second = await live.answered(2)
            seconds = []
            for number in range(10):
                begun = time.monotonic()
                await live.ask((f"d{number}", "SELECT pid, name FROM processes"))
                await live.answered(3 + number)
                seconds.append(time.monotonic() - begun)
    assert (first["status"], first["rows"]) == ("answered", [{"i": "3000000"}])
    assert 0 < first["cost"]["user_time"] <= 2 * first["cost"]["wall_time_ms"]
    assert (second["status"], second["message"]) == ("failed", "no such table: nowhere")
    assert sorted(seconds)[5] < 1.0, seconds


@needs_osqueryd
async def test_a_real_osqueryd_whose_worker_is_killed_by_a_question(tmp_path: Path) -> None:
    with osqueryd() as socket:
        async with device(tmp_path / "spool.db", socket) as live:
            await live.ask(("a", LONG), ("b", "SELECT 1 AS one"))
            await live.started("a")
            worker = awaited(socket)
            os.kill(worker, signal.SIGKILL)
            first, second = await live.answered(2)
            assert (first["status"], first["message"]) == ("failed", ENDED)
            assert (second["status"], second["rows"]) == ("answered", [{"one": "1"}])  # by the next worker
            await live.ask(("c", LONG))
            assert statuses(await live.answered(3))[2:] == [("c", "denylisted")]


def _runs(running: Core, sql: str) -> int:
    return sum(entry["event"] == "query" and entry["sql"] == sql for entry in running.entries())
