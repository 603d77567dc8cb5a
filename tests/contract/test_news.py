"""News: judging what answers name, in whatever order they come, is judging all; what changes nothing is not named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server.catalog.assets import Asset
from server.catalog.catalog import Catalog, load_catalog
from server.evaluate.judge import evaluate
from server.evaluate.revisit import judge_news
from server.normalize.devices import DeviceFacts
from server.store.devices import Device, add_expected, find_or_add, tag
from server.store.erase import begin_erasure, retire
from server.store.store import Store
from server.store.thinning import thin
from server.wire.log import parse_log
from tests.support import packs
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, passing_store, rows

FIRST = date(2026, 9, 1)
MIDNIGHT = 1_788_220_800  # 2026-09-01T00:00:00Z
DAY, HOUR = 86_400, 3_600
DAYS = 7
NOW = float(MIDNIGHT + DAYS * DAY + 12 * HOUR)
FACTS = DeviceFacts(
    hostname="h",
    hardware_uuid="u",
    serial="S1",
    platform="linux",
    os_name="",
    os_version="",
    osquery_version="",
)
GUEST, ADA = {"who": "guest", "uid": "9"}, {"who": "ada", "uid": "5"}
NEWS = "SELECT kind, subject, device_no, first_day, last_day FROM muster_news ORDER BY 1, 2, 3"


def catalog(directory: Path, fresh_within_days: int = 1) -> Catalog:
    directory.mkdir()
    text = packs.control("who = 'guest'") + f"fresh_within_days: {fresh_within_days}\n"
    return load_catalog(packs.write(packs.content({packs.CONTROL: text}), directory))


def name_of(catalog: Catalog, version: str | None = None) -> str:
    return f"pack/all/residents@{version or catalog.queries['residents', 'linux'].version}"


async def send(store: Store, device: Device, lines: list[dict[str, Any]], kind: str = "result") -> None:
    body = {"node_key": "k", "log_type": kind, "data": lines}
    await store.ingest(device, parse_log(json.dumps(body).encode()))


async def clear(store: Store) -> None:
    await store.write(lambda tx: tx.run("DELETE FROM muster_news"))


def iso_day(number: int) -> str:
    return (FIRST + timedelta(days=number)).isoformat()


@dataclass
class History:
    """What two devices say of a query over a week, each at instants of its own; a body is a device's, of one kind."""

    random: Random
    catalog: Catalog
    bodies: list[tuple[int, str, list[dict[str, Any]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for device in (0, 1):
            times = sorted(self.random.sample(range(0, DAYS * 24 * 60, 30), self.random.randint(4, 40)))
            # Some keep to what they said, some to differentials.
            steady, differential = self.random.random(), self.random.random() < 0.3
            rows: list[dict[str, str]] = []
            told: list[dict[str, str]] = []
            counter = 0
            for minutes in times:
                at = MIDNIGHT + minutes * 60
                if self.random.random() > steady:
                    rows = self.random.choice([[], [GUEST], [ADA], [ADA, GUEST]])
                kind, line = self._line(at, rows)
                if kind == "result" and differential:
                    whole = counter == 0
                    added = rows if whole else [row for row in rows if row not in told]
                    removed = [] if whole else [row for row in told if row not in rows]
                    if not (whole or added or removed):
                        continue
                    line = {"name": name_of(self.catalog), "unixTime": at, "epoch": 1, "counter": counter,
                            "diffResults": {"added": added, "removed": removed}}  # fmt: skip
                    told, counter = rows, counter + 1
                self.bodies.append((device, kind, [line]))

    def _line(self, at: int, rows: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
        chance = self.random.random()
        if chance < 0.1:
            message = f"Error executing scheduled query {name_of(self.catalog)}: disk I/O error"
            return "status", {"unixTime": at, "severity": 2, "message": message}
        if chance < 0.15:
            row = {"name": name_of(self.catalog), "interval": "3600", "denylisted": "1"}
            return "result", snapshot_line("osquery_schedule", at, [row])
        name = name_of(self.catalog, self.random.choice([None, None, None, None, "0123456789"]))
        if self.random.random() < 0.15:
            name = "residents"  # with rows it is ours by its columns, without it goes by the answer before
        return "result", snapshot_line(name, at, rows)

    def groups(self) -> list[list[tuple[int, str, list[dict[str, Any]]]]]:
        """The bodies in some order, a few at a time; neighbours of a device and kind may travel together."""
        bodies = list(self.bodies)
        order = self.random.random()
        if order < 0.5:
            self.random.shuffle(bodies)
        elif order < 0.7:
            bodies.reverse()
        groups = []
        while bodies:
            size = self.random.choice([1, 2, 5, 9])
            groups.append(bodies[:size])
            bodies = bodies[size:]
        return groups


async def judged(store: Store) -> dict[tuple[int, str], Any]:
    """The verdicts of every day by device and day, judged whole."""
    await evaluate(store, FIRST, FIRST + timedelta(days=DAYS))
    return await verdicts(store)


async def verdicts(store: Store) -> dict[tuple[int, str], Any]:
    found = await rows(
        store,
        "SELECT v.device_no, e.day, v.status, v.underlying_status, v.lapsed, v.reason FROM muster_evaluation e"
        " JOIN muster_verdicts v ON v.control_no = e.control_no AND v.first_day <= e.day"
        " AND (v.last_day IS NULL OR v.last_day >= e.day)",
    )
    return {(device_no, day): verdict for device_no, day, *verdict in found}


async def check(directory: Path, seed: int) -> None:
    random = Random(seed)
    made = catalog(directory / "packs", random.choice([1, 1, 3]))
    history = History(random, made)
    thinning = random.random() < 0.3
    async with passing_store(directory, made, clock=lambda: NOW) as store:
        devices = [await add_device(store, name) for name in ("ada", "bob")]
        before = await judged(store)
        await clear(store)
        for group in history.groups():
            for device, kind, lines in group:
                await send(store, devices[device], lines, kind)
            if thinning and random.random() < 0.3:
                await thin(store.driver, f"{iso_day(4)}T00:00:00Z")
            news = await rows(store, NEWS)
            assert await judge_news(store)
            by_news = await verdicts(store)
            assert await rows(store, NEWS) == []
            after = await judged(store)
            assert by_news == after, f"judged by the news {news}, and judged whole"
            for key in before.keys() | after.keys():
                if before.get(key) == after.get(key):
                    continue
                device_no, day = key
                assert any(
                    (kind, subject) in (("query", "residents"), ("device", "")) and number == device_no
                    and first <= day <= last
                    for kind, subject, number, first, last in news
                ), f"{key}: {before.get(key)} became {after.get(key)}, but the news are {news}"  # fmt: skip
            before = after
        if not thinning:
            for device, kind, lines in reversed(history.bodies):
                await send(store, devices[device], lines, kind)
            assert await rows(store, NEWS) == []


@pytest.mark.parametrize("seed", range(8))
async def test_every_verdict_that_answers_change_is_named(tmp_path: Path, seed: int) -> None:
    await check(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_every_verdict_that_answers_of_many_histories_change_is_named(tmp_path: Path) -> None:
    for seed in range(1000, 1300):
        (tmp_path / str(seed)).mkdir()
        await check(tmp_path / str(seed), seed)


async def test_an_unchanged_answer_later_in_the_day_is_no_news(tmp_path: Path) -> None:
    made = catalog(tmp_path / "packs")
    clock = [float(MIDNIGHT + 9 * HOUR)]
    async with open_store(tmp_path, made, clock=lambda: clock[0]) as store:
        laptop = await add_device(store, "laptop")
        await clear(store)

        async def answer(day: int, hour: float, *residents: dict[str, str]) -> list[tuple[Any, ...]]:
            at = int(MIDNIGHT + day * DAY + hour * HOUR)
            clock[0] = max(clock[0], float(at))
            await send(store, laptop, [snapshot_line(name_of(made), at, list(residents))])
            news = await rows(store, NEWS)
            await clear(store)
            return news

        def told(first: int, last: str = "9999-12-31") -> list[tuple[Any, ...]]:
            return [("query", "residents", laptop.device_no, iso_day(first), last)]

        assert await answer(0, 9, ADA) == told(0)
        assert await answer(0, 10, ADA) == []
        assert await answer(0, 11, ADA) == []
        assert await answer(0, 12, ADA, GUEST) == told(0)
        assert await answer(0, 13, ADA, GUEST) == []
        assert await answer(1, 9, ADA, GUEST) == told(1)  # the day's first word
        assert await answer(1, 10, ADA, GUEST) == []
        assert await answer(4, 9, ADA) == told(4)
        assert await answer(2, 9, ADA) == told(2, iso_day(4))
        assert await answer(2, 10, ADA) == []  # late, and nothing new
        assert await answer(2, 9, ADA) == []  # a replay
        assert await answer(3, 9, ADA, GUEST) == told(3, iso_day(4))


async def test_an_error_is_news_once_a_day(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: NOW) as store:
        laptop = await add_device(store, "laptop")
        await send(store, laptop, [snapshot_line("users", int(NOW) - 5 * HOUR, [])])
        await clear(store)
        for hour in (4, 3, 2):
            message = "Error executing scheduled query users: disk I/O error"
            line = {"unixTime": int(NOW) - hour * HOUR, "severity": 2, "message": message}
            await send(store, laptop, [line], "status")
            assert [row[:3] for row in await rows(store, NEWS)] == (
                [("query", "users", laptop.device_no)] if hour == 4 else []
            )
            await clear(store)


async def test_an_answer_that_tells_the_version_of_later_ones_is_news_for_their_days(tmp_path: Path) -> None:
    made = catalog(tmp_path / "packs")
    async with open_store(tmp_path, made, clock=lambda: NOW) as store:
        laptop = await add_device(store, "laptop")
        for day, name in ((0, name_of(made)), (1, "residents"), (2, "residents"), (4, name_of(made))):
            await send(store, laptop, [snapshot_line(name, MIDNIGHT + day * DAY + 9 * HOUR, [])])
        before = await judged(store)
        await clear(store)
        # Those of the next days have no rows and no version: they go by the last one that has.
        await send(store, laptop, [snapshot_line(name_of(made, "0123456789"), MIDNIGHT + 10 * HOUR, [])])
        after = await judged(store)
        changed = sorted(day for (_, day), said in after.items() if said != before[laptop.device_no, day])
        assert changed == [iso_day(0), iso_day(1), iso_day(2)]
        assert await rows(store, NEWS) == [("query", "residents", laptop.device_no, iso_day(0), iso_day(4))]


async def test_what_becomes_of_a_device_is_news_of_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: NOW) as store:

        async def details() -> list[str]:
            found = await rows(store, "SELECT kind, first_day, last_day, detail FROM muster_news WHERE subject = ''")
            assert {row[:3] for row in found} <= {("device", iso_day(DAYS), "9999-12-31")}
            await clear(store)
            return [row[3] for row in found]

        number = await store.write(lambda tx: find_or_add(tx, FACTS, NOW))
        (device_id,) = (row[0] for row in await rows(store, "SELECT device_id FROM devices"))
        assert await details() == ["enrolled"]
        await store.write(lambda tx: find_or_add(tx, FACTS, NOW + 5))
        assert await details() == []
        await store.write(lambda tx: find_or_add(tx, replace(FACTS, platform="windows"), NOW + 6))
        assert await details() == ["platform linux → windows"]
        await store.write(lambda tx: tag(tx, device_id, {"eng"}, set(), NOW))
        assert await details() == ["tags"]
        await store.write(lambda tx: tag(tx, device_id, {"eng"}, set(), NOW))
        assert await details() == []
        await store.write(lambda tx: retire(tx, device_id, NOW))
        assert await details() == ["retired"]
        await store.write(lambda tx: find_or_add(tx, replace(FACTS, platform="windows"), NOW + 7))
        assert await details() == ["came back"]
        await store.write(lambda tx: begin_erasure(tx, device_id, "ann", "why", NOW))
        assert await details() == ["erased"]
        assert number == 1


async def test_an_expected_machine_that_enrols_before_its_day_is_in_scope_from_then_on(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: NOW) as store:
        asset = Asset(serial="s1", shown="S1", platform="linux")
        await store.write(lambda tx: add_expected(tx, [(asset, f"{iso_day(DAYS + 9)}T00:00:00Z")]))
        await store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_assets (serial, serial_shown, hostname, platform, model, owner, status, tags,"
                " added_at) VALUES ('s1', 'S1', '', 'linux', '', '', 'in_use', '', '')"
            )
        )
        await store.write(lambda tx: find_or_add(tx, FACTS, NOW))
        assert await rows(store, "SELECT in_scope_from FROM devices") == [(f"{iso_day(DAYS)}T12:00:00Z",)]


async def test_days_before_its_scope_that_a_device_tells_of_are_news_of_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: NOW) as store:
        laptop = await add_device(store, "laptop")
        await clear(store)
        for day, expected in ((3, [(iso_day(3), iso_day(DAYS))]), (4, []), (1, [(iso_day(1), iso_day(3))])):
            await send(store, laptop, [snapshot_line("users", MIDNIGHT + day * DAY + 9 * HOUR, [])])
            assert await rows(store, "SELECT first_day, last_day FROM muster_news WHERE kind = 'device'") == expected
            await clear(store)
