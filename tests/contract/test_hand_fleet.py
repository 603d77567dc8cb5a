"""A fleet over ten days whose every verdict and revision was worked out by hand, before Muster was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from server.normalize.times import iso
from tests.support.fleet_days import DAYS, at
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
        (control, host, day): known.get((status, underlying, lapsed, reason), f"{status}/{underlying}/{lapsed}/{reason}")
        for control, host, day, status, underlying, lapsed, reason, *_ in posture
    }


def differences(hand: Cells, muster: Cells) -> list[str]:
    """Where the two do not agree."""
    return [
        f"{' '.join(cell)}: by hand {hand.get(cell, '-')}, by Muster {muster.get(cell, '-')}"
        for cell in sorted(hand.keys() | muster.keys())
        if hand.get(cell, "-") != muster.get(cell, "-")
    ]


async def test_every_verdict_and_revision_of_ten_days(tmp_path: Path) -> None:
    async with fleet_at_first(tmp_path) as life:
        await life.ten_days()
        closed = as_closed()
        for day, posture in life.closed.items():
            print(day, differences({cell: word for cell, word in closed.items() if cell[2] == day}, told(posture)))
        found = differences(by_hand(), told(await life.posture("WHERE day < '2026-10-29'")))
        print("\n".join(found))
        assert not found
