"""The collector's channel and poll against a real server: what is pushed, how soon, and to whom."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest

from server.normalize.questions import parse_question
from tests.support.channel import channel, greeted, hello
from tests.support.collector_peer import CollectorPeer
from tests.support.server import Server, ask, muster_here
from tests.support.stores import shipped_catalog

CONTROL, QUERY = "only-root-has-uid-0", "users"


def new_collector(running: tuple[Server, dict[str, str]], name: str) -> CollectorPeer:
    peer = CollectorPeer(running[0], running[1]["enroll_secret"])
    assert peer.enroll(system_info={"uuid": f"uuid {name}", "hostname": name})[0] == 200
    return peer


@pytest.fixture
def collector(running: tuple[Server, dict[str, str]], own_name: str) -> CollectorPeer:
    """An enrolled collector on a device of its own."""
    return new_collector(running, own_name)


def row(**told: str) -> dict[str, str]:
    columns = [column.name for column in shipped_catalog().queries[QUERY, "linux"].columns]
    return {**dict.fromkeys(columns, ""), **told}


async def command(*arguments: str, server: Server) -> Any:
    done = await asyncio.to_thread(muster_here, *arguments, "--json", "--database", server.database, check=False)
    return json.loads(done.stdout)


async def rows(server: Server, statement: str) -> list[list[Any]]:
    return await asyncio.to_thread(ask, server.database, statement)


async def ask_device(server: Server, name: str) -> Any:
    return await command("device", "ask", name, "--control", CONTROL, "--by", "eve", server=server)


def answer(question: str, *rows: dict[str, str], status: str = "answered", **more: Any) -> dict[str, Any]:
    cost = {"wall_time_ms": 12, "user_time": 7, "system_time": 3, "memory": 65536}
    return {"id": question, "status": status, "rows": list(rows), "message": "", "cost": cost, "at": 1, **more}


def the_ask(message: dict[str, Any]) -> bool:
    """A question of a person or the guarantee, not the one for the time."""
    return message["type"] == "ask" and parse_question(message["id"]) is not None


async def test_a_hello_is_answered_with_what_the_collector_lacks(server: Server, collector: CollectorPeer) -> None:
    async with channel(server.port, collector.node_key) as peer:
        await peer.say(hello())
        told = await peer.next("hello")
        assert len(told["calendar"]) == 14 and told["poll_seconds"] > 0 and abs(told["server_time"] - time.time()) < 5
        assert told["calendar"][0]["day"] == time.strftime("%Y-%m-%d", time.gmtime())
        assert all(one["ends_at"] == two["starts_at"] for one, two in pairwise(told["calendar"]))
        config = await peer.next("config")
        packs = json.loads(config["config"])["packs"]
        names = {name for pack in packs.values() for name in pack["queries"]}
        assert {query["name"] for query in config["queries"]} == names
    async with channel(server.port, collector.node_key) as peer:
        await peer.say(hello(config_hash=config["hash"], queued=["a question of long ago"]))
        assert (await peer.next("cancel"))["id"] == "a question of long ago"
        assert peer.came("hello") and not peer.came("config")


async def test_a_question_is_pushed_and_its_answer_has_a_cost(
    server: Server, collector: CollectorPeer, own_name: str
) -> None:
    async with greeted(server.port, collector.node_key) as peer:
        made = await ask_device(server, own_name)
        # The command has written it down, and has read and shown it since.
        asked = await peer.until(the_ask, "the question", seconds=1.0)
        question = parse_question(asked["id"])
        assert question and question.query == QUERY and asked["sql"] == shipped_catalog().queries[QUERY, "linux"].sql
        batch = collector.batch(answers=[answer(asked["id"], row(uid="0", username="root"))], mark={"lane": "live"})
        assert collector.send(batch)[0] == 200
    told = "outcome, via, wall_time_ms, user_time, system_time, memory"
    found = await rows(server, f"SELECT {told} FROM posture_asked WHERE hostname = '{own_name}'")
    assert found == [["answered", "collector", 12, 7, 3, 65536]]
    assert made["queries"] == [QUERY]
