"""What a closed day is held to: packs, and the versions of its rules; and how last words stand to a day."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server.app import opened_database
from server.applying import apply
from server.catalog.canary import parse_selector
from server.catalog.content import Content
from server.evaluate import prepared
from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.evaluate.judge import evaluate
from server.evaluate.population import Devices
from server.evaluate.revisit import judge_news
from server.evaluate.statements import population
from server.evaluate.verdicts import SILENCES, Heard, judge_silence
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.store import devices
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.in_force import load_in_force
from server.store.migrate import migrate
from server.store.shipping import Request, roll_back
from server.store.store import Store
from server.wire.log import parse_log
from tests.contract.test_judge import DAY, FIRST, HOUR, MIDNIGHT, ROOT, TOOR, fleet
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, open_store, rows, url_in

GUESTS, ADAS = packs.content(), packs.content({packs.CONTROL: packs.control("who = 'ada'")})
ADA, GUEST = {"who": "ada", "uid": "5"}, {"who": "guest", "uid": "9"}
NOW = float(MIDNIGHT + 5 * DAY)
POSTURE = "SELECT hostname, status FROM posture WHERE day = '2026-09-01' ORDER BY 1"
REVISIONS = "SELECT hostname, before_status, after_status, cause, detail FROM posture_revisions ORDER BY revised_at, 1"


async def put(store: Store, content: Content, at: float, canary: str = "") -> None:
    selector = parse_selector(canary) if canary else None
    await apply(store.driver, content, Request(by="ada", note="why", selector=selector), at)
    await adopt(store)


async def adopt(store: Store) -> None:
    in_force = await load_in_force(store.driver)
    assert in_force is not None
    await store.adopt(in_force, None)


async def say(store: Store, device: Device, at: float, *answer: dict[str, str]) -> None:
    version = store.catalog.queries["residents", "linux"].version
    line = snapshot_line(scheduled_name("residents", version), int(at), [*answer])
    await store.ingest(device, parse_log(json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()))


async def test_a_day_judged_by_other_packs_is_held_to_them(tmp_path: Path) -> None:
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT - 1)
        one, other = await add_device(store, "one"), await add_device(store, "other")
        for device in (one, other):
            await say(store, device, MIDNIGHT + 9 * HOUR, ADA)
        await evaluate(store, FIRST, FIRST, as_applied=True)
        await put(store, ADAS, MIDNIGHT + 3 * DAY)
        await evaluate(store, FIRST, FIRST, as_applied=True)
        assert await rows(store, POSTURE) == [("one", "pass"), ("other", "pass")]
        application = "SELECT application FROM muster_days WHERE day = '2026-09-01'"
        assert await rows(store, application) == [(None,)]

        await evaluate(store, FIRST, FIRST)
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "fail")]
        assert await rows(store, application) == [(2,)]
        made = await rows(store, REVISIONS)
        assert [row[:4] for row in made] == [(name, "pass", "fail", "rule") for name in ("one", "other")]
        versions = await rows(store, "SELECT rule_version FROM muster_evaluation")
        assert made[0][4].startswith("rule ") and made[0][4].endswith(f"→ {versions[0][0]}")

        await put(store, GUESTS, NOW)
        await say(store, one, MIDNIGHT + 12 * HOUR, GUEST)
        await say(store, other, MIDNIGHT + 12 * HOUR, GUEST, ADA)
        assert await judge_news(store)
        assert await rows(store, POSTURE) == [("one", "pass"), ("other", "fail")], "it is held to what was asked for"
        late = [row[:4] for row in await rows(store, REVISIONS) if row not in made]
        assert late == [("one", "fail", "pass", "late_data")]

        await evaluate(store, FIRST, FIRST)
        assert await rows(store, application) == [(None,)]
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "fail")]


@pytest.mark.parametrize("applied", [True, False])
async def test_a_day_whose_judging_by_other_packs_was_broken_off_does_not_stay_judged_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    monkeypatch.setattr(prepared, "STRETCH", 1)
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT - 1)
        for name in ("one", "other"):
            await say(store, await add_device(store, name), MIDNIGHT + 9 * HOUR, ADA)
        await evaluate(store, FIRST, FIRST, as_applied=True)
        assert await judge_news(store)
        by_hand = store
        if applied:
            await put(store, ADAS, MIDNIGHT + 3 * DAY)
        else:
            by_hand = Store(database.driver, ADAS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        going = iter([True, False])
        assert await evaluate(by_hand, FIRST, FIRST, going_on=lambda: next(going)) == []
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "pass")]
        assert await judge_news(store)
        status = "fail" if applied else "pass"
        assert await rows(store, POSTURE) == [("one", status), ("other", status)]
        assert await rows(store, "SELECT COUNT(*) FROM muster_news") == [(0,)]


async def test_a_day_before_the_first_packs_is_held_to_those(tmp_path: Path) -> None:
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT + 2 * DAY)
        one, other = await add_device(store, "one"), await add_device(store, "other")
        for device in (one, other):
            await say(store, device, MIDNIGHT + 9 * HOUR, ADA)
        await evaluate(store, FIRST, FIRST, as_applied=True)
        await put(store, ADAS, MIDNIGHT + 3 * DAY)
        await say(store, one, MIDNIGHT + 12 * HOUR, ADA, {"who": "eve", "uid": "7"})
        assert await judge_news(store)
        assert await rows(store, POSTURE) == [("one", "pass"), ("other", "pass")]
        assert await rows(store, REVISIONS) == []


async def test_who_joins_a_canary_later_does_not_change_the_days_before(tmp_path: Path) -> None:
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT - 1)
        one, other = await add_device(store, "one"), await add_device(store, "other")
        for device in (one, other):
            await say(store, device, MIDNIGHT + 9 * HOUR, ADA)
        await store.write(lambda tx: devices.tag(tx, one.device_id, {"pilot"}, set(), MIDNIGHT))
        await put(store, ADAS, MIDNIGHT + HOUR, canary="tag=pilot")
        await evaluate(store, FIRST, FIRST, as_applied=True)
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "pass")]
        await store.write(lambda tx: devices.tag(tx, other.device_id, {"pilot"}, set(), MIDNIGHT + 2 * DAY))
        await evaluate(store, FIRST, FIRST, as_applied=True)
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "pass")]


async def test_a_day_judged_after_its_canary_ended_stays_so_and_one_that_was_not_is_explained_by_the_canary(
    tmp_path: Path,
) -> None:
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT - 1)
        one, other = await add_device(store, "one"), await add_device(store, "other")
        for device in (one, other):
            await say(store, device, MIDNIGHT + 9 * HOUR, ADA)
        await store.write(lambda tx: devices.tag(tx, one.device_id, {"pilot"}, set(), MIDNIGHT))
        await put(store, ADAS, MIDNIGHT + HOUR, canary="tag=pilot")
        await roll_back(store.driver, None, Request(by="ada"), MIDNIGHT + 2 * DAY)
        await adopt(store)
        await evaluate(store, FIRST, FIRST, as_applied=True)
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "pass")]
        told = await explain(store, Question(one.device_id, "no-guests", "2026-09-01"))
        assert (told.judged_by.canary, told.judged_by.exact, told.as_stored_now) == (True, True, None)

        await evaluate(store, FIRST, FIRST)
        assert await rows(store, POSTURE) == [("one", "pass"), ("other", "pass")]
        told = await explain(store, Question(one.device_id, "no-guests", "2026-09-01"))
        assert (told.judged_by.canary, told.judged_by.exact, told.as_stored_now) == (False, True, None)
        await say(store, other, MIDNIGHT + 12 * HOUR, ADA, GUEST)
        assert await judge_news(store)
        assert await rows(store, POSTURE) == [("one", "pass"), ("other", "fail")], "it is held to what was asked for"


async def test_a_control_that_the_packs_have_no_more_keeps_its_days_and_gets_no_others(tmp_path: Path) -> None:
    without = packs.content({packs.CONTROL: None, packs.CONTROL.replace("control.yaml", "cases.yaml"): None,
                             packs.PACK: "title: All of it\nqueries: {residents: }\n"})  # fmt: skip
    async with opened_database(await url_in(tmp_path), create=True) as database:
        await migrate(database.driver, NOW)
        store = Store(database.driver, GUESTS.load(), max_age_days=SINCE_1970, clock=lambda: NOW)
        await put(store, GUESTS, MIDNIGHT - 1)
        device = await add_device(store, "one")
        await say(store, device, MIDNIGHT + 9 * HOUR, ADA)
        await evaluate(store, FIRST, FIRST)
        await put(store, without, NOW)
        await say(store, device, MIDNIGHT + 10 * HOUR, GUEST)
        assert await evaluate(store, FIRST, FIRST + timedelta(days=1)) == []
        assert await rows(store, "SELECT day, status FROM posture") == [("2026-09-01", "pass")]


async def test_a_device_that_enrols_twice_a_day_has_one_verdict(tmp_path: Path) -> None:
    async with fleet(tmp_path, days=1) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, TOOR)
        await f.store.write(lambda tx: tx.run("UPDATE muster_devices SET retired_at = ?", (iso(MIDNIGHT + 10 * HOUR),)))
        again = await add_device(f.store, "laptop")
        assert again.device_no == laptop.device_no
        await f.users(again, 0, 11, ROOT)
        await f.judge(0)
        assert await f.verdicts(again) == [("pass", None, 1)]


async def test_a_tag_decides_anew_whether_a_control_is_asked(tmp_path: Path) -> None:
    content = packs.content({packs.PACK: "title: Some\ncontrols: [no-guests]\ntargets: {tags: {include: [eng]}}\n"})
    now = float(MIDNIGHT + 12 * HOUR)
    async with open_store(tmp_path, content.load(), clock=lambda: now) as store:
        one, _ = await add_device(store, "one"), await add_device(store, "other")
        await say(store, one, MIDNIGHT + 9 * HOUR, GUEST)
        assert await judge_news(store)
        assert await rows(store, POSTURE) == [("one", "not_applicable"), ("other", "not_applicable")]
        await store.write(lambda tx: devices.tag(tx, one.device_id, {"eng"}, set(), now))
        assert await judge_news(store, running=False)
        assert await rows(store, POSTURE) == [("one", "fail"), ("other", "not_applicable")]


@pytest.mark.parametrize("seed", range(3))
async def test_databases_hear_what_judge_silence_says(tmp_path: Path, seed: int) -> None:
    random, number_of = Random(seed), 60
    start, end, fresh = (iso(MIDNIGHT + days * DAY) for days in (3, 4, 2))
    async with fleet(tmp_path) as f:
        stretches: dict[int, list[tuple[str, str, str, str]]] = {}
        for number in range(number_of):
            device = await add_device(f.store, f"device-{number}")
            times = sorted(random.sample(range(0, 5 * 24), 2 * random.randint(0, 5)))
            stretches[device.device_no] = [
                (iso(MIDNIGHT + first * HOUR), iso(MIDNIGHT + last * HOUR), *said)
                for (first, last) in zip(times[::2], times[1::2], strict=True)
                for said in [(random.choice(["ok", "ok", "error", "denylisted", "incomplete"]), random.choice("aab?"))]
            ]

        async def write(tx: Transaction) -> None:
            for device_no, found in stretches.items():
                await tx.many(
                    "INSERT INTO muster_coverage (device_no, table_name, first_at, last_at, status, version, basis)"
                    " VALUES (?, 'users', ?, ?, ?, ?, 'result')",
                    [(device_no, *stretch) for stretch in found],
                )

        await f.store.write(write)
        sql = population(Devices(1, number_of), 1, targets=False)
        heard = (fresh, end, "a", "users", end)
        found: list[Any] = await rows(f.store, sql, (end, end, *heard, "linux", start, start, end, 1, number_of))
        assert len(found) == number_of
        for device_no, _, _, silence in found:
            expected = judge_silence(last_word(stretches[device_no], start, end), "a", fresh)
            assert SILENCES[silence] == expected, stretches[device_no]


def last_word(stretches: list[tuple[str, str, str, str]], start: str, end: str) -> Heard:
    """The last word before a day's end, as plainly as can be."""
    begun = [stretch for stretch in stretches if stretch[0] < end]
    answered = [stretch for stretch in begun if stretch[2] in ("ok", "incomplete")]
    if not begun:
        return Heard("", "", "", "")
    first, last, status, version = begun[-1]
    if version == "?":
        known = [stretch for stretch in answered if stretch[3] != "?" and stretch[0] < first]
        version = known[-1][3] if known else ""
    at = last if last < end else max(first, start)
    return Heard(at, status, version, answered[-1][0] if answered else "")
