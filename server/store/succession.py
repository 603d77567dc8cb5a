"""Answers that follow on what is known, many devices at a time.

Nearly every answer comes in order: it is newer than all that its device said to its query. What it changes is then told
by the newest instant and the rows true now alone, and a whole group of such answers takes a handful of statements.
All others, late, repeated or in parts, are for ``store.answers``, which ends in the same state for these too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from server.normalize.answers import Answer
from server.normalize.rows import bag_of, fingerprint, typed_rows
from server.normalize.times import iso
from server.store.answers import JUDGED_MODE, Place
from server.store.coverage import INCOMPLETE, OK, Stretch, extends, insert_instants, insert_stretches, lengthen
from server.store.driver import Transaction
from server.store.tables import QueryTable

_NEWEST = """
SELECT i.at, i.status, i.version, i.fingerprint, c.first_at, c.last_at, c.status, c.version, c.basis, c.message
  FROM muster_instants i
  LEFT JOIN muster_coverage c ON c.device_no = i.device_no AND c.table_name = i.table_name
   AND c.first_at = (SELECT MAX(s.first_at) FROM muster_coverage s
                      WHERE s.device_no = i.device_no AND s.table_name = i.table_name)
 WHERE i.device_no = ? AND i.table_name = ?
 ORDER BY i.at DESC LIMIT 1
"""


@dataclass(slots=True)
class Arrival:
    """An answer on its way into its place; ``version`` is the one it answers."""

    place: Place
    answer: Answer
    version: str
    at: str = ""
    repeats: str | None = None
    """The instant of the word before it, if that was an answer to the same version."""
    mark: str = ""
    stretch: Stretch | None = None

    def __post_init__(self) -> None:
        self.at = iso(self.answer.unix_time)


@dataclass(slots=True)
class _Changes:
    """What is to be written to one table."""

    close: list[tuple[object, ...]] = field(default_factory=list)
    drop: list[tuple[object, ...]] = field(default_factory=list)
    insert: list[tuple[object, ...]] = field(default_factory=list)
    refresh: list[tuple[object, ...]] = field(default_factory=list)


async def follow(
    tx: Transaction, arrivals: Sequence[Arrival], read: Callable[[Arrival], Awaitable[bool]]
) -> list[Arrival]:
    """Apply the answers that follow on what is known, and return the others untouched.

    No two of the answers may be of one device to one query. Those that turn out to say something new are ``read``
    if they are unread; it says whether they have a place then.
    """
    snapshots = [arrival for arrival in arrivals if arrival.answer.snapshot and arrival.place.table.mode != "events"]
    keys = [(arrival.place.device_no, arrival.place.table.name) for arrival in snapshots]
    following: list[Arrival] = []
    changed: dict[str, list[Arrival]] = {}
    for arrival, newest in zip(snapshots, await tx.each(_NEWEST, keys), strict=True):
        known = newest[0] if newest else None
        if known and not (known[0] < arrival.at and known[1] in (OK, INCOMPLETE)):
            continue
        arrival.mark = arrival.answer.fingerprint or fingerprint(arrival.answer.added)
        arrival.stretch = Stretch(*known[4:]) if known and known[4] is not None else None
        news = known is None or known[1:4] != (OK, arrival.version, arrival.mark)
        if news and not await read(arrival):
            continue
        following.append(arrival)
        arrival.repeats = known[0] if known and known[1:3] == (OK, arrival.version) else None
        if not news:
            _learn(arrival, changed=False)
        else:
            changed.setdefault(arrival.place.table.name, []).append(arrival)
    for group in changed.values():
        # An answer of the round may have widened the table: the last one saw it with every column.
        await _change(tx, group[-1].place.table, group)
    await _cover(tx, following)
    done = set(map(id, following))
    return [arrival for arrival in arrivals if id(arrival) not in done]


def _learn(arrival: Arrival, *, changed: bool) -> None:
    """Learn of an answer, unless it tells the rows of the word before it, on the same day: nothing rests on it then."""
    place, before = arrival.place, arrival.repeats
    if place.table.mode != JUDGED_MODE:
        return
    if not changed and before and before >= place.learned.day_at(arrival.at).starts_at:
        return
    place.learned.learn(place.device_no, place.table.name, arrival.at, None)


async def _change(tx: Transaction, table: QueryTable, arrivals: Sequence[Arrival]) -> None:
    """Make each answer's rows the ones that are true from its instant on."""
    seq = await tx.seq()
    true_now = await tx.each(table.true_now, [(arrival.place.device_no,) for arrival in arrivals])
    changes = _Changes()
    volatile = [position for position, column in enumerate(table.columns) if column.volatile]
    for arrival, rows in zip(arrivals, true_now, strict=True):
        known: set[tuple[str, int]] = {(digest, ordinal) for digest, ordinal in rows}
        device_no, at = arrival.place.device_no, arrival.at
        bag = bag_of(typed_rows(arrival.answer.added, table.columns))
        gone = known - bag.keys()
        _learn(arrival, changed=known != bag.keys())
        if table.mode == "latest":
            changes.drop += [(device_no, *identity) for identity in gone]
        else:
            changes.close += [(at, seq, device_no, *identity) for identity in gone]
        changes.insert += [
            (device_no, *identity, at, None, seq, None, row.misfit, *row.values)
            for identity, row in bag.items()
            if identity not in known
        ]
        if volatile:
            changes.refresh += [
                (*(row.values[position] for position in volatile), device_no, *identity)
                for identity, row in bag.items()
                if identity in known
            ]
    if changes.drop:
        await tx.many(table.drop, changes.drop)
    if changes.close:
        await tx.many(table.close, changes.close)
    if changes.insert:
        await tx.insert(table.plain_rows_name, table.stored_columns, changes.insert)
    if changes.refresh and table.refresh:
        await tx.many(table.refresh, changes.refresh)


async def _cover(tx: Transaction, arrivals: Sequence[Arrival]) -> None:
    """Note that the answers came, and that the stretches they continue go on."""
    longer: list[tuple[str, int, str, str]] = []
    new: list[tuple[int, str, Stretch]] = []
    for arrival in arrivals:
        place, stretch, at = arrival.place, arrival.stretch, arrival.at
        if stretch and extends(stretch, (OK, arrival.version, None), at, place.gap):
            longer.append((at, place.device_no, place.table.name, stretch.first_at))
        else:
            new.append((place.device_no, place.table.name, Stretch(at, at, OK, arrival.version, "result", None)))
    await insert_instants(tx, [(a.place.device_no, a.place.table.name, a.at, OK, a.version, a.mark) for a in arrivals])
    await lengthen(tx, longer)
    await insert_stretches(tx, new)
