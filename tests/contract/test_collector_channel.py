"""What is pushed over a collector's channel, to whom and when, and what a poll carries in its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.api import channels, peers, postures, said
from server.evaluate.judge import evaluate
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import asking, keyring
from server.store.ask_again import ask_again
from server.store.calendar import change_zone, fleet_day
from server.store.devices import Device, tag
from server.store.in_force import InForce, Part
from server.store.served import note_loaded
from server.store.store import Store
from tests.contract.test_store import send
from tests.support import packs
from tests.support.channel import App, ChannelPeer, app_over, channel, eventually, greeted, hello
from tests.support.server import snapshot_line
from tests.support.stores import open_store, rows

QUERY, CONTROL = "residents", "no-guests"


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server does by itself is done as soon as there is reason to."""
    monkeypatch.setattr(channels, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(channels, "KEYS_SECONDS", 0.0)
    monkeypatch.setattr(keyring, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0)
    monkeypatch.setattr(postures, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(postures, "POSTURE_SECONDS", 0.0)
    monkeypatch.setattr(said, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(peers, "CALENDAR_SECONDS", 0.0)


@asynccontextmanager
async def small(directory: Path, files: dict[str, str | None] | None = None) -> AsyncIterator[App]:
    """An application over a store of the small packs."""
    async with open_store(directory, packs.content(files).load()) as store, app_over(store) as app:
        yield app


async def asked_again(store: Store, device: Device) -> None:
    await store.write(lambda tx: ask_again(tx, store.in_force, device.device_id, None, "eve", store.clock()))


def a_question(message: dict[str, Any]) -> bool:
    return message["type"] == "ask" and str(message["id"]).startswith("muster_ask")


async def answered(app: App, key: str, question: str, status: str = "answered", **more: Any) -> None:
    """Answer a question by a batch."""
    told = {"id": question, "status": status, "message": "", "rows": [], "cost": {}, "at": 1, **more}
    mark = {"id": f"{time.time_ns():032x}", "spool": f"{time.time_ns():032x}", "lane": "live", "after": 0, "through": 1}
    status_code, body = await app.post("batch", key, {"batch": mark, "data": [], "answers": [told]})
    assert status_code == 200, body


async def outcomes(app: App) -> list[tuple[Any, ...]]:
    return await rows(app.store, "SELECT outcome, message, sent, via FROM posture_asked ORDER BY asked_at, outcome")


async def silent(peer: ChannelPeer, kind: str) -> bool:
    """Whether nothing of a type has come up to now: the server cancels what nobody knows after all that waits."""
    await peer.say(hello(queued=["nobody's"]))
    await peer.until(lambda message: message.get("id") == "nobody's", "the cancel")
    return not peer.came(kind)


# -- questions -----------------------------------------------------------------------------------------------------


async def test_a_question_goes_to_the_channel_or_to_osquery_never_to_both(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await asked_again(app.store, device)
            await peer.until(a_question, "the question")
            assert not [one for one in await app.store.questions.due(device, "k") if one.startswith("muster_ask")]
        other, other_key = await app.collector("b")
        await asked_again(app.store, other)
        (question,) = [one for one in await app.store.questions.due(other, "k") if one.startswith("muster_ask")]
        async with greeted(app.port, other_key) as peer:
            assert await silent(peer, "never") and not [one for one in peer.came("ask") if one["id"] == question]
        assert sorted(one[2:] for one in await outcomes(app)) == [(1, "collector"), (1, "osquery")]


async def test_what_another_process_asks_is_pushed(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        other = Store(app.store.driver, app.store.catalog)
        async with greeted(app.port, key) as peer, app_over(other) as second:
            await asked_again(other, device)
            found = await peer.until(a_question, "the question")
            assert found["sql"] == app.store.catalog.queries[QUERY, "linux"].sql
            await answered(second, key, found["id"])
        assert [one[0] for one in await outcomes(app)] == ["answered"]


async def test_a_withdrawn_question_is_cancelled(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await asked_again(app.store, device)
            first = await peer.until(a_question, "the question")
            at = int(first["id"].split("_")[2])
            await asyncio.sleep(max(0.0, at + 1 - time.time()))  # a question is known by its second
            await asked_again(app.store, device)
            assert (await peer.next("cancel"))["id"] == first["id"]
            second = await peer.until(a_question, "the other question")
            assert second["id"] != first["id"]
            await answered(app, key, first["id"], rows=[{"who": "guest", "uid": "1"}])
            await answered(app, key, second["id"], status="cancelled")
        assert await rows(app.store, "SELECT outcome FROM posture_asked ORDER BY asked_at") == [("withdrawn",), (None,)]
        assert await rows(app.store, "SELECT COUNT(*) FROM coverage") == [(0,)]


@pytest.mark.parametrize(
    ("status", "outcome", "covered"),
    [("refused", "refused", "error"), ("denylisted", "denylisted", "denylisted"), ("failed", "failed", "error")],
)
async def test_what_a_collector_does_not_answer_is_told(
    tmp_path: Path, status: str, outcome: str, covered: str
) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await asked_again(app.store, device)
            question = await peer.until(a_question, "the question")
            cost = {"wall_time_ms": 3, "user_time": "2", "system_time": -1, "memory": "much"}
            await answered(app, key, question["id"], status, message="deny_tables: users", cost=cost)
        assert await outcomes(app) == [(outcome, "deny_tables: users", 1, "collector")]
        costs = "wall_time_ms, user_time, system_time, memory"
        assert await rows(app.store, f"SELECT {costs} FROM posture_asked") == [(3, 2, None, None)]
        assert await rows(app.store, "SELECT status, message FROM coverage") == [(covered, "deny_tables: users")]


MANY = {
    f"queries/many_{n}.sql": f"-- Number {n}.\nSELECT username AS who, uid FROM users WHERE uid <> {n}\n"
    for n in range(3)
}


async def test_answers_of_a_collector_one_by_one_accuse_none(tmp_path: Path) -> None:
    async with judging_many(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await asked_again(app.store, device)
            asked = sorted([(await peer.until(a_question, "a question"))["id"] for _ in range(3)])
            await answered(app, key, asked[-1], rows=[{"who": "ann", "uid": "7"}])
            assert sorted(str(one[0]) for one in await outcomes(app)) == ["None", "None", "answered"]


@asynccontextmanager
async def judging_many(directory: Path) -> AsyncIterator[App]:
    files: dict[str, str | None] = dict(MANY)
    for n in range(3):
        text = packs.control("who = 'guest'").replace("query: residents", f"query: many_{n}")
        files[f"controls/accounts/many-{n}/control.yaml"] = text
        files[f"controls/accounts/many-{n}/cases.yaml"] = (
            'cases:\n  - {name: good, platform: linux, rows: [{"who": "0", "uid": "0"}], status: pass}\n'
            '  - {name: bad, platform: linux, rows: [{"who": "guest", "uid": "0"}], status: fail, reason: rows_match}\n'
            "  - {name: nobody, platform: linux, rows: [], status: pass}\n"
        )
    pack = "title: All of it\ncontrols: [many-0, many-1, many-2]\n"
    async with small(directory, files | {packs.PACK: pack}) as app:
        yield app


async def test_what_was_lost_with_a_channel_is_sent_once_more_under_its_id(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await asked_again(app.store, device)
            lost = await peer.until(a_question, "the question")
        async with greeted(app.port, key, queued=[lost["id"]]) as peer:
            assert await silent(peer, "never") and not peer.came("ask")
        async with greeted(app.port, key) as peer:
            assert (await peer.until(a_question, "the question"))["id"] == lost["id"]
            await answered(app, key, lost["id"])
        async with greeted(app.port, key) as peer:
            assert await silent(peer, "never") and not [one for one in peer.came("ask") if a_question(one)]
        assert await outcomes(app) == [("answered", None, 1, "collector")]


# -- config, calendar and verdicts ---------------------------------------------------------------------------------


async def test_other_packs_are_pushed_to_open_channels(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            config = await peer.next("config")
            assert [one["query"] for one in config["queries"]] == [QUERY]
            assert config["queries"][0]["controls"] == [{"id": CONTROL, "title": "There are no guests"}]
            changed = packs.content({packs.RESIDENTS: "-- Who is here.\nSELECT username AS who, uid FROM users\n"})
            await app.store.adopt(InForce(Part(changed.load(), 2, "two"), version="2"), None)
            again = await peer.next("config")
            assert again["hash"] != config["hash"] and again["config"] == config["config"]
            assert again["queries"][0]["description"] == "Who is here."
            assert app.presence.served == {}, "osquery is served its config by itself"
            await peer.say(hello(config_hash=again["hash"], serves_config=True))
            assert await silent(peer, "config")
        number, served = app.store.in_force.config_of(device)
        assert app.presence.served == {device.device_no: (number, served.hash)}


async def test_a_device_with_other_tags_is_served_its_other_config(tmp_path: Path) -> None:
    targeted = "title: Of engineers\nqueries: {residents: {interval: 600}}\ntargets: {tags: {include: [eng]}}\n"
    async with small(tmp_path, {"eng.yaml": targeted}) as app:
        device, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            config = await peer.next("config")
            await app.store.write(lambda tx: tag(tx, device.device_id, {"eng"}, set(), time.time()))
            assert (await peer.next("config"))["queries"][0]["interval"] == 600 != config["queries"][0]["interval"]


async def test_verdicts_are_told_when_they_change(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        today = await app.store.read(lambda tx: fleet_day(tx, time.time()))
        async with greeted(app.port, key) as peer:
            for at, (who, status) in enumerate([("guest", "fail"), ("ann", "pass")]):
                await says(app, device, who, int(time.time()) - 60 + at)
                await evaluate(app.store, date.fromisoformat(today), date.fromisoformat(today))
                told = await peer.next("posture")
                ((verdict),) = told["verdicts"]
                assert (verdict["control"], verdict["status"]) == (CONTROL, status)
                assert told["day"] == verdict["since_day"] == today
                assert verdict["mend"] == ("Show them the door." if status == "fail" else "")
            assert await silent(peer, "posture")
        async with greeted(app.port, key, posture_hash=told["hash"]) as peer:
            assert await silent(peer, "posture")
        (posture,) = [one for one in await app.poll(key) if one["type"] == "posture"]
        assert posture["hash"] == told["hash"]


async def says(app: App, device: Device, who: str, at: int) -> None:
    version = app.store.catalog.queries[QUERY, "linux"].version
    await send(app.store, device, snapshot_line(scheduled_name(QUERY, version), at, [{"who": who, "uid": "1"}]))


async def test_another_zone_is_told_at_once(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        async with channel(app.port, key) as peer:
            await peer.say(hello())
            before = await peer.next("hello")
            await app.store.write(lambda tx: change_zone(tx, "Asia/Tokyo", "eve", time.time()))
            after = await peer.next("hello")
        assert after["calendar"][0] == before["calendar"][0]
        first = after["calendar"][2]
        assert iso(first["starts_at"]).endswith("T15:00:00Z"), "midnight of Tokyo"


# -- coming and going ----------------------------------------------------------------------------------------------


async def test_a_key_that_is_revoked_closes_its_channel(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            await app.collector("a")
            assert await peer.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION
            assert peer.came("node_invalid")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with channel(app.port, key):
                pass
        assert refused.value.status == 401
        assert await app.post("poll", key, {"hello": {}}) == (401, {"node_invalid": True})


async def test_a_server_that_ends_closes_its_channels(tmp_path: Path) -> None:
    async with open_store(tmp_path, packs.content().load()) as store:
        async with app_over(store) as app:
            peers_ = [await app.collector(name) for name in "abc"]
            opened = [greeted(app.port, key) for _, key in peers_]
            held = [await one.__aenter__() for one in opened]
            await noted(app, [(1,)] * 3)
        assert [await peer.closed() for peer in held] == [aiohttp.WSCloseCode.GOING_AWAY] * 3
        for one in opened:
            await one.__aexit__(None, None, None)
        assert await rows(store, "SELECT connected FROM posture_collectors") == [(0,)] * 3


async def test_a_look_at_servers_that_are_gone_leaves_our_own_channels_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "IDLE_SECONDS", 0.0)
    async with small(tmp_path) as app:
        own, gone = [await app.collector(name) for name in "ab"]
        async with greeted(app.port, own[1]):
            await app.store.write(
                lambda tx: note_loaded(tx, app.channels.hellos.server, app.store.in_force, None, app.store.clock())
            )
            await noted(app, [(1,), (0,)])
            await app.store.write(
                lambda tx: tx.run(
                    "UPDATE muster_collectors SET connected = 1, server = 'gone' WHERE device_no = ?",
                    (gone[0].device_no,),
                )
            )
            await noted(app, [(1,), (0,)])


async def noted(app: App, wanted: list[tuple[Any, ...]], what: str = "connected") -> None:
    async def written() -> bool:
        return await rows(app.store, f"SELECT {what} FROM posture_collectors ORDER BY hostname") == wanted

    await eventually(written)


async def test_what_a_collector_says_of_itself_is_kept(tmp_path: Path) -> None:
    what = "version, serves_config, policy, backlog_lines, backlog_bytes, oldest_unsent_at, connected"
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        backlog = {"lines": 3, "bytes": 700, "oldest_at": 86_400}
        told = {"collector": "0.2.0", "policy": "live questions are refused", "serves_config": True}
        async with greeted(app.port, key, backlog=backlog, **told):
            row = ("0.2.0", 1, "live questions are refused", 3, 700, "1970-01-02T00:00:00Z", 1)
            await noted(app, [row], what)
        await noted(app, [(*row[:-1], 0)], what)
        await app.poll(key, backlog={"lines": 0, "bytes": 0, "oldest_at": None}, collector="0.3.0")
        await noted(app, [("0.3.0", 0, "", 0, 0, None, 0)], what)


# -- polls ---------------------------------------------------------------------------------------------------------


async def test_a_poll_carries_what_a_channel_would(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        first = await app.poll(key)
        assert [one["type"] for one in first[:2]] == ["hello", "config"]
        config = first[1]["hash"]
        assert not [one for one in await app.poll(key, config_hash=config) if one["type"] == "config"]
        await asked_again(app.store, device)
        asked: list[dict[str, Any]] = []

        async def is_asked() -> bool:
            asked.extend(one for one in await app.poll(key, config_hash=config) if a_question(one))
            return bool(asked)

        await eventually(is_asked)
        question = asked[0]["id"]
        assert [one["id"] for one in await app.poll(key, config_hash=config) if a_question(one)] == [question], "lost"
        assert not [one for one in await app.poll(key, config_hash=config, queued=[question]) if a_question(one)]
        await answered(app, key, question)
        (cancel,) = [one for one in await app.poll(key, queued=[question]) if one["type"] == "cancel"]
        assert cancel["id"] == question and await outcomes(app) == [("answered", None, 1, "collector")]
        assert device.device_no in app.presence.device_nos
