"""Instants older than the reorder window: thinned without a change to anything, and cut where late data comes still."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.evaluate.judge import evaluate
from server.evaluate.statements import HEARD
from server.normalize.times import iso
from server.store.devices import Device
from server.store.store import Store
from server.store.thinning import thin
from tests.contract.test_judge import CATALOG, DAY, FIRST, HOUR, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.contract.test_store import event, run, send
from tests.support.server import snapshot_line
from tests.support.stores import add_device, contents, open_store, passing_store, rows

T0 = MIDNIGHT
LATER = iso(MIDNIGHT + 30 * DAY)
KNOWN = "SELECT at, thinned, approximate FROM muster_instants ORDER BY at"


def at(hour: float) -> str:
    return iso(T0 + hour * HOUR)


async def folks(store: Store, device: Device, hour: float, *names: str) -> None:
    await send(store, device, snapshot_line("folks", int(T0 + hour * HOUR), [{"who": name} for name in names]))


async def test_equal_instants_are_thinned_to_the_ends_of_their_run(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour in range(10):
            await folks(store, device, hour, "ann" if hour < 6 else "bob")
        before = await contents(store)
        assert await thin(store.driver, LATER) == 6
        assert await rows(store, KNOWN) == [(at(0), 0, 0), (at(5), 1, 0), (at(6), 0, 0), (at(9), 1, 0)]
        after = await contents(store)
        del before["muster_instants"], after["muster_instants"]
        assert after == before
        assert await thin(store.driver, LATER) == 0


async def test_what_is_within_the_window_stays(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour in range(10):
            await folks(store, device, hour, "ann")
        assert await thin(store.driver, at(5)) == 3  # the last one before the window is an end, as far as can be told
        assert [row[0] for row in await rows(store, KNOWN)] == [at(0), *(at(hour) for hour in range(4, 10))]


async def test_silence_is_not_thinned_away(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        hours = (0, 1, 2, 20, 21, 22)
        for hour in hours:
            await folks(store, device, hour, "ann")
        await thin(store.driver, LATER)
        assert [row[0] for row in await rows(store, KNOWN)] == [at(0), at(2), at(20), at(22)]
        await folks(store, device, 10, "bob")  # nothing was thinned here, so it lands exactly
        assert await rows(store, "SELECT first_at, last_at, approximate FROM coverage ORDER BY 1") == [
            (at(0), at(2), 0),
            (at(10), at(10), 0),
            (at(20), at(22), 0),
        ]


async def test_volatile_values_do_not_keep_instants(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        row = {"name": "users", "interval": "3600", "denylisted": "0"}
        for hour in range(8):
            moving = {"executions": str(hour), "interval": "3600" if hour < 4 else "60"}
            await send(store, device, snapshot_line("osquery_schedule", T0 + hour * HOUR, [row | moving]))
        assert await thin(store.driver, LATER) == 4
        assert [row[0] for row in await rows(store, KNOWN)] == [at(0), at(3), at(4), at(7)]


async def test_a_repetition_of_what_was_thinned_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        row = {"name": "users", "interval": "3600", "denylisted": "0"}
        lines = [snapshot_line("folks", T0 + hour * HOUR, [{"who": "ann"}]) for hour in range(8)]
        lines += [
            snapshot_line("osquery_schedule", T0 + hour * HOUR, [{**row, "executions": str(hour)}]) for hour in range(8)
        ]
        await send(store, device, *lines)
        await thin(store.driver, LATER)
        before = await contents(store)
        for line in lines:
            await send(store, device, line)
        assert await contents(store) == before


async def test_a_late_answer_cuts_the_run_where_the_device_must_have_answered_again(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour in range(0, 40, 2):
            await folks(store, device, hour, "ann")
        await thin(store.driver, LATER)
        await folks(store, device, 15, "bob")
        # A query that is not ours may be silent for six hours.
        assert await rows(store, "SELECT who, valid_from, valid_to FROM folks_history ORDER BY 2") == [
            ("ann", at(0), at(15)),
            ("bob", at(15), at(21)),
            ("ann", at(21), None),
        ]
        assert await rows(store, KNOWN) == [
            (at(0), 0, 0),
            (at(9), 1, 1),
            (at(15), 0, 1),
            (at(21), 0, 1),
            (at(38), 1, 0),
        ]
        assert await rows(store, "SELECT first_at, last_at, status, approximate FROM coverage") == [
            (at(0), at(38), "ok", 1)
        ]
        before = await contents(store)
        await folks(store, device, 15, "bob")
        assert await contents(store) == before
        await thin(store.driver, LATER)
        assert await contents(store) == before


async def test_near_the_end_of_a_thinned_run_its_kept_end_bounds_a_late_answer(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour in range(0, 12):
            await folks(store, device, hour, "ann")
        await thin(store.driver, LATER)
        await folks(store, device, 9.5, "bob")
        await folks(store, device, 10.5, "cat")
        assert await rows(store, "SELECT who, valid_from, valid_to FROM folks_history ORDER BY 2") == [
            ("ann", at(0), at(9.5)),
            ("bob", at(9.5), at(10.5)),
            ("cat", at(10.5), at(11)),
            ("ann", at(11), None),
        ]


async def test_a_late_failure_within_a_thinned_run_is_told_and_both_sides_stay_covered(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for hour in range(48):
            await f.users(laptop, 0, hour, ROOT)
        await thin(f.store.driver, LATER)
        await f.failed(laptop, 0, 22)
        assert await rows(f.store, "SELECT first_at, last_at, status, approximate FROM coverage ORDER BY 1") == [
            (at(0), at(19), "ok", 1),
            (at(22), at(22), "error", 1),
            (at(25), at(47), "ok", 1),
        ]
        await f.judge(0, 1)
        assert await f.verdicts(laptop) == [("error", "query_failed", 0), ("pass", None, 0)]


VERSION = CATALOG.queries["users", "linux"].version


async def last_words(store: Store, day: int) -> list[tuple[int, int]]:
    """What judging reads: how each device's last word before a day's end stands to the day."""
    start, end = iso(T0 + day * DAY), iso(T0 + (day + 1) * DAY)
    found = await rows(
        store,
        f"SELECT d.device_no, {HEARD} FROM muster_devices d ORDER BY d.device_no",
        (start, end, VERSION, "users", end),
    )
    return [(number, code) for number, code in found]


async def last_words_by_instants(store: Store, day: int) -> list[tuple[int, int]]:
    """The same, told by every single instant."""
    start, end = iso(T0 + day * DAY), iso(T0 + (day + 1) * DAY)
    said: dict[int, list[tuple[str, str, str]]] = {
        number: [] for (number,) in await rows(store, "SELECT device_no FROM muster_devices")
    }
    for number, *word in await rows(
        store, "SELECT device_no, at, status, version FROM muster_instants WHERE table_name = 'users' AND at < ?"
        " ORDER BY at", (end,)
    ):  # fmt: skip
        said[number].append((word[0], word[1], word[2]))
    return sorted((number, _stands(words, start)) for number, words in said.items())


def _stands(words: list[tuple[str, str, str]], start: str) -> int:
    """0 where its rows may be judged, else which silence it is."""
    if not words:
        return 1
    at, status, version = words[-1]
    if at < start:
        return 2 if any(one[1] in ("ok", "incomplete") for one in words) else 1
    return {"error": 3, "denylisted": 4, "incomplete": 5}.get(status, 0 if version == VERSION else 6)


async def test_verdicts_are_the_same_after_thinning(tmp_path: Path) -> None:
    """Days of lapses, failures, other versions and silence, judged anew from what is left."""
    dice = random.Random(4)
    async with fleet(tmp_path) as f:
        devices = [await add_device(f.store, f"laptop-{number}") for number in range(4)]
        for device in devices:
            state: tuple[dict[str, str], ...] = (ROOT,)
            for hour in range(10 * 24):
                told = dice.random()
                if told < 0.02:
                    state = (ROOT, TOOR) if state == (ROOT,) else (ROOT,)
                if told < 0.04:
                    await f.failed(device, 0, hour + 0.3)
                if not 0.05 < dice.random() < 0.2 and hour % 97 > 30:
                    await f.users(device, 0, hour, *state, version="0123456789" if hour % 61 > 55 else "")
        await f.judge(*range(10))
        before = [await f.verdicts(device) for device in devices]
        assert {row[0] for verdicts in before for row in verdicts} >= {"pass", "fail", "stale", "error"}
        assert any(row[2] for verdicts in before for row in verdicts)
        for day in range(10):
            assert await last_words(f.store, day) == await last_words_by_instants(f.store, day)
        assert await thin(f.store.driver, LATER) > 300
        for day in range(10):
            judged = await evaluate(f.store, FIRST.replace(day=1 + day), FIRST.replace(day=1 + day))
            assert all(entry.changed == 0 for entry in judged)
        assert [await f.verdicts(device) for device in devices] == before


async def test_runs_of_differentials_are_dropped_and_the_next_one_follows_on(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour, name in enumerate("abcd"):
            await send(store, device, run("files", T0 + hour * HOUR, hour, [{"f": name}], []))
        before = await contents(store)
        assert await thin(store.driver, LATER) == 3
        for hour, name in enumerate("abcd"):
            await send(store, device, event("files", T0 + hour * HOUR, hour, "added", {"f": name}))
        after = await contents(store)
        assert len(after.pop("muster_runs_received")) == 1
        assert before.pop("muster_runs_received")
        assert after == before
        await send(store, device, run("files", T0 + 5 * HOUR, 4, [{"f": "e"}], [{"f": "a"}]))
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [(name,) for name in "bcde"]
        assert await rows(store, "SELECT DISTINCT status FROM coverage") == [("ok",)]


async def test_a_late_piece_of_a_run_that_was_dropped_is_set_aside_and_said(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour, name in enumerate("abcd"):
            await send(store, device, run("files", T0 + hour * HOUR, hour, [{"f": name}], []))
        await thin(store.driver, LATER)
        before = await contents(store)
        done = await send(store, device, event("files", T0 + HOUR, 1, "added", {"f": "late"}))
        assert [line.reason for line in done.rejected] == [
            f"a run of {at(1)}, from which on the ones after it are no longer kept to be redone"
        ]
        new = await send(store, device, event("files", int(T0 + 1.5 * HOUR), 1, "added", {"f": "b"}))
        assert len(new.rejected) == 1
        after = await contents(store)
        assert len(after.pop("rejects")) == 2
        before.pop("rejects")
        assert after == before


async def test_a_late_snapshot_beyond_the_horizon_leaves_what_came_after_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: float(MIDNIGHT + 30 * DAY)) as store:
        device = await add_device(store, "a")
        for hour, name in enumerate("abcd"):
            await send(store, device, run("files", T0 + hour * HOUR, hour, [{"f": name}], []))
        await thin(store.driver, LATER)
        await send(store, device, snapshot_line("files", int(T0 + 0.5 * HOUR), [{"f": "z"}]))
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [(name,) for name in "abcd"]
        assert await rows(store, "SELECT valid_from, valid_to FROM files_history WHERE f = 'z'") == [(at(0.5), at(1))]
        assert await rows(store, "SELECT DISTINCT status FROM coverage") == [("ok",)]


WORDS = st.sampled_from(["", "a", "b", "ab", "error"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.dictionaries(st.integers(0, 60), WORDS, max_size=25), new=st.dictionaries(st.integers(61, 90), WORDS))
async def test_thinning_changes_nothing_that_is_told_before_or_after(
    tmp_path_factory: pytest.TempPathFactory, told: dict[int, str], new: dict[int, str]
) -> None:
    """Whatever was told: the rows, the stretches and what comes of later answers are as without thinning."""
    dumps = []
    for thinning in (False, True):
        async with passing_store(tmp_path_factory.mktemp("store"), CATALOG, clock=lambda: MIDNIGHT + 9e5) as store:
            device = await add_device(store, "a")
            await store.write(lambda tx: tx.run("UPDATE muster_devices SET device_id = 'same'"))
            for words in (told, new):
                for hour, what in words.items():
                    if what == "error":
                        await Fleet(store).failed(device, 0, hour + 0.5)
                    else:
                        await Fleet(store).users(device, 0, hour, *({**ROOT, "username": name} for name in what))
                if thinning:
                    await thin(store.driver, LATER)
            dump = await contents(store)
            del dump["muster_instants"]
            dumps.append(dump)
    assert dumps[0] == dumps[1]
