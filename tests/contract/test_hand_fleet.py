"""A fleet over ten days whose every verdict and revision was worked out by hand, before Muster was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.normalize.times import iso
from tests.support.fleet_days import DAYS, at, sent
from tests.support.fleet_run import Life, fleet_at_first
from tests.support.stores import rows

HAND = Path(__file__).parent.parent / "data" / "fleet"
Verdict = tuple[str, str, int, str | None]
Cells = dict[tuple[str, str, str], str]
"""The word of a control, a device and a day."""


def _read(name: str) -> Iterator[list[str]]:
    for line in (HAND / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split()


def words() -> dict[Verdict, str]:
    """The words for verdicts."""
    told = [line for line in _read("verdicts.txt") if line[0] == "="]
    return {
        (line[2], line[3], int(line[4]), None if line[5] == "-" else line[5]): line[1]
        for line in told
        if line[1] != "-"
    }


def by_hand() -> Cells:
    """What every day says in the end."""
    cells: Cells = {}
    control, days = "", list[str]()
    for first, *told in _read("verdicts.txt"):
        if first == "=":
            continue
        if told[0] == "19":
            control, days = first, [f"2026-10-{day}" for day in told]
            continue
        assert len(told) == len(days), (control, first)
        cells |= {(control, first, day): word for day, word in zip(days, told, strict=True)}
    return cells


class Revised(NamedTuple):
    """A revision, as both the hand and Muster tell it."""

    revised_at: str
    control: str
    device: str
    first_day: str
    last_day: str
    before: str
    after: str
    cause: str


def revised_by_hand() -> list[Revised]:
    """What closed days said before."""
    found = []
    for day, clock, control, span, before, after, cause, *devices in _read("revisions.txt"):
        first, last = (f"2026-10-{day}" for day in span.split("-"))
        when = iso(at(int(day), clock))
        found += [Revised(when, control, device, first, last, before, after, cause) for device in devices]
    return sorted(found)


def as_closed() -> Cells:
    """What every day said when it was closed: before its first revision."""
    cells = by_hand()
    for one in sorted(revised_by_hand(), reverse=True):
        for day in (day for _, _, day in list(cells)):
            if one.first_day <= day <= one.last_day:
                cells[one.control, one.device, day] = one.before
    return cells


def told(posture: list[tuple[Any, ...]]) -> Cells:
    """What ``posture`` says, in the hand's words."""
    known = words()
    return {
        (control, host, day): known.get(
            (status, underlying, lapsed, reason), f"{status}/{underlying}/{lapsed}/{reason}"
        )
        for control, host, day, status, underlying, lapsed, reason, *_ in posture
    }


def differences(hand: Cells, muster: Cells) -> list[str]:
    """Where the two do not agree."""
    return [
        f"{' '.join(cell)}: by hand {hand.get(cell, '-')}, by Muster {muster.get(cell, '-')}"
        for cell in sorted(hand.keys() | muster.keys())
        if hand.get(cell, "-") != muster.get(cell, "-")
    ]


def agree(hand: Cells, muster: Cells) -> None:
    """Fail, and say where, unless both say the same."""
    found = differences(hand, muster)
    assert not found, "\n".join(found)


def since_by_hand() -> Cells:
    """The first of the days up to each that have one verdict without a break."""
    hand, since = by_hand(), dict[tuple[str, str, str], str]()
    for control, device, day in sorted(hand):
        before = (control, device, f"2026-10-{int(day[-2:]) - 1}")
        goes_on = hand.get(before) == hand[control, device, day]
        since[control, device, day] = since[before] if goes_on else day
    return since


async def revisions(life: Life) -> list[Revised]:
    """What Muster says of revisions."""
    known = words()
    found = await rows(
        life.store,
        "SELECT revised_at, control, hostname, first_day, last_day, before_status, before_underlying_status,"
        " before_lapsed, before_reason, after_status, after_underlying_status, after_lapsed, after_reason, cause"
        " FROM posture_revisions",
    )
    return sorted(
        Revised._make((*one[:5], *(known.get(v, str(v)) if v[0] else "-" for v in (one[5:9], one[9:13])), one[13]))
        for one in found
    )


async def test_ten_days(tmp_path: Path) -> None:
    async with fleet_at_first(tmp_path) as life:
        await life.ten_days()
        first = as_closed()
        for day, posture in life.closed.items():
            agree({cell: word for cell, word in first.items() if cell[2] == day}, told(posture))
        posture = await life.posture("WHERE day < '2026-10-29'")
        agree(by_hand(), told(posture))
        hand = {cell: since for cell, since in since_by_hand().items() if by_hand()[cell] != "-"}
        assert {(one[0], one[1], one[2]): one[7] for one in posture} == hand
        assert {one[8] for one in posture} == {0}
        made, hand_made = await revisions(life), revised_by_hand()
        assert sorted(set(made) - set(hand_made)) == []
        assert sorted(set(hand_made) - set(made)) == []
        assert len(made) == len(hand_made)
        await _runs_totals_and_days(life)
        await _coverage_and_devices(life)
        await _explanations(life)
        await _judging_all_again_changes_nothing(life)


async def _explanations(life: Life) -> None:
    """What explains a verdict reads the rows by itself, and comes to the same."""
    known, wrong = words(), []
    for (control, device, day), word in by_hand().items():
        if word != "-" and (day == "2026-10-22" or (control, day) == ("disk", "2026-10-27")):
            found = await explain(life.store, Question(device, control, day))
            if (known[found.verdict], found.as_stored_now) != (word, None):
                wrong.append((control, device, day, word, found.verdict, found.as_stored_now))
    assert wrong == []


async def _runs_totals_and_days(life: Life) -> None:
    columns = "first_day, last_day, status, lapsed"
    runs = f"SELECT {columns} FROM posture_runs WHERE hostname = ? AND control = 'disk' ORDER BY 1"
    assert await rows(life.store, runs, ("sleeper",)) == [
        ("2026-10-19", "2026-10-21", "pass", 0),
        ("2026-10-22", "2026-10-22", "fail", 0),
        ("2026-10-23", "2026-10-23", "pass", 1),
        ("2026-10-24", "2026-10-28", "pass", 0),
        ("2026-10-29", "2026-10-29", "stale", 0),  # an hour old
    ]
    assert await rows(life.store, runs, ("leaver",)) == [("2026-10-19", "2026-10-24", "pass", 0)]
    totals = "SELECT status, devices FROM posture_totals WHERE control = ? AND day = ?"
    for control, day, counts in TOTALS:
        assert dict(await rows(life.store, totals, (control, f"2026-10-{day}"))) == counts, (control, day)
    rates = "SELECT judged, pass_rate FROM posture_rates WHERE control = 'disk' AND day = '2026-10-25'"
    assert await rows(life.store, rates) == [(13, 76.92)]
    episodes = "SELECT hostname, first_failed_day, remedied_day, open FROM posture_failures WHERE control = 'disk'"
    assert sorted(await rows(life.store, episodes)) == [
        ("failing", "2026-10-27", "2026-10-28", 0),
        ("lab", "2026-10-19", None, 1),
        ("owl", "2026-10-25", "2026-10-26", 0),
        ("sleeper", "2026-10-22", "2026-10-23", 0),
        ("waived", "2026-10-19", None, 1),
    ]
    days = await rows(life.store, "SELECT day, starts_at, ends_at, zone, state FROM days ORDER BY 1")
    assert [(day, state) for day, _, _, _, state in days] == [
        *((f"2026-10-{day}", "closed") for day in DAYS),
        ("2026-10-29", "open"),
    ]
    assert days[6][1:4] == ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "Europe/Berlin")
    assert await rows(
        life.store, "SELECT DISTINCT day, provisional FROM posture WHERE day > '2026-10-27' ORDER BY 1"
    ) == [
        ("2026-10-28", 0),
        ("2026-10-29", 1),
    ]


TOTALS: list[tuple[str, int, dict[str, int]]] = [
    ("disk", 22, {"pass": 10, "fail": 1, "stale": 1, "no_data": 3, "error": 1, "not_applicable": 1, "exempt": 2}),
    ("disk", 25, {"pass": 10, "fail": 3, "stale": 1, "no_data": 3, "not_applicable": 1, "exempt": 1}),
    ("departed", 23, {"pass": 14, "fail": 1, "stale": 1, "no_data": 3, "not_applicable": 1}),
    ("guests", 27, {"pass": 10, "fail": 3, "stale": 2, "no_data": 2, "not_applicable": 2}),
    ("forwarding", 25, {"pass": 13, "no_data": 3, "not_applicable": 3}),
]
"""Counted by hand in verdicts.txt."""


async def _coverage_and_devices(life: Life) -> None:
    stretches = (
        "SELECT first_at, last_at, status, basis, message FROM coverage WHERE hostname = ? AND query = ?"
        " AND first_at >= ? AND first_at < ? ORDER BY 1"
    )

    async def covered(*which: str) -> list[tuple[Any, ...]]:
        return await rows(life.store, stretches, which)

    # Answers at 9, 10, 12, 14, 15 and 16 o'clock are one stretch.
    assert await covered("noon", "disks", "2026-10-22", "2026-10-23") == [
        ("2026-10-22T07:00:00Z", "2026-10-22T14:00:00Z", "ok", "result", None)
    ]
    # The 25th hour.
    assert await covered("owl", "disks", "2026-10-25", "2026-10-26") == [
        ("2026-10-25T22:30:00Z", "2026-10-25T22:30:00Z", "ok", "result", None)
    ]
    # A clock five hours ahead said one o'clock of the next day.
    skewed = await covered("skewed", "disks", "2026-10-19", "2026-10-27")
    assert [first for first, *_ in skewed] == [
        "2026-10-19T18:00:00Z", "2026-10-20T18:00:00Z", "2026-10-21T18:00:00Z", "2026-10-22T18:00:00Z",
        "2026-10-24T18:00:00Z", "2026-10-25T19:00:00Z", "2026-10-26T15:00:00Z",
    ]  # fmt: skip
    assert await covered("failing", "disks", "2026-10-22", "2026-10-23") == [
        ("2026-10-22T08:00:00Z", "2026-10-22T08:00:00Z", "ok", "result", None),
        ("2026-10-22T08:30:00Z", "2026-10-22T08:30:00Z", "error", "result", "disk I/O error"),
    ]
    denied = await covered("failing", "ports", "2026-10-23", "2026-10-24")
    assert [(first, status, basis) for first, _, status, basis, _ in denied] == [
        ("2026-10-23T08:00:00Z", "ok", "result"),
        ("2026-10-23T08:05:00Z", "denylisted", "schedule"),
    ]
    assert not await covered("mute", "disks", "2026-10-19", "2026-10-30")
    assert await rows(life.store, "SELECT COUNT(*), COUNT(DISTINCT hostname) FROM devices") == [(20, 20)]


async def _judging_all_again_changes_nothing(life: Life) -> None:
    told = "SELECT * FROM muster_verdicts ORDER BY device_no, control_no, first_day"
    before = await rows(life.store, told), await revisions(life)
    await life.judge_all_again()
    assert (await rows(life.store, told), await revisions(life)) == before
    await life.worker.judge_news()
    assert (await rows(life.store, told), await revisions(life)) == before


@pytest.mark.parametrize("order", ["late", "any"])
async def test_the_same_in_another_order(tmp_path: Path, order: str) -> None:
    """What people do keeps its time, and so does what a device says that leaves: the others' bodies come after all."""
    async with fleet_at_first(tmp_path) as life:
        bodies = [body for body in sent() if body.device != "leaver"]
        if order == "any":
            bodies += bodies[::3]
            Random(6).shuffle(bodies)
        doings = [*life.people_do(), *life.deliveries(body for body in sent() if body.device == "leaver")]
        await life.live([*doings, *life.judging()])
        for position, body in enumerate(bodies):
            await life.deliver(body)
            if position % 150 == 100:
                await life.worker.judge_news()
        await life.worker.judge_news()
        agree(by_hand(), told(await life.posture("WHERE day < '2026-10-29'")))
        await _judging_all_again_changes_nothing(life)


async def test_the_running_day_is_provisional(tmp_path: Path) -> None:
    """The 22nd: ``noon``'s disk is open from twelve to three o'clock, and ``owl`` answers in the evening only."""
    async with fleet_at_first(tmp_path) as life:
        until = at(22, "17:00")
        seen: dict[str, Cells] = {}

        async def look(clock: str) -> None:
            await life.worker.judge_news()
            found = await life.posture("WHERE day = '2026-10-22' AND control = 'disk'")
            assert {one[8] for one in found} == {1}
            seen[clock] = told(found)

        looks = [(at(22, clock), lambda clock=clock: look(clock)) for clock in ("08:00", "11:00", "13:00", "16:30")]
        happenings = [*life.people_do(), *life.deliveries(sent()), *life.judging(), *looks]
        await life.live(one for one in happenings if one[0] < until)
        word = {clock: [cells["disk", name, "2026-10-22"] for name in ("noon", "owl")] for clock, cells in seen.items()}
        assert word == {
            "08:00": ["old", "old"],
            "11:00": ["ok", "old"],
            "13:00": ["break", "old"],
            "16:30": ["dip", "old"],
        }
