"""Judging days: sets of devices against sets of controls, written as runs of days, the same however often it is done.

The fleet is judged a stretch of devices at a time, each read on one view and written in transactions of its own, so
that devices go on reporting and the fleet may be of any size. What a day was judged by is written last: a new day is
there when all of it is, and a judging that was broken off is done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial

from server.evaluate.codes import verdict_of
from server.evaluate.courts import Court, controls_of, courts_of
from server.evaluate.population import Devices, stretches
from server.evaluate.record import AT_A_TIME, Change, Grounds, control_numbers, note_controls, write_verdicts
from server.evaluate.sitting import Sitting
from server.evaluate.versions import rule_version
from server.evaluate.whole import refuse_unkept
from server.normalize.calendar import FIRST_DAY, Calendar, Day
from server.normalize.times import iso, unix
from server.store.calendar import read_calendar
from server.store.driver import StoreError, Transaction
from server.store.exemptions import exempted
from server.store.in_force import InForce
from server.store.store import Store

GRACE_SECONDS = 3600
"""How long after its end a day stays open, for answers on their way."""
STRETCH = 5_000
"""Devices that are judged together: memory grows with them, not with the fleet."""

Packs = Callable[[str, int | None], Awaitable[InForce]]
Told = Callable[[str, int, int], None]
"""Is told a day, up to which number its devices are judged, and the highest number."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging a control on a day came to: devices by status, and how many verdicts are not what they were."""

    day: str
    control: str
    totals: Mapping[str, int]
    changed: int


class BrokenOffError(Exception):
    """Judging was to end before it was done: what is written stands, and doing it again comes to the same."""


@dataclass
class Judging:
    """One judging, of however many days. ``going_on`` tells, between stretches, whether to go on."""

    store: Store
    calendar: Calendar
    going_on: Callable[[], bool]
    told: Told | None = None
    seq: int = 0
    """The commit sequence of its first verdicts, by which its revisions are known; 0 while nothing is written."""


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
    return Judging(store, await store.read(read_calendar), going_on, told)


async def evaluate(
    store: Store,
    first: date,
    last: date,
    *,
    as_applied: bool = False,
    going_on: Callable[[], bool] = lambda: True,
    told: Told | None = None,
) -> list[Judged]:
    """Judge every day from ``first`` to ``last``, in order. Raises ``StoreError`` for days that are not there yet.

    They are judged by the packs that are in force now or, ``as_applied``, by those that were at the end of each day. A
    closed day that is judged by other packs than those is held to them from then on. Ends early, with what is done
    whole, once ``going_on`` says so.
    """
    judging = await begin(store, going_on, told)
    await _refuse(judging, first, last)
    results: list[Judged] = []
    day = first
    try:
        while day <= last:
            results += await _judge_whole(judging, judging.calendar.day(day), as_applied=as_applied)
            day += timedelta(days=1)
    except BrokenOffError:
        pass
    return results


async def _refuse(judging: Judging, first: date, last: date) -> None:
    today = judging.calendar.today(judging.store.clock())
    if last < first:
        raise StoreError(f"The period ends on {last} before it begins on {first}.")
    if first < FIRST_DAY:
        raise StoreError(f"{first} is before {FIRST_DAY}: there were no computers' days to judge.")
    if last > today:
        zone = judging.calendar.zone(today)
        raise StoreError(f"{last} is in the future: it is {today} in the fleet's zone {zone}.")
    store = judging.store
    await store.read(partial(refuse_unkept, store.catalog, first, last, judging.calendar))


async def _judge_whole(judging: Judging, bounds: Day, *, as_applied: bool) -> list[Judged]:
    """Judge a day whole: every control over the whole fleet; it is closed if it is over and its grace is."""
    store, now = judging.store, judging.store.in_force
    at_end = await store.in_force_at(bounds.ends_at)

    async def packs(_ends_at: str, _application: int | None) -> InForce:
        return at_end if as_applied else now

    prepared = await prepare(judging, bounds, packs)
    results = await judge_stretches(judging, prepared, prepared.versions.keys())
    over = store.clock() >= unix(prepared.day.ends_at) + GRACE_SECONDS
    if over and store.in_force is now:  # else it is due still, and judged by what is in force now
        other = not as_applied and now.base.number not in (0, at_end.base.number)
        await _close(store, prepared, now.base.number if other else None)
    return results


async def _close(store: Store, prepared: Prepared, application: int | None) -> None:
    day = prepared.day.day
    if prepared.state == "open" or prepared.application != application:
        at = iso(store.clock())
        await store.write(
            lambda tx: tx.run(
                "UPDATE muster_days SET state = CASE WHEN state = 'open' THEN 'closed' ELSE state END,"
                " closed_at = COALESCE(closed_at, CAST(? AS TEXT)), application = CAST(? AS BIGINT) WHERE day = ?",
                (at, application, day),
            )
        )


_STORED_DAY = "SELECT starts_at, ends_at, zone, state, application FROM muster_days WHERE day = ?"


# -- one day -----------------------------------------------------------------------------------------------------


async def prepare(judging: Judging, bounds: Day, packs: Packs) -> Prepared:
    """Make a day ready to be judged: it and its controls are recorded, its rules compiled.

    ``packs`` tells by which packs a day is judged that ends at an instant and is held to an application, if it is.
    """
    store = judging.store
    stored = await store.read(lambda tx: tx.row(_STORED_DAY, (bounds.day,)))
    in_force = await packs(stored[1] if stored else bounds.ends_at, stored[4] if stored else None)
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
    highest = await tx.row("SELECT COALESCE(MAX(device_no), 0) FROM muster_devices")

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
        highest=highest[0] if highest else 0,
        make=make,
    )


def _versions(courts: Sequence[Court], control: str) -> tuple[str, str | None]:
    found = []
    for court in courts:
        loaded = court.control(control)
        found.append(rule_version(court.catalog, loaded) if loaded else "")
    return found[0], found[-1] if found[-1] != found[0] else None


async def judge_stretches(judging: Judging, prepared: Prepared, controls: Collection[str]) -> list[Judged]:
    """Judge the whole fleet by some controls, and record by which versions that was."""
    totals: dict[int, Counter[str]] = {}
    changed: Counter[int] = Counter()
    grounds = grounds_of(judging, prepared, controls)
    for devices in stretches_of(prepared):
        await judge_devices(judging, prepared, controls, devices, grounds, totals, changed)
        if judging.told:
            judging.told(prepared.day.day, devices.high, prepared.highest)
    await _record(judging, prepared, controls)
    return [
        Judged(prepared.day.day, control, totals.get(number, {}), changed[number])
        for control in sorted(controls)
        for number in (prepared.numbers[control][0],)
    ]


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


async def judge_devices(
    judging: Judging,
    prepared: Prepared,
    controls: Collection[str],
    devices: Devices,
    grounds: Grounds,
    totals: dict[int, Counter[str]] | None = None,
    changed: Counter[int] | None = None,
) -> None:
    """Judge some devices by some controls, and write what is not what it was. Raises ``BrokenOffError``."""
    if not judging.going_on():
        raise BrokenOffError
    sitting, day = prepared.sitting(controls), prepared.day.day
    latest = dict(prepared.numbers.values())
    eve = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
    gapped = {number for number in sitting.control_nos.values() if (latest[number] or eve) < eve}
    newest = max((one for one in latest.values() if one), default="")
    covered = {number: theirs for number, theirs in prepared.exempted.items() if number in sitting.places.control_nos}

    async def read(tx: Transaction) -> tuple[list[Change], Counter[int]]:
        judged = await sitting.judge(tx, devices, covered)
        known = await sitting.known(tx, devices, gapped, newest)
        differing = [
            Change(control_no, number, verdict_of(byte))
            for number in sorted(judged.keys() | known.keys())
            if (said := judged.get(number, 0)) != (before := known.get(number, 0))
            for control_no, byte in sitting.places.differing(said, before)
        ]
        return differing, Counter(judged.values()) if totals is not None else Counter()

    differing, tallies = await judging.store.read(read)
    for start in range(0, len(differing), AT_A_TIME):
        part = differing[start : start + AT_A_TIME]
        seq = judging.seq

        async def write(tx: Transaction, part: Sequence[Change] = part, seq: int = seq) -> tuple[dict[int, int], int]:
            seq = seq or await tx.seq()
            return await write_verdicts(tx, day, part, grounds, seq), seq

        done, judging.seq = await judging.store.write(write)
        if changed is not None:
            changed.update(done)
    for said, count in tallies.items():
        for control_no, byte in sitting.places.each(said):
            verdict = verdict_of(byte)
            if totals is not None and verdict is not None:
                totals.setdefault(control_no, Counter())[verdict.status] += count


async def _record(judging: Judging, prepared: Prepared, controls: Collection[str]) -> None:
    """Write down what the fleet was judged by on the day, where that is not known already."""
    at, day = iso(judging.store.clock()), prepared.day.day
    rows = [
        (prepared.numbers[control][0], day, *prepared.versions[control], at)
        for control in sorted(controls)
        if prepared.recorded.get(control) != prepared.versions[control]
    ]
    if rows:
        await judging.store.write(
            lambda tx: tx.many(
                "INSERT INTO muster_evaluation (control_no, day, rule_version, canary_version, evaluated_at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (control_no, day) DO UPDATE SET"
                " rule_version = excluded.rule_version, canary_version = excluded.canary_version,"
                " evaluated_at = excluded.evaluated_at",
                rows,
            )
        )
