"""Devices with wrong clocks against a real server."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from server.catalog.schema import load_schema
from server.normalize.times import iso, unix
from server.simulate.agent import Agent
from server.simulate.answers import AnswerBook
from server.simulate.fleet import span_of
from server.simulate.measure import Measure
from server.simulate.runner import Runner
from server.simulate.transport import Transport
from tests.support.server import ROOT, Peer, Server, ask
from tests.unit.test_simulate_fleet import device

DAY, HOUR = 86_400, 3600


@pytest.fixture
def peer(running: tuple[Server, dict[str, str]], own_name: str) -> Peer:
    peer = Peer(running[0], running[1]["enroll_secret"])
    assert enroll(peer, own_name)
    return peer


def enroll(peer: Peer, name: str) -> bool:
    return "node_key" in peer.enroll(system_info={"uuid": f"uuid {name}", "hostname": name})


def tell(peer: Peer, ahead: int, uptime: int = 20 * DAY) -> str:
    """Take the time question and answer it as a clock that is so far ahead."""
    ((question, sql),) = peer.questions().items()
    assert "unix_time" in sql and "total_seconds" in sql
    told = {"unix_time": str(int(time.time()) + ahead), "total_seconds": str(uptime)}
    assert peer.answer(question, told) == {}
    return question


def test_a_device_is_asked_the_time_once_it_has_enrolled(server: Server, peer: Peer) -> None:
    tell(peer, 0)
    assert peer.questions() == {}
    name = "test_a_device_is_asked_the_time_once_it_has_enrolled"
    ((least, most, wrong),) = ask(
        server.database, f"SELECT ahead_least, ahead_most, wrong FROM clocks WHERE hostname = '{name}'"
    )
    assert -30 <= least <= 0 <= most <= 30 and wrong == 0


@pytest.mark.parametrize("ahead", [-2 * DAY, 2 * DAY])
def test_the_lines_of_a_wrong_clock_land_on_the_right_day(server: Server, peer: Peer, ahead: int) -> None:
    now = int(time.time())
    tell(peer, ahead)
    query = f"skewed_{'ahead' if ahead > 0 else 'behind'}"
    peer.snapshot(query, now - 3 * DAY + ahead, [{"who": "ann"}])
    peer.snapshot(query, now + ahead, [])
    ((valid_from, valid_to),) = ask(server.database, f"SELECT valid_from, valid_to FROM {query}_history")
    assert abs(unix(valid_from) - (now - 3 * DAY)) <= 30 and abs(unix(valid_to) - now) <= 30
    for _ in range(2):
        peer.snapshot(query, now - 3 * DAY + ahead, [{"who": "ann"}])
    assert ask(server.database, f"SELECT valid_from, valid_to FROM {query}_history") == [[valid_from, valid_to]]


def test_answers_that_are_late_doubled_or_nonsense_are_taken_and_do_no_harm(server: Server, peer: Peer) -> None:
    question = tell(peer, 0)
    clocks = "SELECT first_read_at, ahead_least, ahead_most FROM clocks JOIN devices USING (device_id)"
    clocks += " WHERE devices.hostname LIKE 'test_answers_that_are_late%'"
    known = ask(server.database, clocks)
    late = f"muster_time_{(int(time.time()) - 1000) * 1000}"
    now = str(int(time.time()))
    assert peer.answer(question, {"unix_time": now, "total_seconds": "x"}, status=1) == {}
    assert peer.answer("another server's question", {"a": "b"}) == {}
    assert peer.answer(question) == {}
    for told in ({}, {"unix_time": ""}, {"unix_time": "-1"}, {"unix_time": "9" * 40}, {"total_seconds": now}):
        assert peer.answer(question, told) == {}
    for odd in (
        {},
        {"queries": None},
        {"queries": [question]},
        {"queries": {question: {"unix_time": now}}, "statuses": {question: 0}},
        {"queries": {question: [[now]]}, "statuses": {question: 0}},
        {"queries": {question: [{"unix_time": [now]}]}, "statuses": {question: 0}},
        {"queries": {question: [{"unix_time": now}]}, "statuses": "none", "messages": 7, "stats": []},
    ):
        assert server.post("distributed/write", json.dumps({"node_key": peer.node_key, **odd}).encode()) == {}
    assert ask(server.database, clocks) == known
    started = {"unix_time": str(int(time.time()) - 950), "total_seconds": str(20 * DAY - 950)}
    assert peer.answer(late, started) == {}
    assert ask(server.database, clocks) == known, "it bounds less than what is known"


def test_a_simulated_device_tells_its_own_time_and_is_corrected(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    host, now = asyncio.run(simulated(server, made["enroll_secret"]))
    first, last = ask(server.database, f"SELECT MIN(first_at), MAX(last_at) FROM coverage WHERE hostname = '{host}'")[0]
    assert now - 5 <= unix(first) <= unix(last) <= now + 60
    assert ask(server.database, f"SELECT basis FROM clock_stretches WHERE hostname = '{host}'") == [["measured"]]


async def simulated(server: Server, secret: str) -> tuple[str, int]:
    """Let a device whose clock is behind tell its time and then run its schedule; returns its name and when it did."""
    span, measure, stop = span_of(0, time.time()), Measure(), asyncio.Event()
    transport = Transport(f"http://127.0.0.1:{server.port}", measure)
    runner = Runner(device("clock_behind"), span, AnswerBook(load_schema(ROOT / "packs")))
    agent = Agent(runner, transport, measure, secret, stop)
    await agent.enroll(time.time())
    await agent.refresh_config(time.time())
    assert await agent.answer_questions(time.time()) == 1
    now = int(time.time())
    runner.run_all(now)
    await agent.drain(now)
    await transport.close()
    assert measure.errors == {}
    return runner.host, now


def test_a_clock_from_1970_is_dated_by_its_arrival(server: Server, peer: Peer) -> None:
    before = int(time.time())
    for _ in range(2):
        peer.snapshot("dead_clock", 100, [{"who": "ann"}])
        peer.snapshot("dead_clock", 160, [])
    ((valid_from, valid_to),) = ask(server.database, "SELECT valid_from, valid_to FROM dead_clock_history")
    assert iso(before) <= valid_from <= iso(time.time()) and unix(valid_to) - unix(valid_from) == 60
    assert ask(server.database, "SELECT basis FROM clock_stretches WHERE first_at < '2000'") == [["received"]]
