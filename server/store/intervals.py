"""How one answer changes what is known: the law of intervals, pure.

What a device said is a set of answers, each the bag of rows true at its instant. A row is true from the first answer
that has it until the first later answer that has it not. ``plan`` keeps the intervals equal to that law when one more
answer becomes known, wherever in time it falls; so the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from server.normalize.rows import Identity


class Interval(NamedTuple):
    """A row's identity and when it is held to be true; ``valid_to`` None means still."""

    identity: Identity
    valid_from: str
    valid_to: str | None


@dataclass(slots=True)
class Plan:
    """What to do: end open intervals at the answer's instant, take intervals back, and write new ones."""

    close: list[Interval] = field(default_factory=list)
    supersede: list[Interval] = field(default_factory=list)
    insert: list[Interval] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.close or self.supersede or self.insert)


def plan(known: Iterable[Interval], at: str, until: str | None, bag: Collection[Identity]) -> Plan:
    """Return what an answer at ``at`` holding exactly ``bag`` changes.

    ``known`` are the device's intervals that touch the stretch from ``at`` to ``until``, the instant of its next
    answer (None: there is none yet). An answer known before for the same instant is replaced.
    """
    covering: dict[Identity, Interval] = {}
    ending: dict[Identity, Interval] = {}
    starting: dict[Identity, Interval] = {}
    for interval in known:
        if interval.valid_from <= at and (interval.valid_to is None or interval.valid_to > at):
            covering[interval.identity] = interval
        elif interval.valid_to == at:
            ending[interval.identity] = interval
        elif interval.valid_from == until:
            starting[interval.identity] = interval
    result = Plan()
    for identity, interval in covering.items():
        if identity not in bag:
            _remove(result, interval, at, until)
    for identity in bag:
        if identity not in covering:
            _add(result, identity, ending.get(identity), starting.get(identity), at, until)
    return result


def _remove(result: Plan, interval: Interval, at: str, until: str | None) -> None:
    if until is None and interval.valid_from < at:
        result.close.append(interval)
        return
    result.supersede.append(interval)
    if interval.valid_from < at:
        result.insert.append(interval._replace(valid_to=at))
    if until is not None and (interval.valid_to is None or interval.valid_to > until):
        result.insert.append(interval._replace(valid_from=until))


def _add(
    result: Plan, identity: Identity, left: Interval | None, right: Interval | None, at: str, until: str | None
) -> None:
    result.supersede += [interval for interval in (left, right) if interval]
    valid_from = left.valid_from if left else at
    result.insert.append(Interval(identity, valid_from, right.valid_to if right else until))
