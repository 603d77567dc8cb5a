"""Applying a device's answers: whole ones as they are, differentials by epoch and counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.normalize.answers import Answer
from server.normalize.rows import Identity, TypedRow, bag_of, digest_of, fingerprint, typed_rows
from server.normalize.times import iso
from server.store.coverage import INCOMPLETE, OK, Instant, note
from server.store.driver import Transaction
from server.store.intervals import Interval, Plan, plan
from server.store.news import Learned
from server.store.runs import Run, beyond_horizon, chain_start, keep_run, runs_from
from server.store.tables import QueryTable
from server.store.thinned import bounded, cut
from server.store.timeline import Moment, Said, moment, replaced_at

JUDGED_MODE = "state"
"""The mode of queries that controls judge: others do not tell what was true on a past day."""
_RUN = "+"
"""Before the fingerprint of what a differential came to; sorts before every snapshot's."""
_MISSING = "a run before this one is missing; the next counter 0 makes it whole again"
LOST = "the device lost lines of this time; the next counter 0 makes it whole again"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose answer it is, where it goes, and the longest silence its coverage bears.

    ``learned`` collects what was learned that verdicts may rest on.
    """

    device_no: int
    table: QueryTable
    gap: int
    learned: Learned

    async def moment(self, tx: Transaction, at: str) -> Moment:
        """Look around an instant."""
        return bounded(await moment(tx, self.device_no, self.table.name, at), self.gap)

    async def note(self, tx: Transaction, instant: Instant, when: Moment) -> None:
        """Record how the query fared at an instant."""
        if when.within is not None:
            if when.within.said == (instant.status, instant.version, instant.fingerprint):
                return
            await cut(tx, self.device_no, self.table.name, when, self.gap)
            instant.approximate = 1
        if await note(tx, self.device_no, self.table.name, instant, when.known, self.gap):
            await self._learn(tx, instant, when)

    async def _learn(self, tx: Transaction, instant: Instant, when: Moment) -> None:
        if self.table.mode != JUDGED_MODE or (when.known is None and when.last and self._repeats(instant, *when.last)):
            return
        until = when.until and await replaced_at(tx, self.device_no, self.table.name, instant.at)
        self.learned.learn(self.device_no, self.table.name, instant.at, until)

    def _repeats(self, instant: Instant, last_at: str, said: Said) -> bool:
        """Whether the last word before was the same and of the same day, so that no verdict rests on this one."""
        return (
            said == (instant.status, instant.version, instant.fingerprint)
            and last_at >= self.learned.day_at(instant.at).starts_at
        )


async def apply_snapshot(tx: Transaction, place: Place, answer: Answer, version: str) -> str | None:
    """Make the answer the whole truth at its instant.

    Of two answers of one second one is kept: returns the fingerprint of the other, else None.
    """
    mark = answer.fingerprint or fingerprint(answer.added)
    when = await place.moment(tx, iso(answer.unix_time))
    loser = None
    known = _snapshot_at(when)
    if known:
        # Which of two answers of one second came first cannot be told; the pick must not depend on arrival.
        if (known.fingerprint, known.version) >= (mark, version):
            return None if known.fingerprint == mark else mark
        loser = None if known.fingerprint == mark else known.fingerprint
    unchanged = when.before == (OK, version, mark) and when.until is None and when.known is None
    if not unchanged:
        typed = typed_rows(answer.added, place.table.columns)
        changed = await _become(tx, place, when, bag_of(typed))
        if when.within is not None and not changed and when.within.said[:2] == (OK, version):
            return None  # one of those that were thinned out, or as good as one
    await place.note(tx, Instant(at=when.at, status=OK, version=version, fingerprint=mark), when)
    if when.until is not None:
        await _replay_runs(tx, place, when.at)
    return loser


async def apply_events(tx: Transaction, place: Place, answer: Answer, version: str) -> None:
    """Append the events of a run; those that are there already stay once."""
    at = iso(answer.unix_time)
    seq = await tx.seq()
    typed = typed_rows(answer.added, place.table.columns)
    # The run is part of an event's identity: the same row may happen again in a later one of the same second.
    run = f"{answer.epoch}.{answer.counter}."
    await tx.many(
        place.table.insert_event,
        [
            (place.device_no, digest_of(f"{run}{row.digest}".encode()), n, at, at, seq, seq, row.misfit, *row.values)
            for (_, n), row in bag_of(typed).items()
        ],
    )
    when = await place.moment(tx, at)
    if when.known and when.known.status == OK:  # another piece of the run; see keep_run
        version = min(version, when.known.version)
    await place.note(tx, Instant(at=at, status=OK, version=version), when)


async def apply_run(tx: Transaction, place: Place, answer: Answer, version: str) -> str | None:
    """Merge one run of a differential into those received, and bring every state from it on up to date.

    Returns why it could not be done.
    """
    run = Run.of(answer, iso(answer.unix_time), version)
    if await beyond_horizon(tx, place.device_no, place.table.name, run.at):
        told = await _told_already(tx, place, run)
        return None if told else f"a run of {run.at}, from which on the ones after it are no longer kept to be redone"
    if await keep_run(tx, place.device_no, place.table.name, run):
        await _replay_runs(tx, place, run.at)
    return None


async def apply_gap(tx: Transaction, place: Place, first_at: str, last_at: str) -> None:
    """Hold what a device's runs came to for incomplete from a span on of which it lost lines, until one begins anew.

    The gap must be noted. A query that the device answers by snapshots is silent there, which says enough.
    """
    device_no, table = place.device_no, place.table.name
    previous, runs = await runs_from(tx, device_no, table, first_at)
    told = [run for run in (previous, *runs) if run and run.at <= last_at]
    if told and not await beyond_horizon(tx, device_no, table, last_at):
        await keep_run(tx, device_no, table, Run.lost(last_at, told[-1].version))
        await _replay_runs(tx, place, first_at)


async def _told_already(tx: Transaction, place: Place, run: Run) -> bool:
    """Whether what was true just before a run and at it is as the run would have it."""
    before, then = await _state_before(tx, place, run.at), await _state_at(tx, place, run.at)
    added = Counter(row.digest for row in typed_rows(run.added, place.table.columns))
    removed = Counter(row.digest for row in typed_rows(run.removed, place.table.columns))
    kept = Counter[str]() if run.whole else before
    return (await place.moment(tx, run.at)).known is not None and all(
        then[digest] == max(0, kept[digest] - removed[digest]) + added[digest] for digest in added | removed
    )


async def _replay_runs(tx: Transaction, place: Place, start: str) -> None:
    """Apply the runs from an instant on again, each to what was true just before it, by a run or a snapshot.

    Where only the newest answer is kept, what was true before is that of the runs alone.
    """
    latest = place.table.mode == "latest"
    begin = await chain_start(tx, place.device_no, place.table.name, start) if latest else start
    previous, runs = await runs_from(tx, place.device_no, place.table.name, begin)
    complete = previous is not None and await _was_complete(tx, place, previous.at)
    state: Counter[str] = Counter()
    values: dict[str, TypedRow] = {}
    for position, current in enumerate(runs):
        if not latest and (position == 0 or runs[position - 1].at != current.at):
            state = await _state_before(tx, place, current.at)
        values |= _apply(state, current, place.table)
        follows = current.whole or (complete and previous is not None and current.follows(previous))
        complete = follows and not current.doubtful
        previous = current
        if position + 1 < len(runs) and runs[position + 1].at == current.at:
            continue
        when = await place.moment(tx, current.at)
        if _snapshot_at(when):  # it says all that was true at the instant
            complete = True
            continue
        if current.at < start:
            continue
        bag: dict[Identity, TypedRow | None] = {
            (digest, n): values.get(digest) for digest, count in state.items() for n in range(count)
        }
        await _become(tx, place, when, bag)
        mark = _RUN + digest_of(orjson.dumps(sorted(bag)))
        status = OK if complete else INCOMPLETE
        message = None if complete else (LOST if current.doubtful else _MISSING)
        instant = Instant(at=current.at, status=status, version=current.version, fingerprint=mark, message=message)
        await place.note(tx, instant, when)


def _snapshot_at(when: Moment) -> Said | None:
    """What is recorded of the instant, if it is a snapshot."""
    known = when.known
    return known if known and known.status == OK and not known.fingerprint.startswith(_RUN) else None


def _apply(state: Counter[str], run: Run, table: QueryTable) -> dict[str, TypedRow]:
    """Change ``state`` by a run, removed rows first; returns the values of the rows it added."""
    added = typed_rows(run.added, table.columns)
    removed = typed_rows(run.removed, table.columns)
    if run.whole:
        state.clear()
    for row in removed:
        if state[row.digest] > 0:
            state[row.digest] -= 1
    for row in added:
        state[row.digest] += 1
    return {row.digest: row for row in added}


async def _become(tx: Transaction, place: Place, when: Moment, bag: Mapping[Identity, TypedRow | None]) -> bool:
    """Make ``bag`` what is true from an instant to the next answer; returns whether that changes anything.

    A row without values takes those in the table.
    """
    if place.table.mode == "latest" and when.until is not None:
        return False
    change = plan(await _touching(tx, place, when), when.at, when.until, bag.keys())
    if change:
        await _write(tx, place, when, change, bag)
    refresh = place.table.refresh
    if refresh and when.until is None:
        positions = [n for n, column in enumerate(place.table.columns) if column.volatile]
        written = {interval.identity for interval in change.insert}
        await tx.many(
            refresh,
            [
                (*(row.values[n] for n in positions), place.device_no, *identity)
                for identity, row in bag.items()
                if row is not None and identity not in written
            ],
        )
    return bool(change)


async def _touching(tx: Transaction, place: Place, when: Moment) -> list[Interval]:
    found = await tx.rows(place.table.open_rows, (place.device_no,))
    # Only an answer that is late, or replaces another of its instant, meets rows that have ended.
    if when.until is not None or when.known is not None:
        found += await tx.rows(place.table.closed_rows, (place.device_no, when.at))
    return [Interval((digest, ordinal), start, end) for digest, ordinal, start, end in found]


async def _write(
    tx: Transaction, place: Place, when: Moment, change: Plan, bag: Mapping[Identity, TypedRow | None]
) -> None:
    table, device_no, seq = place.table, place.device_no, await tx.seq()
    # The volatile columns of a row true now are those of the newest answer, which a late one is not.
    open_still = [(device_no, *i.identity) for i in change.insert if i.valid_to is None and when.until is not None]
    moving = await tx.each(table.moving, open_still) if table.moving and open_still else []
    if table.mode == "latest":
        await tx.many(table.drop, [(device_no, *gone.identity) for gone in (*change.close, *change.supersede)])
    elif change.close:
        await tx.many(table.close, [(when.at, seq, device_no, *interval.identity) for interval in change.close])
    still = [interval for interval in change.supersede if interval.valid_to is None]
    ended = [interval for interval in change.supersede if interval.valid_to is not None]
    if still:
        await tx.many(table.supersede_open, [(seq, device_no, *i.identity, i.valid_from) for i in still])
    if ended:
        await tx.many(table.supersede_closed, [(seq, device_no, *i.identity, i.valid_from, i.valid_to) for i in ended])
    new: list[tuple[object, ...]] = []
    copies: list[tuple[object, ...]] = []
    for (digest, ordinal), valid_from, valid_to in change.insert:
        closed_seq = None if valid_to is None else seq
        row = bag.get((digest, ordinal))
        if row is None:
            copies.append((ordinal, valid_from, valid_to, seq, closed_seq, device_no, digest))
        else:
            new.append((device_no, digest, ordinal, valid_from, valid_to, seq, closed_seq, row.misfit, *row.values))
    if new:
        await tx.many(table.insert, new)
    if copies:
        await tx.many(table.copy, copies)
    if table.refresh and moving:
        kept = zip(open_still, moving, strict=True)
        await tx.many(table.refresh, [(*values, *row) for row, found in kept for values in found])


async def _was_complete(tx: Transaction, place: Place, at: str) -> bool:
    found = await tx.row(
        "SELECT status FROM muster_instants WHERE device_no = ? AND table_name = ? AND at = ?",
        (place.device_no, place.table.name, at),
    )
    return found is not None and found[0] == OK


async def _state_before(tx: Transaction, place: Place, at: str) -> Counter[str]:
    """How often each row was true just before an instant."""
    return Counter(digest for digest, _, valid_from, _ in await _known_rows(tx, place, at) if valid_from < at)


async def _state_at(tx: Transaction, place: Place, at: str) -> Counter[str]:
    """How often each row was true at an instant."""
    return Counter(
        digest
        for digest, _, valid_from, valid_to in await _known_rows(tx, place, at)
        if valid_from <= at and (valid_to is None or valid_to > at)
    )


async def _known_rows(tx: Transaction, place: Place, at: str) -> list[tuple[Any, ...]]:
    """The intervals that last to an instant or beyond."""
    known = await tx.rows(place.table.open_rows, (place.device_no,))
    return known + await tx.rows(place.table.closed_rows, (place.device_no, at))
