"""Dockets: the controls of a platform that are decided by the same last words on the same queries, judged together.

A docket gives every device a key, a number that says how its rows stand to all its controls, and knows what each key
comes to. One that asks otherwise than ``RowsDocket`` does (over several queries, say) has to do no more than that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from server.evaluate.population import Devices
from server.evaluate.rules import ALWAYS, Rule
from server.evaluate.statements import DECISIVE, DIGITS, MOST_TABLES, NO_ROW, OTHER, UNDECIDED, Classing, classes
from server.evaluate.verdicts import ERROR, NO_ROWS, Counts, judge_rows
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.tables import QueryTable

log = logging.getLogger(__name__)

BROKEN = -1
"""The key of a device whose rows break the statement; that of one that has no rows is ``NO_ROWS`` in every docket."""
_Outcome = tuple[str, str | None]


class Hearing(NamedTuple):
    """Whose last word has to be fresh enough: that on a query's table, to this version, from an instant on."""

    table: str
    version: str
    fresh_from: str


class Found(NamedTuple):
    """The keys of devices, ``NO_ROWS`` for those left out, and the devices whose rows changed within the day."""

    keys: dict[int, int]
    changed: set[int]


class Docket(Protocol):
    """Controls that are judged together on a platform."""

    @property
    def platform(self) -> str:
        """Whose devices."""

    @property
    def controls(self) -> Sequence[str]:
        """The controls, in the order of what a key comes to."""

    @property
    def hearings(self) -> Sequence[Hearing]:
        """What a device must have answered for its rows to be judged; the gravest silence decides."""

    async def find(self, tx: Transaction, devices: Devices) -> Found:
        """The keys at the end of the day."""

    async def within(self, tx: Transaction, devices: Devices) -> list[tuple[int, int]]:
        """Devices and keys at the answers within the day; only of devices that did not say the same all day."""

    def outcomes(self, key: int) -> Sequence[_Outcome]:
        """What a key comes to, status and reason, for each control."""

    def parts(self) -> Sequence[Docket]:
        """A docket for each control alone."""


@dataclass(frozen=True)
class RowsDocket:
    """Controls that judge the rows of one query; ``table`` is None where the query was never stored."""

    platform: str
    controls: tuple[str, ...]
    hearing: Hearing
    table: QueryTable | None
    rules: tuple[Rule, ...]
    day: Day
    _known: dict[int, Sequence[_Outcome]] = field(default_factory=dict, repr=False)

    @property
    def hearings(self) -> Sequence[Hearing]:
        """See ``Docket.hearings``."""
        return (self.hearing,)

    @cached_property
    def _classing(self) -> Classing | None:
        return Classing(self.table, self.rules) if self.table else None

    async def find(self, tx: Transaction, devices: Devices) -> Found:
        """See ``Docket.find``."""
        classing, day = self._classing, self.day
        if classing is None:
            return Found({}, set())
        where = (self.platform, *devices.parameters)
        keys: dict[int, int] = {}
        changed: set[int] = set()
        open_rows = await tx.rows(classing.open_rows(devices), (day.starts_at, *where, day.ends_at))
        for number, key, new in open_rows:
            keys[number] = key
            if new:
                changed.add(number)
        ends = (day.ends_at,) * classing.digits
        span = (day.starts_at, day.ends_at)
        parameters = (*ends, day.ends_at, day.starts_at, *where, *span)
        for number, key, new in await tx.rows(classing.ended_rows(devices), parameters):
            keys[number] = highest(keys.get(number, NO_ROWS), key)
            if new:
                changed.add(number)
        return Found(keys, changed)

    async def within(self, tx: Transaction, devices: Devices) -> list[tuple[int, int]]:
        """See ``Docket.within``."""
        classing, day = self._classing, self.day
        if classing is None:
            return []
        span = (self.hearing.table, day.starts_at, day.ends_at, *devices.parameters, self.hearing.version)
        # The condition of a key stands in it once for each digit, and has no parameter.
        return [(number, key) for number, key in await tx.rows(classing.within(devices), span)]

    def outcomes(self, key: int) -> Sequence[_Outcome]:
        """See ``Docket.outcomes``."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = tuple(self._outcomes(key))
        return found

    def _outcomes(self, key: int) -> list[_Outcome]:
        if key == BROKEN:
            return [RULE_BROKEN] * len(self.rules)
        made: list[_Outcome] = []
        for rule in self.rules:
            digits = []
            for _ in classes(rule):
                digits.append(key & 3)
                key >>= 2
            made.append(outcome(rule, digits))
        return made

    def parts(self) -> Sequence[Docket]:
        """See ``Docket.parts``."""
        return [
            RowsDocket(self.platform, (control,), self.hearing, self.table, (rule,), self.day)
            for control, rule in zip(self.controls, self.rules, strict=True)
        ]


def outcome(rule: Rule, digits: Sequence[int]) -> _Outcome:
    """What the highest classes among a device's rows come to by a rule: what ``judge_rows`` says of such rows."""
    return judge_rows(_such_rows(rule.quantifier, digits), rule.quantifier, rule.empty)


def _such_rows(quantifier: str, digits: Sequence[int]) -> Counts:
    """The least rows whose highest classes are these: more of the lower ones would be judged alike."""
    decided, applying = digits[0], digits[1] if len(digits) > 1 else DECISIVE
    if decided == NO_ROW:
        return Counts(0, 0, 0, 0)
    if decided == UNDECIDED:
        return Counts(1, 0, 0, 1)
    undecided = 1 if applying == UNDECIDED else 0
    holds = decided == (OTHER if quantifier == "every" else DECISIVE)
    return Counts(1 + undecided, int(holds), int(not holds), undecided, int(applying < DECISIVE))


def highest(one: int, other: int) -> int:
    """The key of rows of which some have one key and the others another: of each digit the higher."""
    key, shift = 0, 0
    while one >> shift or other >> shift:
        key |= max(one >> shift & 3, other >> shift & 3) << shift
        shift += 2
    return key


@dataclass(frozen=True)
class BrokenDocket:
    """A control whose rule cannot be asked of its query as that is stored."""

    platform: str
    controls: tuple[str, ...]
    hearings: Sequence[Hearing] = ()

    async def find(self, tx: Transaction, devices: Devices) -> Found:
        """See ``Docket.find``."""
        return Found({}, set())

    async def within(self, tx: Transaction, devices: Devices) -> list[tuple[int, int]]:
        """See ``Docket.within``."""
        return []

    def outcomes(self, key: int) -> Sequence[_Outcome]:
        """See ``Docket.outcomes``."""
        return [RULE_BROKEN] * len(self.controls)

    def parts(self) -> Sequence[Docket]:
        """See ``Docket.parts``."""
        return [self]


RULE_BROKEN: _Outcome = (ERROR, "rule_broken")


def dockets_of(
    platform: str, day: Day, asked: Mapping[tuple[Hearing, QueryTable | None], Sequence[tuple[str, Rule]]]
) -> list[Docket]:
    """Dockets of controls and their rules, as many of one hearing in each as a statement takes."""
    made: list[Docket] = []
    for (hearing, table), rules in asked.items():
        part: list[tuple[str, Rule]] = []
        for control, rule in rules:
            if part and not _fits([one for _, one in part], rule):
                made.append(_docket(platform, day, hearing, table, part))
                part = []
            part.append((control, rule))
        made.append(_docket(platform, day, hearing, table, part))
    return made


def _docket(
    platform: str, day: Day, hearing: Hearing, table: QueryTable | None, part: Sequence[tuple[str, Rule]]
) -> Docket:
    controls, rules = zip(*part, strict=True)
    return RowsDocket(platform, controls, hearing, table, rules, day)


def _fits(rules: Sequence[Rule], rule: Rule) -> bool:
    digits = sum(2 if one.applies != ALWAYS else 1 for one in (*rules, rule))
    return digits <= DIGITS and len({join for one in (*rules, rule) for join in one.joined}) <= MOST_TABLES


async def ask(tx: Transaction, docket: Docket, devices: Devices, numbers: Sequence[int]) -> list[tuple[Docket, Found]]:
    """Ask a docket; where its statement fails, find the controls and the devices on whose rows it does.

    ``numbers`` are those of the devices that there are. Raises where the database itself fails.
    """
    found = await tx.attempt(docket.find(tx, devices))
    if not isinstance(found, Exception):
        return [(docket, found)]
    if len(docket.controls) > 1:
        return [one for part in docket.parts() for one in await ask(tx, part, devices, numbers)]
    log.error("control %s on %s breaks on some rows: %s", docket.controls[0], docket.platform, found)
    if isinstance(await tx.attempt(docket.find(tx, _NOBODY)), Exception):
        return [(docket, Found(dict.fromkeys(numbers, BROKEN), set()))]
    return [(docket, await _halved(tx, docket, tuple(numbers)))]


_NOBODY = Devices(0, 0, (0,))


async def _halved(tx: Transaction, docket: Docket, numbers: tuple[int, ...]) -> Found:
    """What is found of each device, asked in ever smaller groups where that fails."""
    if not numbers:
        return Found({}, set())
    found = await tx.attempt(docket.find(tx, Devices(numbers[0], numbers[-1], numbers)))
    if not isinstance(found, Exception):
        return found
    if len(numbers) == 1:
        return Found({numbers[0]: BROKEN}, set())
    middle = len(numbers) // 2
    parts = [await _halved(tx, docket, half) for half in (numbers[:middle], numbers[middle:])]
    return Found(parts[0].keys | parts[1].keys, parts[0].changed | parts[1].changed)


async def lapses(tx: Transaction, docket: Docket, devices: Devices) -> list[tuple[int, int]]:
    """``Docket.within``; of devices on whose rows the statement fails nothing is told."""
    found = await tx.attempt(docket.within(tx, devices))
    if not isinstance(found, Exception):
        return found
    numbers = devices.named or ()
    if len(numbers) < 2:
        return []
    middle = len(numbers) // 2
    halves = (numbers[:middle], numbers[middle:])
    return [one for half in halves for one in await lapses(tx, docket, Devices(half[0], half[-1], half))]
