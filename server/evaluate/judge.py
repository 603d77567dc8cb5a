"""Judging days: sets of devices against sets of controls, written as runs of days, the same however often it is done.

The fleet is judged a stretch of devices at a time, each read on one view and written in transactions of its own, so
that devices go on reporting and the fleet may be of any size. What a day was judged by is written last: a new day is
there when all of it is, and a judging that was broken off is done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from server.evaluate.codes import NOT_YET, verdict_of
from server.evaluate.due import closes_at
from server.evaluate.population import Devices
from server.evaluate.prepared import (
    BrokenOffError,
    HeldTo,
    Judging,
    Prepared,
    Told,
    begin,
    grounds_of,
    packs_held_to,
    prepare,
    stretches_of,
)
from server.evaluate.record import AT_A_TIME, Change, Grounds, devices_judged, forget_judged, write_verdicts
from server.evaluate.sitting import Sitting
from server.evaluate.whole import refuse_unkept
from server.normalize.calendar import FIRST_DAY, Day, shifted
from server.normalize.times import iso
from server.store.driver import StoreError, Transaction
from server.store.in_force import InForce
from server.store.news import DEVICE, EVERY_DEVICE, News, note
from server.store.store import Store


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging a control on a day came to: devices by status, and how many verdicts are not what they were."""

    day: str
    control: str
    totals: Mapping[str, int]
    changed: int


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

    They are judged by the packs that are in force now or, ``as_applied``, by those each day is held to: those that were
    in force at its end. A closed day that is judged by others is held to them from then on. Ends early, with what is
    done whole, once ``going_on`` says so.
    """
    judging = await begin(store, going_on, told)
    await refuse_period(judging, first, last)
    results: list[Judged] = []
    day = first
    try:
        while day <= last:
            async with judging.turn():
                results += await _judge_whole(judging, judging.calendar.day(day), as_applied=as_applied)
            day += timedelta(days=1)
    except BrokenOffError:
        pass
    return results


async def refuse_period(judging: Judging, first: date, last: date) -> None:
    """Raise ``StoreError`` for days that are not there yet, or of which too little is kept to be judged."""
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

    async def by_now(_day: HeldTo) -> InForce:
        return now

    prepared = await prepare(judging, bounds, partial(packs_held_to, store) if as_applied else by_now)
    application = prepared.application if as_applied else await _other(store, prepared.day)
    begun = None if as_applied else await _begin_anew(judging, prepared, application)
    await give_up(judging, prepared)
    results = await judge_stretches(judging, prepared, prepared.versions.keys())
    over = store.clock() >= closes_at(prepared.day)
    if over and store.in_force is now:  # else it is due still, and judged by what is in force now
        await _close(judging, prepared, application)
    if begun is not None:
        await judging.turns.write(partial(_end_anew, prepared.day.day, begun))
    return results


async def _begin_anew(judging: Judging, prepared: Prepared, application: int | None) -> int:
    """Let a day be news of its own until it is judged by these packs, and hold a closed one to them; the sequence.

    Broken off it is gone on with by whoever judges next: no day is left that is judged by these packs for some devices
    and by others for the rest.
    """
    day = prepared.day.day

    async def work(tx: Transaction) -> int:
        held = "UPDATE muster_days SET application = CAST(? AS BIGINT) WHERE day = ? AND state <> 'open'"
        await tx.run(held, (application, day))
        await note(tx, [News(DEVICE, day, EVERY_DEVICE, day, day, "judged by other packs")])
        return await tx.seq()

    return await judging.turns.write(work)


async def _end_anew(day: str, begun: int, tx: Transaction) -> None:
    await tx.run("DELETE FROM muster_news WHERE kind = ? AND subject = ? AND noted_seq <= ?", (DEVICE, day, begun))


async def _other(store: Store, day: Day) -> int | None:
    """The application in force now, if other packs were in force at the end of a day, for all or for a canary."""
    now, at_end = store.in_force, await store.in_force_at(day.ends_at)
    canary = at_end.canary.number if at_end.canary else None
    same = now.base.hash == at_end.base.hash and (canary is None or canary in now.numbers[1:])
    return None if same or not now.base.number else now.base.number


async def _close(judging: Judging, prepared: Prepared, application: int | None) -> None:
    day = prepared.day.day
    if prepared.state == "open" or prepared.application != application:
        at = iso(judging.store.clock())
        await judging.turns.write(
            lambda tx: tx.run(
                "UPDATE muster_days SET state = CASE WHEN state = 'open' THEN 'closed' ELSE state END,"
                " closed_at = COALESCE(closed_at, CAST(? AS TEXT)), application = CAST(? AS BIGINT) WHERE day = ?",
                (at, application, day),
            )
        )


async def judge_stretches(judging: Judging, prepared: Prepared, controls: Collection[str]) -> list[Judged]:
    """Judge the whole fleet by some controls, and record by which versions that was."""
    if not controls:
        return []
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
    await judging.turns.keep()
    sitting, day = prepared.sitting(controls), prepared.day.day
    latest = dict(prepared.numbers.values())
    eve = shifted(day, -1)
    gapped = {number for number in sitting.control_nos.values() if (latest[number] or eve) < eve}
    newest = max((one for one in latest.values() if one), default="")
    covered = {number: theirs for number, theirs in prepared.exempted.items() if number in sitting.places.control_nos}

    async def read(tx: Transaction) -> tuple[list[Change], Counter[int]]:
        judged = await sitting.judge(tx, devices, covered)
        known = await sitting.known(tx, devices, gapped, newest)
        if prepared.state != "open":
            _leave_out_latecomers(sitting, prepared, judged, known)
        differing = [
            Change(control_no, number, verdict_of(byte))
            for number in sorted(judged.keys() | known.keys())
            if (said := judged.get(number, 0)) != (before := known.get(number, 0))
            for control_no, byte in sitting.places.differing(said, before)
        ]
        return differing, Counter(judged.values()) if totals is not None else Counter()

    differing, tallies = await judging.store.read(read)
    for start in range(0, len(differing), AT_A_TIME):
        done = await _write(judging, day, differing[start : start + AT_A_TIME], grounds)
        if changed is not None:
            changed.update(done)
    for said, count in tallies.items():
        for control_no, byte in sitting.places.each(said):
            verdict = verdict_of(byte)
            if totals is not None and verdict is not None:
                totals.setdefault(control_no, Counter())[verdict.status] += count


def _leave_out_latecomers(
    sitting: Sitting, prepared: Prepared, judged: dict[int, int], known: Mapping[int, int]
) -> None:
    """Leave a closed day alone for devices that are in scope later: nobody knew of them when it was judged.

    Else each device that comes would change what all the days before it say.
    """
    shifts = [sitting.places.shift(number) for number in sitting.control_nos.values()]
    not_yet = sum(NOT_YET << shift for shift in shifts)
    done = sum(
        255 << sitting.places.shift(number)
        for control, number in sitting.control_nos.items()
        if control in prepared.recorded
    )
    for number, said in judged.items():
        if said == not_yet and not known.get(number, 0) & done:
            judged[number] = said & ~done


async def give_up(judging: Judging, prepared: Prepared) -> None:
    """Take back what was judged of a day that is still open by controls that have gone since; a closed one keeps it."""
    if prepared.state != "open":
        return
    day = prepared.day.day
    for control in sorted(prepared.recorded.keys() - prepared.versions.keys()):
        number = prepared.numbers[control][0]
        grounds = Grounds(judging.store.clock(), {number: control})
        for devices in stretches_of(prepared):
            having = await judging.store.read(partial(devices_judged, control_no=number, day=day, devices=devices))
            changes = [Change(number, device_no, None) for device_no in having]
            for start in range(0, len(changes), AT_A_TIME):
                await _write(judging, day, changes[start : start + AT_A_TIME], grounds)
        await judging.turns.write(partial(forget_judged, control_no=number, day=day))


async def _write(judging: Judging, day: str, part: Sequence[Change], grounds: Grounds) -> dict[int, int]:
    seq = judging.seq

    async def write(tx: Transaction) -> tuple[dict[int, int], int]:
        known = seq or await tx.seq()
        return await write_verdicts(tx, day, part, grounds, known), known

    done, judging.seq = await judging.turns.write(write)
    return done


async def _record(judging: Judging, prepared: Prepared, controls: Collection[str]) -> None:
    """Write down what the fleet was judged by on the day, where that is not known already."""
    at, day = iso(judging.store.clock()), prepared.day.day
    rows = [
        (prepared.numbers[control][0], day, *prepared.versions[control], at)
        for control in sorted(controls)
        if prepared.recorded.get(control) != prepared.versions[control]
    ]
    if rows:
        await judging.turns.write(
            lambda tx: tx.many(
                "INSERT INTO muster_evaluation (control_no, day, rule_version, canary_version, evaluated_at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (control_no, day) DO UPDATE SET"
                " rule_version = excluded.rule_version, canary_version = excluded.canary_version,"
                " evaluated_at = excluded.evaluated_at",
                rows,
            )
        )
