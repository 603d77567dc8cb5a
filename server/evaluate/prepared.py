"""What a judging and a day about to be judged know: by which packs, against which devices, what was judged before."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from server.catalog.problems import CatalogError
from server.evaluate.courts import Court, controls_of, courts_of
from server.evaluate.population import Devices, stretches
from server.evaluate.record import Grounds, control_numbers, note_controls
from server.evaluate.sitting import Sitting
from server.evaluate.versions import rule_version
from server.normalize.calendar import Calendar, Day
from server.normalize.times import unix
from server.store.calendar import read_calendar
from server.store.devices import highest_no
from server.store.driver import Transaction
from server.store.exemptions import exempted
from server.store.in_force import InForce, held_to
from server.store.store import Store
from server.store.turns import Turns

log = logging.getLogger(__name__)

STRETCH = 5_000
"""Devices that are judged together: memory grows with them, not with the fleet."""


class HeldTo(NamedTuple):
    """What is written down of a day about its packs: its end, an application it is held to, whether with a canary."""

    ends_at: str
    application: int | None = None
    canary: bool = False


Packs = Callable[[HeldTo], Awaitable[InForce]]
Told = Callable[[str, int, int], None]
"""Is told a day, up to which number its devices are judged, and the highest number."""


class BrokenOffError(Exception):
    """Judging was to end before it was done: what is written stands, and doing it again comes to the same."""


@dataclass
class Judging:
    """One judging, of however many days. ``going_on`` tells, between stretches, whether to go on."""

    store: Store
    calendar: Calendar
    going_on: Callable[[], bool]
    turns: Turns
    told: Told | None = None
    seq: int = 0
    """The commit sequence of its first verdicts, by which its revisions are known; 0 while nothing is written."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Judge a day within it: meanwhile nobody else does. Raises ``BrokenOffError``."""
        async with self.turns.one(self.going_on) as had:
            if not had:
                raise BrokenOffError
            yield


@dataclass
class Prepared:
    """A day about to be judged: by which courts and versions, and what was judged of it before."""

    day: Day
    state: str
    application: int | None
    courts: Sequence[Court]
    versions: Mapping[str, tuple[str, str | None]]
    """Of every control: that of the rule for all and, where it is another, the canary's."""
    recorded: Mapping[str, tuple[str, str | None]]
    numbers: Mapping[str, tuple[int, str | None]]
    exempted: Mapping[int, set[int]]
    highest: int
    make: Callable[[Collection[str]], Sitting]
    _made: dict[frozenset[str], Sitting] = field(default_factory=dict)

    @property
    def due(self) -> set[str]:
        """The controls that the whole fleet has to be judged by: not judged yet, or by another version."""
        return {control for control, versions in self.versions.items() if self.recorded.get(control) != versions}

    def sitting(self, controls: Collection[str]) -> Sitting:
        """Judges of some of the controls."""
        key = frozenset(controls)
        if key not in self._made:
            self._made[key] = self.make(key)
        return self._made[key]


async def begin(store: Store, going_on: Callable[[], bool] = lambda: True, told: Told | None = None) -> Judging:
    """A judging that begins now."""
    return Judging(store, await store.read(read_calendar), going_on, Turns(store.write), told)


async def packs_held_to(store: Store, day: HeldTo) -> InForce:
    """By what a day is judged: what is in force while it runs, else what was at its end or what it is held to."""
    if unix(day.ends_at) > store.clock():
        return store.in_force
    at_end = await store.in_force_at(day.ends_at)
    if day.application is None:
        return at_end
    try:
        return await held_to(store.driver, day.application, at_end, store.in_force, canary=day.canary)
    except CatalogError as error:
        log.warning("the packs of application %d cannot be read: %s", day.application, error)
        return at_end


_STORED_DAY = (
    "SELECT d.starts_at, d.ends_at, d.zone, d.state, d.application,"
    " (SELECT COUNT(e.canary_version) FROM muster_evaluation e WHERE e.day = d.day) FROM muster_days d WHERE d.day = ?"
)


async def prepare(judging: Judging, bounds: Day, packs: Packs) -> Prepared:
    """Make a day ready to be judged: it and its controls are recorded, its rules compiled.

    ``packs`` tells by which packs.
    """
    store = judging.store
    stored = await store.read(lambda tx: tx.row(_STORED_DAY, (bounds.day,)))
    in_force = await packs(HeldTo(stored[1], stored[4], stored[5] > 0) if stored else HeldTo(bounds.ends_at))
    catalogs = [part.catalog for part in in_force.parts]
    controls = {
        loaded.control_id: (loaded.control.title, loaded.control.severity)
        for catalog in reversed(catalogs)
        for loaded in catalog.judged()
    }

    async def begun(tx: Transaction) -> bool:
        known = await tx.rows("SELECT control, title, severity FROM muster_controls")
        return stored is not None and controls.items() <= {row[0]: (row[1], row[2]) for row in known}.items()

    async def begin_day(tx: Transaction) -> None:
        await tx.run(
            "INSERT INTO muster_days (day, starts_at, ends_at, zone, state) VALUES (?, ?, ?, ?, 'open')"
            " ON CONFLICT (day) DO NOTHING",
            (bounds.day, bounds.starts_at, bounds.ends_at, bounds.zone),
        )
        await note_controls(tx, controls)

    if not await store.read(begun):
        await store.write(begin_day)
    return await store.read(partial(_prepared, judging, bounds.day, in_force))


async def _prepared(judging: Judging, name: str, in_force: InForce, tx: Transaction) -> Prepared:
    stored = await tx.row(_STORED_DAY, (name,))
    assert stored is not None
    day = Day(name, *stored[:3])  # one that is recorded keeps the bounds it has, though the zone may have changed since
    courts = await courts_of(tx, in_force, day.ends_at)
    controls = controls_of(courts)
    tables = await judging.store.tables(tx)
    numbers = await control_numbers(tx)
    found = await tx.rows(
        "SELECT c.control, e.rule_version, e.canary_version FROM muster_evaluation e"
        " JOIN muster_controls c ON c.control_no = e.control_no WHERE e.day = ?",
        (name,),
    )
    covered = {numbers[control][0]: await exempted(tx, control, name) for control in controls}

    def make(chosen: Collection[str]) -> Sitting:
        return Sitting(day, judging.calendar, courts, {control: numbers[control][0] for control in chosen}, tables)

    return Prepared(
        day=day,
        state=stored[3],
        application=stored[4],
        courts=courts,
        versions={control: _versions(courts, control) for control in controls},
        recorded={control: (rule, canary) for control, rule, canary in found},
        numbers=numbers,
        exempted={number: devices for number, devices in covered.items() if devices},
        highest=await highest_no(tx),
        make=make,
    )


def _versions(courts: Sequence[Court], control: str) -> tuple[str, str | None]:
    found = []
    for court in courts:
        loaded = court.control(control)
        found.append(rule_version(court.catalog, loaded) if loaded else "")
    return found[0], found[-1] if found[-1] != found[0] else None


def stretches_of(prepared: Prepared) -> Iterator[Devices]:
    """The whole fleet, so many devices at a time."""
    return stretches(prepared.highest, STRETCH)


def grounds_of(judging: Judging, prepared: Prepared, controls: Collection[str]) -> Grounds:
    """What explains revisions that come of judging by these controls."""
    rules, reads = {}, prepared.sitting(controls).reads()
    for control in controls:
        was, now = prepared.recorded.get(control), prepared.versions[control]
        if was is not None and was != now:
            parts = [f"rule {old or 'none'} → {new or 'none'}" for old, new in zip(was, now, strict=True) if old != new]
            rules[prepared.numbers[control][0]] = ", ".join(parts)
    return Grounds(
        judging.store.clock(),
        {prepared.numbers[control][0]: control for control in controls},
        rules,
        {prepared.numbers[control][0]: subjects for control, subjects in reads.items()},
    )
