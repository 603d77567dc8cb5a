"""Made-up histories of a fleet, told as osquery tells them: what was true, and the lines that say so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.support.shapes import OLD_VERSION, SHAPES, Row, Shape, small_catalog

T0 = 1_790_000_000
NOW = T0 + 14 * 86_400
"""The server's clock: everything below has happened within the 14 days before it."""
HOSTS = ("ada", "Bob", "çelo")

# -- what happened ---------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What one run of a query on a device said: all rows that were true, or a step from those before."""

    at: int
    snapshot: bool
    added: list[Row]
    removed: list[Row] = field(default_factory=list)
    epoch: int = 0
    counter: int = 0
    names: list[str] = field(default_factory=list)
    """The scheduled names under which it was told."""
    in_rows: bool = False
    """A snapshot told as a line for each row."""


@dataclass
class Atom:
    """Lines that must travel together: of equal lines in two bodies the store takes one for a repetition."""

    device: int
    log_type: str
    at: int
    lines: list[dict[str, Any]]


@dataclass
class Fleet:
    """A history: what every device answered, and the lines it says so with."""

    devices: int
    answers: dict[tuple[int, str], list[Answer]] = field(default_factory=dict)
    failures: list[tuple[int, str, int, str, str]] = field(default_factory=list)
    """Device, query, instant, scheduled name, message."""
    statuses: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    atoms: list[Atom] = field(default_factory=list)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis shows of a history that breaks the law."""
        told = [f"{atom.device} {json.dumps(line)}" for atom in self.atoms for line in atom.lines]
        printer.text("\n".join(["a fleet that tells", *told])[:20_000])

    def tell(self, device: int, log_type: str, lines: Sequence[dict[str, Any]]) -> None:
        """Add lines to what is sent; equal ones stay together."""
        for line in lines:
            known = [atom for atom in self.atoms if (atom.device, atom.lines[0]) == (device, line)]
            if known:
                known[0].lines.append(line)
            else:
                self.atoms.append(Atom(device, log_type, line["unixTime"], [line]))


def lines_of(name: str, form: str, answer: Answer) -> list[dict[str, Any]]:
    """The lines of a run. ``form`` is snapshot, rows (of a snapshot, a line each), batch or event."""
    answer.names.append(name)
    answer.in_rows = form == "rows"
    head = {"name": name, "unixTime": answer.at, "epoch": answer.epoch, "counter": answer.counter}
    added = [row.sent("snapshot" if answer.snapshot else "diff") for row in answer.added]
    removed = [row.sent("diff") for row in answer.removed]
    if form == "snapshot":
        return [head | {"action": "snapshot", "snapshot": added}]
    if form == "rows":
        return [head | {"action": "snapshot", "columns": row} for row in added]
    if form == "batch":
        return [head | {"diffResults": {"added": added, "removed": removed}}]
    return [
        *(head | {"action": "added", "columns": row} for row in added),
        *(head | {"action": "removed", "columns": row} for row in removed),
    ]


# -- strategies ------------------------------------------------------------------------------------------------

STEPS = st.sampled_from([1, 60, 3600, 3 * 3600, 3 * 3600 + 1, 7 * 3600, 30 * 3600])
Draw = st.DrawFn


def _rows(draw: Draw, shape: Shape, size: int) -> list[Row]:
    """A few rows for a query to be about; some lack a column."""
    rows = []
    for _ in range(size):
        row = Row({name: draw(st.sampled_from(values)) for name, values in shape.columns.items()})
        if draw(st.integers(0, 3)) == 0:
            del row[draw(st.sampled_from(sorted(row)))]
        rows.append(row)
    return rows


def _bag(draw: Draw, shape: Shape, pool: list[Row], unique: bool) -> list[Row]:
    """The rows true at an instant; volatile columns move from one instant to the next."""
    bag = []
    for row in draw(st.lists(st.sampled_from(pool), max_size=4)):
        moving = {name: draw(st.sampled_from(shape.columns[name])) for name in sorted(shape.volatile & row.keys())}
        bag.append(Row(row | moving))
    if unique:
        bag = list({row.identity(shape.volatile): row for row in bag}.values())
    return bag


GRID = [T0, T0 + 1, T0 + 3600, T0 + 7 * 3600, T0 + 9 * 3600]
"""The only instants of a history in which answers collide."""


def _instants(draw: Draw, taken: set[int] | None, start: int) -> list[int]:
    """Instants from a start on, none of them taken; without ``taken`` they may well be."""
    if taken is None:
        return sorted(draw(st.lists(st.sampled_from(GRID), min_size=1, unique=True)))
    at, found = start, []
    for _ in range(draw(st.integers(1, 6))):
        at += draw(STEPS)
        while at in taken:
            at += 1
        taken.add(at)
        found.append(at)
    return found


def _difference(old: list[Row], new: list[Row], form: str) -> tuple[list[Row], list[Row]]:
    """The rows added and removed, each as often as that happened."""

    def text(row: Row) -> str:
        return json.dumps(row.sent(form), sort_keys=True)

    def beyond(rows: list[Row], others: list[Row]) -> list[Row]:
        left = Counter(text(row) for row in others)
        found = []
        for row in rows:
            if left[text(row)]:
                left[text(row)] -= 1
            else:
                found.append(row)
        return found

    return beyond(new, old), beyond(old, new)


def _name(draw: Draw, query: str) -> str:
    """A scheduled name: of our config, of an older one, or of somebody else's."""
    if not SHAPES[query].shipped:
        return draw(st.sampled_from([query, f"pack_{query}"]))
    version = small_catalog().queries[query, "linux"].version
    return draw(st.sampled_from([f"pack/all/{query}@{version}", f"{query}@{OLD_VERSION}", query]))


def _snapshots(draw: Draw, fleet: Fleet, device: int, query: str, times: list[int], pool: list[Row]) -> None:
    form = "rows" if draw(st.integers(0, 4)) == 0 and not SHAPES[query].volatile else "snapshot"
    name = _name(draw, query)
    for at in times:
        if draw(st.integers(0, 4)) == 0:
            name = _name(draw, query)
        answer = Answer(at, True, _bag(draw, SHAPES[query], pool, unique=False))
        lines = lines_of(name, form, answer)
        fleet.tell(device, "result", lines)
        if draw(st.integers(0, 5)) == 0:  # two versions of the query run in one second, and find the same
            other = _name(draw, query)
            if other != name:
                fleet.tell(device, "result", lines_of(other, form, answer))
        if lines:  # an empty snapshot is not sent as rows
            fleet.answers.setdefault((device, query), []).append(answer)


def _differential(draw: Draw, fleet: Fleet, device: int, query: str, times: list[int], pool: list[Row]) -> None:
    shape = SHAPES[query]
    form, name = draw(st.sampled_from(["batch", "event"])), _name(draw, query)
    with_removed, losing = draw(st.integers(0, 3)) > 0, draw(st.booleans())
    epoch, counter = draw(st.sampled_from([0, 1, T0])), -1
    state: list[Row] = []
    for at in times:
        if counter >= 0 and draw(st.integers(0, 4)) == 0:
            epoch, counter, state = epoch + 1, -1, []
        bag = _bag(draw, shape, pool, unique=bool(shape.volatile))
        added, removed = _difference(state, bag, "diff")
        state = bag
        first = counter < 0
        if not (first or added or removed):
            continue
        counter += 1
        answer = Answer(at, False, added, removed if with_removed else [], epoch, counter)
        silent = not (answer.added or answer.removed) and not (first and form == "batch")
        if silent or (losing and draw(st.integers(0, 3)) == 0):
            continue
        fleet.tell(device, "result", lines_of(name, form, answer))
        fleet.answers.setdefault((device, query), []).append(answer)


def _happenings(draw: Draw, fleet: Fleet, device: int, query: str, times: list[int], pool: list[Row]) -> None:
    """Runs of an event table: rows are added only, and a second may hold two runs."""
    form, name, counter = draw(st.sampled_from(["batch", "event"])), _name(draw, query), 0
    for at in times:
        for _ in range(draw(st.integers(1, 2))):
            added = _bag(draw, SHAPES[query], pool, unique=False)
            if not added:
                continue
            answer = Answer(at, False, added, epoch=7, counter=counter)
            fleet.tell(device, "result", lines_of(name, form, answer))
            fleet.answers.setdefault((device, query), []).append(answer)
            counter += 1


def _failures(draw: Draw, fleet: Fleet, device: int, times: list[int]) -> None:
    """Status lines: some say that a query failed, some say nothing of the kind; some are said twice."""
    for at in times:
        query = draw(st.sampled_from(["folks", "doors", "files", "procs"]))
        message = draw(st.sampled_from(["no such table: x", "disk I/O error"]))
        name = _name(draw, query)
        text = f"Error executing scheduled query {name}: {message}"
        if draw(st.booleans()):
            fleet.failures.append((device, query, at, name, message))
        else:
            text = "Refreshing configuration state"
        line = {"unixTime": at, "severity": 2, "filename": "s.cpp", "line": 5, "message": text, "version": "5.23.0"}
        lines = [line] * draw(st.integers(1, 2))
        fleet.statuses += [(device, line) for line in lines]
        fleet.tell(device, "status", lines)


Teller = Callable[[Draw, Fleet, int, str, list[int], list[Row]], None]


def _tellers(draw: Draw, shape: Shape, collisions: bool) -> list[Teller]:
    """How a query is answered; where an agent moves over from one config to another, two ways under one name."""
    if shape.mode == "events":
        return [_happenings]
    tellers: list[Teller] = [_snapshots, _differential]
    if collisions and not shape.volatile:
        return draw(st.permutations([_snapshots, _differential]))
    chosen = [draw(st.sampled_from(tellers))]
    if collisions and shape.volatile and shape.mode == "state":
        return chosen if chosen == [_differential] else [_snapshots, _snapshots]
    if collisions or draw(st.integers(0, 2)) == 0:
        chosen.append(draw(st.sampled_from(tellers)))
    return chosen


@st.composite
def fleets(draw: Draw, collisions: bool = False) -> Fleet:
    """A fleet's history. With ``collisions`` a second may hold several answers to one query, and several failures."""
    fleet = Fleet(devices=draw(st.integers(1, len(HOSTS))))
    pools = {query: _rows(draw, shape, 2 if collisions else 4) for query, shape in SHAPES.items()}
    for device in range(fleet.devices):
        for query in draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=2, max_size=4, unique=True)):
            taken: set[int] = set()
            start = T0 + 3600 * draw(st.integers(0, 3))
            for tell in _tellers(draw, SHAPES[query], collisions):
                times = _instants(draw, None if collisions else taken, start)
                tell(draw, fleet, device, query, times, pools[query])
                start = times[-1]
        for _ in range(3 if collisions else 1):
            _failures(draw, fleet, device, _instants(draw, None if collisions else set(), T0))
    return fleet
