"""What a new or changed control would have said of stored answers. Nothing is written.

It is judged by the same dockets as days are. The fleet is taken a stretch of devices at a time, each over all the days,
so that memory grows with a stretch and not with the fleet, and a device's changes are told whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from server.catalog.trial import Trial
from server.evaluate.codes import NOT_YET, verdict_of
from server.evaluate.courts import Court
from server.evaluate.judge import refuse_period
from server.evaluate.population import Devices, stretches
from server.evaluate.prepared import STRETCH, begin
from server.evaluate.record import erased_of
from server.evaluate.sitting import Sitting
from server.evaluate.trial_sources import Source, sources_of
from server.evaluate.verdicts import Verdict
from server.normalize.calendar import Calendar, Day
from server.store.devices import highest_no
from server.store.driver import Transaction
from server.store.exemptions import exempted
from server.store.store import Store

Told = Callable[[int, int], None]

_ONLY = 1
"""The control is judged alone, so any number will do for its place."""


class Changed(NamedTuple):
    """Consecutive days on which a device's verdict would be another, in the same way; None is no verdict.

    By its reason alone a verdict is no other.
    """

    device_id: str
    hostname: str
    first_day: str
    last_day: str
    before: Verdict | None
    after: Verdict | None


@dataclass
class DayCounts:
    """Devices by status on a day: as it was judged, and as the control would have it. ``judged`` if it ever was."""

    day: str
    judged: bool
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    changed: int = 0


@dataclass(frozen=True)
class WhatIf:
    """What a trial came to. ``moves`` counts device-days by the statuses they would change from and to."""

    days: Sequence[DayCounts]
    sources: Sequence[Source]
    devices: int
    """That have a verdict on one of the days."""
    devices_changed: int
    moves: Mapping[tuple[str | None, str | None], int]


@dataclass
class _Trying:
    """A trial under way."""

    sittings: Sequence[Sitting]
    counts: Sequence[DayCounts]
    covered: Sequence[set[int]]
    closed: Set[str]
    control_no: int | None
    devices: int = 0
    devices_changed: int = 0
    moves: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)


async def what_if(
    store: Store,
    trial: Trial,
    first: date,
    last: date,
    found: Callable[[Changed], None],
    told: Told = lambda _done, _all: None,
) -> WhatIf:
    """Judge every day from ``first`` to ``last`` by a control that is tried; raises ``StoreError`` as judging does.

    ``found`` is told every change, device by device, and ``told`` how much of how much
    is done.
    """
    judging = await begin(store)
    await refuse_period(judging, first, last)
    trying, highest = await store.read(partial(_begin, store, trial, judging.calendar, first, last))
    for devices in stretches(highest, STRETCH):
        for change in await _stretch(store, trying, devices, told, highest):
            found(change)
    sources = await store.read(partial(_sources, store, trial))
    return WhatIf(trying.counts, sources, trying.devices, trying.devices_changed, trying.moves)


async def _sources(store: Store, trial: Trial, tx: Transaction) -> Sequence[Source]:
    return await sources_of(tx, trial, await store.tables(tx))


async def _begin(
    store: Store, trial: Trial, calendar: Calendar, first: date, last: date, tx: Transaction
) -> tuple[_Trying, int]:
    days = await _days(tx, calendar, first, last)
    tables = await store.tables(tx)
    number = await tx.row("SELECT control_no FROM muster_controls WHERE control = ?", (trial.control_id,))
    judged: set[str] = set()
    if number:
        judged = {row[0] for row in await tx.rows("SELECT day FROM muster_evaluation WHERE control_no = ?", number)}
    court = Court(trial.catalog)
    return (
        _Trying(
            sittings=[Sitting(day, calendar, [court], {trial.control_id: _ONLY}, tables) for day in days],
            counts=[DayCounts(day.day, day.day in judged) for day in days],
            covered=[await exempted(tx, trial.control_id, day.day) for day in days],
            closed={row[0] for row in await tx.rows("SELECT day FROM muster_days WHERE state <> 'open'")},
            control_no=number[0] if number else None,
        ),
        await highest_no(tx),
    )


async def _days(tx: Transaction, calendar: Calendar, first: date, last: date) -> list[Day]:
    """The days, with the bounds they were judged by where they were."""
    stored = {
        day: Day(day, *bounds)
        for day, *bounds in await tx.rows(
            "SELECT day, starts_at, ends_at, zone FROM muster_days WHERE day >= ? AND day <= ?",
            (first.isoformat(), last.isoformat()),
        )
    }
    wanted = (first + timedelta(days=ahead) for ahead in range((last - first).days + 1))
    return [stored.get(day.isoformat()) or calendar.day(day) for day in wanted]


async def _stretch(store: Store, trying: _Trying, devices: Devices, told: Told, highest: int) -> list[Changed]:
    """Judge a stretch of devices on every day, count it, and return what would change.

    Each day is read on a view of its own: a long one would keep the database from tidying up.
    """
    before, gone = await store.read(partial(_before, trying, devices))
    differences: dict[int, list[tuple[int, Verdict | None, Verdict | None]]] = {}
    seen: set[int] = set()
    for place, (sitting, counts) in enumerate(zip(trying.sittings, trying.counts, strict=True)):
        settled = counts.judged and counts.day in trying.closed
        exempt = {_ONLY: trying.covered[place]}
        judged = await store.read(partial(sitting.judge, devices=devices, exempted=exempt))
        was = before[place]
        for number in judged.keys() | was.keys():
            old = was.get(number)
            new = old if number in gone else verdict_of(judged.get(number, 0))
            if old is None and settled and judged.get(number) == NOT_YET:
                new = None  # a day that is closed is left alone for devices that come later
            _count(counts, old, new)
            if old or new:
                seen.add(number)
            if _unlike(old, new):
                differences.setdefault(number, []).append((place, old, new))
                trying.moves[old.status if old else None, new.status if new else None] += 1
                counts.changed += 1
        told((devices.low - 1) * len(before) + (place + 1) * (devices.high - devices.low + 1), highest * len(before))
    trying.devices += len(seen)
    trying.devices_changed += len(differences)
    named = await store.read(partial(_names, devices)) if differences else {}
    days = [counts.day for counts in trying.counts]
    return [
        Changed(*named[number], days[begin], days[end], old, new)
        for number in sorted(differences)
        for begin, end, old, new in _runs(differences[number])
    ]


def _unlike(old: Verdict | None, new: Verdict | None) -> bool:
    """Whether a verdict is another by more than its reason, which another wording of the same rule changes too."""
    return (old and old[:3]) != (new and new[:3])


def _count(counts: DayCounts, old: Verdict | None, new: Verdict | None) -> None:
    if old:
        counts.before[old.status] += 1
    if new:
        counts.after[new.status] += 1


def _runs(
    differences: Sequence[tuple[int, Verdict | None, Verdict | None]],
) -> Iterator[tuple[int, int, Verdict | None, Verdict | None]]:
    """Differences of consecutive days that are the same, as one."""
    begin, old, new = differences[0]
    end = begin
    for place, *what in differences[1:]:
        if place != end + 1 or what != [old, new]:
            yield begin, end, old, new
            begin, (old, new) = place, what
        end = place
    yield begin, end, old, new


async def _before(trying: _Trying, devices: Devices, tx: Transaction) -> tuple[list[dict[int, Verdict]], set[int]]:
    """The verdicts there are of devices, for each day; and the erased ones, whose verdicts stay as they are.

    There are none on days on which the control was not judged.
    """
    gone = await erased_of(tx, devices)
    found: list[dict[int, Verdict]] = [{} for _ in trying.counts]
    if trying.control_no is None:
        return found, gone
    first, last = trying.counts[0].day, trying.counts[-1].day
    for number, begin_day, end_day, *verdict in await tx.rows(
        "SELECT v.device_no, v.first_day, v.last_day, v.status, v.underlying_status, v.lapsed, v.reason"
        f" FROM muster_verdicts v WHERE v.control_no = ? AND {devices.of('v')} AND v.first_day <= ?"
        " AND (v.last_day IS NULL OR v.last_day >= ?)",
        (trying.control_no, *devices.parameters, last, first),
    ):
        for place, counts in enumerate(trying.counts):
            if counts.judged and begin_day <= counts.day and (end_day is None or counts.day <= end_day):
                found[place][number] = Verdict(*verdict)
    return found, gone


async def _names(devices: Devices, tx: Transaction) -> dict[int, tuple[str, str]]:
    rows = await tx.rows(
        f"SELECT d.device_no, d.device_id, d.hostname FROM muster_devices d WHERE {devices.of('d')}", devices.parameters
    )
    return {number: (device_id, hostname) for number, device_id, hostname in rows}
