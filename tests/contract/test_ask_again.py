"""A person has a device asked again now: what it is asked, what not, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.normalize.names import scheduled_name
from server.store import devices, retention
from server.store.ask_again import AskedAgain, ask_again, questions
from server.store.devices import Device
from server.store.driver import StoreError
from server.store.erase import retire
from tests.contract.test_guarantee import CONTROL, EVENTS, HOUR, QUERY, Fleet, fleet
from tests.support import packs
from tests.support.stores import rows

TWO: dict[str, str | None] = {
    "queries/houses.sql": "-- Where they live.\nSELECT directory AS house, uid FROM users\n",
    "controls/accounts/housed/control.yaml": """title: Everybody has a house
why: Nobody sleeps outside.
severity: low
platforms:
  linux:
    sql: SELECT (SELECT COUNT(*) FROM residents) <= (SELECT COUNT(*) FROM houses)
    evidence: SELECT residents.who FROM residents
    empty: pass
    confidence: documented
remediation: {linux: Build.}
limits: Whether it is warm.
""",
    "controls/accounts/housed/cases.yaml": """cases:
  - name: good
    platform: linux
    rows_of: {residents: [], houses: [{house: /root, uid: '0'}]}
    status: pass
  - name: bad
    platform: linux
    rows_of: {residents: [{who: ann, uid: '1'}], houses: []}
    status: fail
    reason: rows_match
  - {name: nobody, platform: linux, rows_of: {residents: [], houses: []}, status: pass}
""",
    packs.PACK: "title: All of it\ncontrols: [no-guests, housed]\n",
}


async def ask(f: Fleet, named: str, control: str | None = None) -> AskedAgain:
    return await f.store.write(lambda tx: ask_again(tx, f.store.in_force, named, control, "eve", f.clock()))


async def outcomes(f: Fleet) -> list[tuple[str, str | None]]:
    return await rows(f.store, "SELECT query, outcome FROM posture_asked ORDER BY asked_at, query")


async def test_it_is_asked_when_it_calls_and_the_newest_asking_counts(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.say(device, {"who": "ann", "uid": "7"})
        f.clock.now += 10
        made = await ask(f, "a")
        assert (made.device_id, made.asked_by, made.queries, made.skipped) == (device.device_id, "eve", [QUERY], {})
        f.clock.now += 10
        assert (await ask(f, device.device_id)).queries == [QUERY]
        (question,) = await f.questions(device)
        f.clock.now += 10
        await f.answer(device, question, {"who": "guest", "uid": "7"})
        assert await outcomes(f) == [(QUERY, "withdrawn"), (QUERY, "answered")]
        assert (await f.verdict()) == ("fail", "rows_match")
        told = await f.store.read(lambda tx: questions(tx, device.device_id))
        assert [(one["outcome"], one["why"], one["asked_by"]) for one in told] == [("answered", "asked", "eve")]


async def test_a_failure_is_told_and_not_tried_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await ask(f, "a")
        (question,) = await f.questions(device)
        await f.answer(device, question, message="database is locked")
        assert await rows(f.store, "SELECT outcome, message FROM posture_asked") == [("failed", "database is locked")]


async def test_a_device_that_does_not_call_for_a_day_is_not_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        f.awake.clear()
        await ask(f, "a")
        await f.go_on(23 * HOUR)
        assert await outcomes(f) == [(QUERY, None)]
        await f.go_on(2 * HOUR)
        assert await f.questions(device) == {}
        assert await outcomes(f) == [(QUERY, "not_picked_up")]


@pytest.mark.parametrize(("control", "asked"), [("housed", ["houses", QUERY]), (CONTROL, [QUERY])])
async def test_a_control_of_several_queries_asks_them_all(tmp_path: Path, control: str, asked: list[str]) -> None:
    async with fleet(tmp_path, TWO) as f:
        await f.device("a")
        assert (await ask(f, "a", control)).queries == asked
        assert await f.go_on(3 * HOUR) == 2 - len(asked), "what was asked today is not asked again"


async def test_what_osquery_has_denylisted_is_not_asked(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "queries/osquery_schedule.sql": "-- The schedule.\nSELECT name, denylisted FROM osquery_schedule\n",
        packs.PACK: "title: All of it\nqueries: {osquery_schedule: }\ncontrols: [no-guests]\n",
    }
    async with fleet(tmp_path, files) as f:
        device = await f.device("a")
        row = {"name": f"pack/all/{scheduled_name(QUERY, f.version())}", "denylisted": "1"}
        await f.say(device, row, query="osquery_schedule")
        made = await ask(f, "a")
        assert (made.queries, list(made.skipped)) == ([], [QUERY])
        assert await f.questions(device) == {}


async def test_who_cannot_be_asked(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "queries/ran.sql": EVENTS,
        packs.PACK: "title: All of it\nqueries: {ran: }\ncontrols: [no-guests]\ntargets: {tags: {include: [eng]}}\n",
    }
    async with fleet(tmp_path, files) as f:
        device, twin, other = await f.device("a"), await f.device("b"), await f.device("c")
        with pytest.raises(StoreError, match="Nothing that is judged"):
            await ask(f, "a")
        await tag(f, device)
        assert (await ask(f, "a")).queries == [QUERY], "its tag brings it the pack; events are not asked"
        for control in ("no-such", ""):
            with pytest.raises(StoreError, match="No pack asks for a control"):
                await ask(f, "a", control)
        await f.store.write(
            lambda tx: tx.run("UPDATE muster_devices SET hostname = 'a' WHERE device_no = ?", (twin.device_no,))
        )
        with pytest.raises(StoreError, match="2 devices have the hostname 'a'"):
            await ask(f, "a")
        await f.store.write(lambda tx: retire(tx, other.device_id, f.clock()))
        for named in ("c", other.device_id, "nobody", ""):
            with pytest.raises(StoreError, match="There is no device"):
                await ask(f, named)


async def tag(f: Fleet, device: Device) -> None:
    await f.store.write(lambda tx: devices.tag(tx, device.device_id, {"eng"}, set(), f.clock()))


async def test_old_questions_go_and_open_ones_stay(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await ask(f, "a")
        (question,) = await f.questions(device)
        await f.answer(device, question, {"who": "ann", "uid": "7"})
        f.clock.now += 60
        await ask(f, "a")
        limits = retention.Limits(rows="2000-01-01T00:00:00Z", events="2100-01-01T00:00:00Z", verdicts="2000-01-01")
        assert await retention.retain(f.store.driver, limits, f.clock()) == 1
        assert await outcomes(f) == [(QUERY, None)]


async def test_asked_twice_within_a_second_it_is_asked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        await f.say(device, {"who": "ann", "uid": "7"})
        await ask(f, "a")
        await ask(f, "a")
        assert len(await f.questions(device)) == 1
