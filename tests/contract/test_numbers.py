"""The numbers of a day and of a period are those of a plain count over the days of ``posture``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import pytest

from server.catalog.catalog import Catalog
from server.catalog.frameworks import Framework
from server.evaluate.verdicts import EXEMPT, FAIL, NOT_APPLICABLE, PASS, STATUSES
from server.report.asked import BY, AskedError, asked
from server.report.numbers import per_cent
from server.report.posture import posture
from server.store.driver import Transaction
from server.store.store import Store
from tests.contract.test_failures import plain_failures
from tests.support.stores import add_device, open_store, rows, shipped_catalog
from tests.support.verdicts import any_days, v, write_verdicts

FIRST = date(2026, 2, 20)
TODAY = date(2026, 3, 21)
CRITERIA: dict[str, Any] = {
    "A1": {"says": "One.", "supports": ["alpha", "beta"]},
    "A2": {"says": "Two.", "supports": ["beta"], "partly": {"gone": "It was given up."}},
    "A3": {"says": "Three.", "none": "Nobody can."},
}
PERIODS = [
    {"day": "2026-02-25"}, {"day": "2026-03-05"}, {"day": "2026-03-21"}, {"from": "2026-02-20", "to": "2026-03-21"},
    {"from": "2026-02-27", "to": "2026-03-02"},
]  # fmt: skip
FILTERS = [
    {}, {"platform": "linux"}, {"tag": "eng"}, {"tag": "-"}, {"owner": "ann@example.com"}, {"owner": "-"},
    {"control": "gone"}, {"criterion": "std/A2"}, {"tag": "eng", "platform": "darwin", "control": "beta"},
    {"tag": "nobody-has-it"},
]  # fmt: skip


@cache
def catalog() -> Catalog:
    framework = Framework.model_validate({"title": "A standard", "edition": "1", "criteria": CRITERIA})
    return replace(shipped_catalog(), frameworks={"std": framework})


class Day(NamedTuple):
    day: str
    device_id: str
    control: str
    status: str
    underlying_status: str
    lapsed: int
    platform: str
    tags: str
    owner: str


async def a_fleet(store: Store, how_many: int) -> list[int]:
    """Devices of all platforms; some with two tags, one or none, and some without an owner."""
    random, numbers = Random(5), []
    for n in range(how_many):
        device = await add_device(store, f"laptop-{n}", ("linux", "darwin", "windows")[n % 3])
        numbers.append(device.device_no)
    tags, owners = ("", "eng", "eng,sales", "engineering"), ("", "ann@example.com", "Bob@example.com")

    async def give(tx: Transaction) -> None:
        await tx.many(
            "UPDATE muster_devices SET tags = ?, owner = ? WHERE device_no = ?",
            [(random.choice(tags), random.choice(owners), number) for number in numbers],
        )

    await store.write(give)
    return numbers


async def numbers_of(store: Store, **given: str) -> dict[str, Any]:
    what = asked(given, catalog(), TODAY)
    return (await store.read(lambda tx: posture(tx, catalog(), what))).as_dict()


def groups_of(day: Day, by: str) -> Sequence[tuple[str, ...]]:
    if by == "criterion":
        named = [("std", name) for name, told in CRITERIA.items()
                 if day.control in [*told.get("supports", ()), *told.get("partly", ())]]  # fmt: skip
        return named or [()]
    if by == "tag":
        return [(tag,) for tag in day.tags.split(",") if tag] or [()]
    value = getattr(day, by)
    return [(value,)] if value else [()]


def kept(day: Day, given: Mapping[str, str]) -> bool:
    wanted: dict[str, Callable[[str], bool]] = {
        "platform": lambda value: day.platform == value,
        "tag": lambda value: value in day.tags.split(",") if value != "-" else day.tags == "",
        "owner": lambda value: day.owner == ("" if value == "-" else value),
        "control": lambda value: day.control == value,
        "criterion": lambda value: ("std", value.partition("/")[2]) in groups_of(day, "criterion"),
    }
    return all(wanted[name](value) for name, value in given.items())


def floor(part: int, whole: int) -> float | None:
    return None if whole == 0 else int(part * 10_000 / whole + 1e-9) / 100


def plainly(days: Sequence[Day], failures: Sequence[tuple[Any, ...]], last: str, first: str) -> dict[str, Any]:
    """What days of verdicts and the failures among them come to, counted one by one."""
    counts = Counter(day.status for day in days)
    judged = counts[PASS] + counts[FAIL]
    seen = sum(day.status == EXEMPT and day.underlying_status in (PASS, FAIL) for day in days)
    applicable = len(days) - counts[NOT_APPLICABLE]
    by_day: dict[str, Counter[str]] = {}
    for day in days:
        by_day.setdefault(day.day, Counter())[day.status] += 1
    shares = [(c[PASS] / (c[PASS] + c[FAIL]), day, c) for day, c in by_day.items() if c[PASS] + c[FAIL]]
    worst = min(shares, default=None, key=lambda one: one[:2])
    open_then = [f for f in failures if f[2] <= last and (f[4] or "9999") > last and (f[4] or f[5] or f[3] >= last)]
    mended = [f for f in failures if f[4] and first <= f[4] <= last]

    def between(f: tuple[Any, ...], start: int, end: int) -> int:
        return (date.fromisoformat(f[end]) - date.fromisoformat(f[start] or f[2])).days

    took = {"": (2, 4), "_at_least": (2, 3), "_at_most": (10, 4)}
    mending: dict[str, Any] = {}
    for name, (start, end) in took.items():
        spent = [between(f, start, end) for f in mended]
        mending[f"days_to_remedy{name}_median"] = median(spent) if spent else None
        mending[f"days_to_remedy{name}_worst"] = max(spent, default=None)
    return {
        "devices": len({day.device_id for day in days}),
        "devices_failing": len({day.device_id for day in days if day.status == FAIL}),
        "in_scope": len(days),
        **{status: counts[status] for status in STATUSES},
        "exempt_observed": seen,
        "lapsed": sum(day.lapsed for day in days),
        "judged": judged,
        "pass_rate": floor(counts[PASS], judged),
        "observed": judged + seen,
        "applicable": applicable,
        "coverage": floor(judged + seen, applicable),
        "worst_day": worst[1] if worst else None,
        "worst_day_pass_rate": floor(worst[2][PASS], worst[2][PASS] + worst[2][FAIL]) if worst else None,
        "open_failures": len(open_then),
        "open_since": min((f[2] for f in open_then), default=None),
        "remedied": len(mended),
        **mending,
    }


@pytest.mark.parametrize("by", BY)
async def test_numbers_of_any_days_are_those_of_a_plain_count(tmp_path: Path, by: str) -> None:
    random = Random(8)
    async with open_store(tmp_path) as store:
        fleet = await a_fleet(store, 16)
        lengths = (("alpha", 30), ("beta", 30), ("gone", 9), ("other", 30))
        await write_verdicts(store, FIRST, {(c, no): any_days(random, n) for c, n in lengths for no in fleet})
        days = [
            Day(*row)
            for row in await rows(
                store,
                "SELECT p.day, p.device_id, p.control, p.status, p.underlying_status, p.lapsed, d.platform, d.tags,"
                " d.owner FROM posture p JOIN devices d ON d.device_id = p.device_id ORDER BY p.day",
            )
        ]
        newest = {control: max(day.day for day in days if day.control == control) for control, _ in lengths}
        failures = plain_failures([day[:6] for day in days], newest, "2026-03-20")
        attributes = {day.device_id: day for day in days}
        assert len(failures) > 100
        for period in PERIODS:
            first, last = period.get("from", period.get("day", "")), period.get("to", period.get("day", ""))
            for given in FILTERS:
                told = await numbers_of(store, by=by, **period, **given)
                within = [day for day in days if first <= day.day <= last and kept(day, given)]
                failed = [f for f in failures if kept(attributes[f[0]]._replace(control=f[1]), given)]
                assert told["fleet"] == plainly(within, failed, last, first), (period, given)
                groups = {group for day in within for group in groups_of(day, by)}
                keys = ("framework", "criterion") if by == "criterion" else (by,)
                shown = {tuple(one[key] for key in keys if one[key] is not None): one for one in told["groups"]}
                assert shown.keys() >= groups, (period, given)
                for group, one in shown.items():
                    mine = [day for day in within if group in groups_of(day, by)]
                    theirs = [f for f in failed if group in groups_of(attributes[f[0]]._replace(control=f[1]), by)]
                    expected = plainly(mine, theirs, last, first)
                    assert {key: one[key] for key in expected} == expected, (period, given, group)
                    assert one["in_scope"] == sum(one[status] for status in STATUSES)
                    assert one["applicable"] == one["in_scope"] - one["not_applicable"] >= one["observed"]


async def test_the_view_of_rates_tells_the_same(tmp_path: Path) -> None:
    random = Random(9)
    async with open_store(tmp_path) as store:
        fleet = await a_fleet(store, 12)
        await write_verdicts(store, FIRST, {(c, no): any_days(random, 12) for c in ("alpha", "beta") for no in fleet})
        columns, found = await store.read(lambda tx: tx.select("SELECT * FROM posture_rates ORDER BY day, control"))
        assert len(found) == 24
        for row in found:
            rate = dict(zip(columns, row, strict=True))
            told = await numbers_of(store, day=rate.pop("day"), control=rate.pop("control"))
            assert rate.pop("provisional") == told["provisional"]
            assert {key: told["fleet"][key] for key in rate} == rate
        some = await rows(store, "SELECT COUNT(*) FROM posture_rates WHERE day = '2026-02-25' AND control = 'alpha'")
        assert some == [(1,)]


async def test_nearly_all_is_never_all(tmp_path: Path) -> None:
    assert per_cent(24_999, 25_000) == 99.99 and per_cent(1, 30_000) == 0 and per_cent(7, 7) == 100
    assert per_cent(0, 7) == 0 and per_cent(0, 0) is None
    async with open_store(tmp_path) as store:
        fleet = await a_fleet(store, 6)
        await write_verdicts(store, FIRST, {("alpha", no): v("ppf"[n % 3]) for n, no in enumerate(fleet)})
        rates = await rows(store, "SELECT pass_rate, coverage, judged FROM posture_rates WHERE day = '2026-02-20'")
        assert rates == [(66.66, 100.0, 6)]
        assert (await numbers_of(store, day="2026-02-20"))["fleet"]["pass_rate"] == 66.66


async def test_a_fleet_of_nobody_has_numbers_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        for by in BY:
            told = await numbers_of(store, by=by, day="2026-03-01")
            assert told["groups"] == [] and told["days"] == 0 and told["provisional"] == 0
            fleet = told["fleet"]
            assert fleet["in_scope"] == fleet["devices"] == 0
            assert fleet["pass_rate"] is None and fleet["coverage"] is None and fleet["open_since"] is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "give day, or from and to"),
        ({"day": "2026-03-22"}, "2026-03-22 is in the future: it is 2026-03-21"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "ends on 2026-03-01 before it begins on 2026-03-02"),
        ({"from": "2026-03-02"}, "from and to go together"),
        ({"day": "2026-03-01", "from": "2026-03-01", "to": "2026-03-01"}, "not both"),
        ({"day": "20260301"}, "day is a day, written YYYY-MM-DD"),
        ({"day": "2026-02-30"}, "day is a day"),
        ({"from": "0001-01-01", "to": "2026-03-01"}, "a period has 3660 days at most"),
        ({"day": "2026-03-01", "by": "moon"}, "by is one of control, criterion, tag, platform, owner, not 'moon'"),
        ({"day": "2026-03-01", "platform": "beos"}, "platform is one of"),
        ({"day": "2026-03-01", "status": "fine"}, "status is one of"),
        ({"day": "2026-03-01", "criterion": "soc3/A1"}, "there is no framework 'soc3'"),
        ({"day": "2026-03-01", "criterion": "std/A9"}, "std has no criterion 'A9'"),
        ({"day": "2026-03-01", "control": "nope"}, "there is no control 'nope', and never was"),
        ({"day": "2026-03-01", "device": "nope"}, "there is no device 'nope'"),
    ],
)
async def test_what_cannot_be_asked_for_is_said(tmp_path: Path, given: dict[str, str], why: str) -> None:
    async with open_store(tmp_path) as store:
        with pytest.raises(AskedError, match=why):
            await numbers_of(store, **given)
