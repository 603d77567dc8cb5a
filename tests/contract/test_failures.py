"""Failure episodes: the view tells what a plain count over the days of ``posture`` tells."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from server.evaluate.verdicts import EXEMPT, FAIL, NOT_APPLICABLE, PASS
from server.store.store import Store
from tests.support.stores import add_device, open_store, rows
from tests.support.verdicts import any_days, v, write_verdicts

FIRST = date(2026, 2, 20)
EPISODES = (
    "SELECT device_id, control, first_failed_day, last_failed_day, remedied_day, open, failed_days, exempt_days,"
    " silent_days, lapsed, last_passed_day FROM posture_failures"
)


def plain_failures(posture: Iterable[tuple[Any, ...]], newest: dict[str, str], closed: str) -> list[tuple[Any, ...]]:
    """The episodes of days in order, counted one by one."""
    found, last_day = [], {}
    now: dict[tuple[str, str], dict[str, Any]] = {}
    passed: dict[tuple[str, str], str] = {}
    for day, device_id, control, status, underlying, lapsed in posture:
        key = (device_id, control)
        last_day[key] = day
        episode = now.get(key)
        if underlying in (PASS, NOT_APPLICABLE):
            if episode:
                found.append(now.pop(key) | {"remedied": day, "lapsed": lapsed})
            if underlying == PASS:
                passed[key] = day
            continue
        if underlying == FAIL:
            fresh = {"key": key, "first": day, "failed": 0, "exempt": 0, "silent": 0, "passed": passed.get(key)}
            episode = now.setdefault(key, fresh)
            episode["last"] = day
        if episode:
            episode["failed"] += underlying == FAIL
            episode["silent"] += underlying != FAIL
            episode["exempt"] += status == EXEMPT
    for key, episode in now.items():
        still = last_day[key] == newest[key[1]] and newest[key[1]] >= closed
        found.append(episode | {"remedied": None, "lapsed": 0, "open": int(still)})
    return [
        (*e["key"], e["first"], e["last"], e["remedied"], e.get("open", 0), e["failed"], e["exempt"], e["silent"],
         e["lapsed"], e["passed"])
        for e in found
    ]  # fmt: skip


async def counted(store: Store) -> list[tuple[Any, ...]]:
    newest = dict(await rows(store, "SELECT control, MAX(day) FROM posture GROUP BY control"))
    ((closed,),) = await rows(store, "SELECT MAX(day) FROM days WHERE state <> 'open'")
    days = "SELECT day, device_id, control, status, underlying_status, lapsed FROM posture ORDER BY day"
    return plain_failures(await rows(store, days), newest, closed)


async def devices(store: Store, how_many: int) -> list[int]:
    return [(await add_device(store, f"laptop-{n}")).device_no for n in range(how_many)]


async def test_an_episode_lasts_from_the_first_failure_to_a_pass(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        one, two, three, gone = await devices(store, 4)
        await write_verdicts(
            store,
            FIRST,
            {
                ("disk", one): v("psffsxeelppf"),
                ("disk", two): v("ssssfsssssss"),
                ("disk", three): v("ffnnffppllll"),
                ("disk", gone): v("fffff       "),
                ("lock", one): v("pff"),
            },
            {"disk": "high"},
        )
        found = await rows(
            store,
            "SELECT hostname, control, severity, first_failed_day, last_failed_day, remedied_day, open, failed_days,"
            " exempt_days, silent_days, lapsed, last_passed_day FROM posture_failures ORDER BY 2, 1, 4",
        )
        assert found == [
            ("laptop-0", "disk", "high", "2026-02-22", "2026-02-27", "2026-02-28", 0, 4, 3, 2, 1, "2026-02-20"),
            ("laptop-0", "disk", "high", "2026-03-03", "2026-03-03", None, 1, 1, 0, 0, 0, "2026-03-02"),
            ("laptop-1", "disk", "high", "2026-02-24", "2026-02-24", None, 1, 1, 0, 7, 0, None),
            ("laptop-2", "disk", "high", "2026-02-20", "2026-02-21", "2026-02-22", 0, 2, 0, 0, 0, None),
            ("laptop-2", "disk", "high", "2026-02-24", "2026-02-25", "2026-02-26", 0, 2, 0, 0, 0, None),
            # Its device left, and no pass was seen: neither remedied nor open.
            ("laptop-3", "disk", "high", "2026-02-20", "2026-02-24", None, 0, 5, 0, 0, 0, None),
            # The control was given up.
            ("laptop-0", "lock", "medium", "2026-02-21", "2026-02-22", None, 0, 2, 0, 0, 0, "2026-02-20"),
        ]
        assert sorted(await rows(store, EPISODES), key=repr) == sorted(await counted(store), key=repr)


async def test_episodes_of_any_days_are_those_of_a_plain_count(tmp_path: Path) -> None:
    random = Random(12)
    async with open_store(tmp_path) as store:
        fleet = await devices(store, 60)
        await write_verdicts(
            store,
            FIRST,
            {(control, device): any_days(random, length) for control, length in (("a", 30), ("b", 30), ("c", 9))
             for device in fleet},
        )  # fmt: skip
        expected = await counted(store)
        assert len(expected) > 200
        assert sorted(await rows(store, EPISODES), key=repr) == sorted(expected, key=repr)
        some = expected[7][0]
        assert sorted(await rows(store, f"{EPISODES} WHERE device_id = ?", (some,)), key=repr) == sorted(
            (episode for episode in expected if episode[0] == some), key=repr
        )


async def test_a_year_and_a_leap_year_have_their_days(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        (one,) = await devices(store, 1)
        await write_verdicts(store, date(2023, 12, 31), {("disk", one): v("f" * 800)})
        assert await rows(store, "SELECT failed_days, last_failed_day FROM posture_failures") == [(800, "2026-03-09")]
