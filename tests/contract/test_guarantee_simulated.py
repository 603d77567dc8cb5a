"""Simulated devices whose schedule stood still answer what they are asked, and are judged as they deserve."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import orjson
import pytest

from server.evaluate.judge import evaluate
from server.simulate.answers import AnswerBook
from server.simulate.bodies import answers
from server.simulate.company import Company
from server.simulate.presence import DAY, date_of, window
from server.simulate.runner import Runner
from server.simulate.truth import Judge
from server.store.store import Store
from server.wire.distributed import parse_answers
from tests.contract.test_clocks import Clock
from tests.contract.test_guarantee import HOUR, Fleet
from tests.support.stores import open_store, rows, shipped_catalog
from tests.unit.test_simulate_fleet import SPAN, device


@pytest.mark.parametrize("part", ["second_root", "failing", "denylisted", "old_config"])
async def test_who_is_asked_is_judged_as_it_deserves(tmp_path: Path, part: str) -> None:
    simulated = device(part)
    day, clock = window(simulated, SPAN)[0] + 1, Clock()
    clock.now = float(day * DAY + 9 * HOUR)
    async with open_store(tmp_path, shipped_catalog(), clock) as store:
        f = Fleet(store, clock, [])
        await f.go_on(60)
        known = await f.device(simulated.hostname, simulated.platform)
        runner = Runner(simulated, SPAN, AnswerBook(store.catalog.schema))
        runner.configure(store.in_force.config_of(known)[1].body, clock.now)
        judged = {name for name, one in store.in_force.config_of(known)[1].asked.items() if one.judged}
        await f.go_on(2 * HOUR + 31 * 60)
        calls = 0
        while questions := await f.questions(known):
            calls += 1
            assert len(questions) <= 10
            written = orjson.loads(answers(runner, "k", questions, {}, clock.now))
            await store.questions.answered(known, parse_answers(written))
            clock.now += 60
        assert calls == -(-len(judged) // 10)
        told = {query for (query,) in await rows(store, "SELECT query FROM posture_asked WHERE outcome IS NOT NULL")}
        assert told | {query for (query,) in await rows(store, FAILED)} == judged
        await agrees(store, Judge(store.catalog, Company(), day, day), runner, date_of(day))


FAILED = "SELECT query FROM posture_asked WHERE outcome IS NULL AND answered_at IS NOT NULL"


async def agrees(store: Store, judge: Judge, runner: Runner, day: date) -> None:
    await evaluate(store, day, day)
    deserved = {one.control: one.status for one in judge.expected(runner.device, runner.ledger)}
    judged = dict(await rows(store, "SELECT control, status FROM posture WHERE day = ?", (day.isoformat(),)))
    assert {"pass", "fail"} <= set(judged.values())
    assert judged == deserved
