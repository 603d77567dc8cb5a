"""The simulated osqueryd against a real, tiny server: what it sends, and what it does when things go wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from server.catalog.schema import load_schema
from server.normalize.clocks import TIME_QUERY, question_id, reading_of
from server.simulate.agent import Agent
from server.simulate.answers import AnswerBook
from server.simulate.areas.system import booted_at
from server.simulate.device import Device, make_device
from server.simulate.ledger import ANSWERED, DENIED, FAILED
from server.simulate.lines import RESULT, STATUS, Buffer
from server.simulate.measure import Measure
from server.simulate.presence import DAY, window
from server.simulate.runner import LONG_AGO, Runner
from server.simulate.transport import Transport
from tests.unit.test_simulate_fleet import SPAN, device

BOOK = AnswerBook(load_schema(Path(__file__).parents[2] / "packs"))
NOW = (SPAN.first + 3) * DAY + 40_000
CONFIG = {
    "options": {
        "logger_tls_compress": True,
        "pack_delimiter": "/",
        "logger_tls_period": 10,
        "logger_tls_backoff_max": 300,
    },
    "decorators": {"load": ["SELECT uuid AS device FROM system_info"]},
    "packs": {
        "inventory": {
            "queries": {
                "users@0123456789": {"query": "SELECT uid, username FROM users", "interval": 60, "snapshot": True},
                "nobody@0123456789": {"query": "SELECT uid FROM users WHERE uid = 7", "interval": 60, "snapshot": True},
                "wrong@0123456789": {"query": "SELECT nope FROM users", "interval": 60, "snapshot": True},
            }
        },
        "never": {"discovery": ["SELECT 1 FROM users WHERE uid = 7"], "queries": {"x": {"query": "SELECT 1 AS one"}}},
    },
}


class Recorder:
    """Answers as told, and remembers what came. ``faults`` are answers to the next requests to /log."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.faults: list[bytes | Callable[[web.Request], Any]] = []
        self.questions: dict[str, Any] = {}
        self.keys = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        endpoint = request.path.removeprefix("/api/osquery/")
        self.requests.append((endpoint, dict(request.headers), json.loads(raw)))
        if endpoint == "enroll":
            self.keys += 1
            return web.json_response({"node_key": f"key-{self.keys}"})
        if endpoint == "config":
            return web.json_response(CONFIG)
        if endpoint == "distributed/read":
            return web.json_response(self.questions)
        if endpoint == "log" and self.faults:
            fault = self.faults.pop(0)
            if callable(fault):
                return await fault(request)  # type: ignore[no-any-return]
            return web.Response(body=fault, status=500)
        return web.json_response({})

    def logs(self, kind: str = RESULT) -> list[dict[str, Any]]:
        return [body for endpoint, _, body in self.requests if endpoint == "log" and body["log_type"] == kind]


@pytest.fixture
async def recorder() -> AsyncIterator[tuple[Recorder, str]]:
    found = Recorder()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.handle)
    # As in server.app: the handler inflates.
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield found, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def started(url: str, found: Device, **options: Any) -> Agent:
    agent = Agent(
        Runner(found, SPAN, BOOK),
        Transport(url, Measure(), **options),
        Measure(),
        "s3cret",
        asyncio.Event(),
        pace=0.001,
    )
    await agent.enroll(NOW)
    assert await agent.refresh_config(NOW)
    return agent


async def ended(agent: Agent) -> None:
    await agent._transport.close()


async def test_a_day_as_osqueryd_sends_it(recorder: tuple[Recorder, str]) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"))
    agent.runner.run_all(NOW)
    assert await agent.drain(NOW)
    endpoint, headers, body = server.requests[0]
    assert endpoint == "enroll" and body["enroll_secret"] == "s3cret" and "Authorization" not in headers
    assert body["platform_type"] in ("21", "9") and "" not in body["host_details"]["system_info"].values()
    assert headers["User-Agent"].startswith("osquery/5.2")
    results, statuses = server.logs(), server.logs(STATUS)
    assert len(results) == len(statuses) == 1 and results[0]["node_key"] == "key-1"
    lines = {line["name"]: line for line in results[0]["data"]}
    assert sorted(lines) == ["pack/inventory/nobody@0123456789", "pack/inventory/users@0123456789"]
    assert lines["pack/inventory/nobody@0123456789"]["snapshot"] == []
    assert {"uid": "0", "username": "root"} in lines["pack/inventory/users@0123456789"]["snapshot"]
    assert lines["pack/inventory/users@0123456789"]["decorations"] == {"device": agent.runner.device.hardware_uuid}
    assert statuses[0]["data"][0]["message"] == (
        "Error executing scheduled query pack/inventory/wrong@0123456789: no such column: nope"
    )
    kinds = {query: words[NOW // DAY].kind for query, words in agent.runner.ledger.words.items()}
    assert kinds == {"nobody": ANSWERED, "users": ANSWERED, "wrong": FAILED}
    await ended(agent)


async def test_the_key_is_in_a_header_from_version_5_23_on(recorder: tuple[Recorder, str]) -> None:
    server, url = recorder
    late = NOW + 40 * DAY
    for part, header in (("old_agent", None), ("telnet", "NodeKey key-2")):
        agent = await started(url, device(part))
        await agent.refresh_config(late)
        assert server.requests[-1][1].get("Authorization") == header
        await ended(agent)


@pytest.mark.parametrize("fault", [b'{"error": "busy"}', b"<html>", b"nonsense"])
async def test_what_was_refused_comes_again_with_newer_lines(recorder: tuple[Recorder, str], fault: bytes) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"))
    server.faults = [fault, fault]
    agent.runner.run_all(NOW)
    assert not await agent.flush(RESULT, NOW)
    assert (agent.failures, agent.backoff(RESULT), agent.backoff(STATUS)) == ({RESULT: 1, STATUS: 0}, 10.0, 10.0)
    agent.runner.run_all(NOW + 60)
    assert not await agent.flush(RESULT, NOW)
    assert agent.backoff(RESULT) == 40.0
    assert await agent.flush(RESULT, NOW) and agent.backoff(RESULT) == 10.0
    assert [len(body["data"]) for body in server.logs()] == [2, 4, 4]
    assert len(agent.runner.buffer) == 2, "the statuses wait for a POST of their own"
    await ended(agent)


async def test_the_backoff_grows_with_the_square_up_to_its_limit(recorder: tuple[Recorder, str]) -> None:
    _, url = recorder
    agent = await started(url, device("second_root"))
    waits = []
    for failures in range(1, 8):
        agent.failures[RESULT] = failures
        waits.append(agent.backoff(RESULT))
    assert waits == [10, 40, 90, 160, 250, 300, 300]
    await ended(agent)


@pytest.mark.parametrize("answer", [b"", b"[]", b"true"])
async def test_the_status_is_ignored(recorder: tuple[Recorder, str], answer: bytes) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"))
    server.faults = [answer]
    agent.runner.run_all(NOW)
    assert await agent.flush(RESULT, NOW), "a bare 500 is a success to osquery"
    await ended(agent)


async def test_a_broken_connection_is_tried_again_at_once_and_a_silent_one_is_not(
    recorder: tuple[Recorder, str],
) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"), timeout=0.3)

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response(body=b"{}")

    agent.runner.run_all(NOW)
    server.faults = [hang_up]
    assert await agent.flush(RESULT, NOW)
    assert [len(body["data"]) for body in server.logs()] == [2, 2]
    server.faults = [hang]
    agent.runner.run_all(NOW + 60)
    assert not await agent.flush(RESULT, NOW)
    assert len(server.logs()) == 3
    await ended(agent)


async def test_an_unknown_key_is_thrown_away_and_the_lines_come_again(recorder: tuple[Recorder, str]) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"))
    server.faults = [b'{"node_invalid": true}']
    agent.runner.run_all(NOW)
    assert not await agent.flush(RESULT, NOW)
    assert agent.node_key == "key-2"
    assert await agent.flush(RESULT, NOW)
    assert [body["node_key"] for body in server.logs()] == ["key-1", "key-2"]
    assert server.logs()[0]["data"] == server.logs()[1]["data"]
    await ended(agent)


async def test_a_lost_answer_brings_everything_twice(recorder: tuple[Recorder, str]) -> None:
    server, url = recorder
    agent = await started(url, device("lost_answers"))
    agent.runner.run_all(NOW)
    assert await agent.drain(NOW)
    sent = [json.dumps(body["data"]) for body in server.logs()]
    assert len(sent) == 3 and len(set(sent)) == 1
    await ended(agent)


async def test_distributed_queries_are_answered(recorder: tuple[Recorder, str]) -> None:
    server, url = recorder
    agent = await started(url, device("second_root"))
    server.questions = {
        "queries": {"b": "SELECT username FROM users WHERE uid = 0", "a": "SELECT nope", "c": "SELECT 1 AS one"},
        "discovery": {"c": "SELECT 1 FROM users WHERE uid = 7"},
    }
    assert await agent.answer_questions(NOW) == 3
    written = server.requests[-1][2]
    assert written["queries"]["b"] == [{"username": "root"}] and "c" not in written["queries"]
    assert (written["statuses"], written["messages"]["a"]) == ({"a": 1, "b": 0}, "no such column: nope")
    await ended(agent)


@pytest.mark.parametrize(("part", "skew"), [("clock_ahead", 240), ("clock_behind", -240), ("second_root", 0)])
async def test_the_time_question_is_answered_by_the_devices_own_clock(
    recorder: tuple[Recorder, str], part: str, skew: int
) -> None:
    server, url = recorder
    agent = await started(url, device(part))
    server.questions = {"queries": {question_id(NOW): TIME_QUERY}}
    for now in (NOW, NOW + 7):
        assert await agent.answer_questions(now) == 1
        written = server.requests[-1][2]
        found = reading_of(question_id(now), written["queries"][question_id(NOW)], now)
        assert written["statuses"] == {question_id(NOW): 0}
        assert found is not None and found.device_at == now + skew
        state, week = agent.runner.state(now), NOW // DAY // 7 * 7
        assert found.booted_at == booted_at(state, week, SPAN.first - LONG_AGO) + skew
    await ended(agent)


def test_lines_go_in_the_order_of_their_text_keys_and_statuses_wait() -> None:
    buffer = Buffer()
    for number in range(12):
        buffer.add(RESULT, 1000, f"{number}".encode())
    buffer.add(STATUS, 900, b"status")
    assert [line.json for line in buffer.batch(RESULT, 4)] == [b"0", b"9", b"10", b"11"], "10 sorts before 2"
    assert buffer.batch(STATUS, 12) == []
    taken = buffer.batch(RESULT, 12)
    buffer.add(RESULT, 2000, b"newer")
    buffer.delivered(RESULT, taken)
    assert [line.json for line in buffer.batch(RESULT, 12)] == [b"newer"]
    assert len(buffer.batch(STATUS, 12)) == 1


def test_a_denylisted_query_is_silent_and_told_of_by_the_schedule() -> None:
    found = next(
        make_device(seed, at) for seed in range(9) for at in range(26) if make_device(seed, at).part == "denylisted"
    )
    runner = Runner(found, SPAN, BOOK)
    begin, _ = window(found, SPAN)
    now = (begin + 1) * DAY + 40_000
    (denied,) = runner.state(now).denied
    queries = {
        f"{denied}@0123456789": {"query": "SELECT 1 AS one", "snapshot": True},
        "osquery_schedule@0123456789": {"query": "SELECT name, denylisted FROM osquery_schedule", "snapshot": True},
    }
    runner.configure(json.dumps({"schedule": queries}).encode(), now)
    runner.run_all(now)
    (line,) = runner.buffer.batch(RESULT, 10)
    told = {row["name"]: row["denylisted"] for row in json.loads(line.json)["snapshot"]}
    assert told == {f"{denied}@0123456789": "1", "osquery_schedule@0123456789": "0"}
    assert runner.ledger.words[denied][now // DAY].kind == DENIED


def test_a_skewed_clock_dates_the_lines() -> None:
    runner = Runner(device("clock_ahead"), SPAN, BOOK)
    runner.configure(json.dumps({"schedule": {"one": {"query": "SELECT 1 AS one", "snapshot": True}}}).encode(), NOW)
    runner.run_all(NOW)
    (line,) = runner.buffer.batch(RESULT, 1)
    assert json.loads(line.json)["unixTime"] == NOW + 240


def test_a_differential_says_what_changed() -> None:
    found = device("second_root")
    begin, end = window(found, SPAN)
    runner = Runner(found, SPAN, BOOK)
    config = {"schedule": {"roots": {"query": "SELECT username FROM users WHERE uid = 0"}}}
    runner.configure(json.dumps(config).encode(), NOW)
    for day in (begin - 2, begin - 1, begin + 1, end + 1):
        runner.run_all(day * DAY + 80_000)
    lines = [json.loads(line.json) for line in runner.buffer.batch(RESULT, 10)]
    assert [(line["counter"], line["diffResults"]) for line in lines] == [
        (0, {"added": [{"username": "root"}], "removed": []}),
        (1, {"added": [{"username": "toor"}], "removed": []}),
        (2, {"added": [], "removed": [{"username": "toor"}]}),
    ]
