"""Writing down verdicts: as runs of days, and as revisions where a closed day got another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from server.evaluate.population import Devices, named
from server.evaluate.runs import VerdictRun, place
from server.evaluate.verdicts import Verdict
from server.normalize.calendar import shifted
from server.normalize.times import iso
from server.store.channels import any_collector, note_verdicts
from server.store.driver import Transaction
from server.store.news import CONTROL, DEVICE, EVERY_DEVICE, LIST, QUERY

AT_A_TIME = 4_000
"""Verdicts that one transaction writes: others wait for it less than a second."""
LATE_DATA, RULE, ROSTER, ASSETS, EXEMPTION, DEVICE_CHANGED, ASKED = (
    "late_data",
    "rule",
    "roster",
    "assets",
    "exemption",
    "device",
    "asked",
)
"""Why a verdict of a closed day became another."""


class Change(NamedTuple):
    """What a device and control come to on a day; None where it has no verdict there."""

    control_no: int
    device_no: int
    verdict: Verdict | None


@dataclass(frozen=True)
class Grounds:
    """What explains revisions.

    ``rules`` tell, by number of the control, what its rule was and is, where that is another. ``reads`` are the tables
    and lists that a control's verdicts rest on.
    """

    now: float
    names: Mapping[int, str]
    rules: Mapping[int, str] = field(default_factory=dict)
    reads: Mapping[int, frozenset[tuple[str, str]]] = field(default_factory=dict)


async def control_numbers(tx: Transaction) -> dict[str, tuple[int, str | None]]:
    """The number of every control that was ever judged, and its last judged day."""
    found = await tx.rows(
        "SELECT c.control, c.control_no,"
        " (SELECT MAX(e.day) FROM muster_evaluation e WHERE e.control_no = c.control_no) FROM muster_controls c"
    )
    return {control: (number, latest) for control, number, latest in found}


async def note_controls(tx: Transaction, controls: Mapping[str, tuple[str, str]]) -> None:
    """Keep controls by name, with title and severity as they are now; what is so already is left alone."""
    rows = await tx.rows("SELECT control, control_no, title, severity FROM muster_controls")
    known = {control: (number, (title, severity)) for control, number, title, severity in rows}
    top = max((number for number, _ in known.values()), default=0)
    for control, values in sorted(controls.items()):
        if control not in known:
            top += 1
            await tx.run(
                "INSERT INTO muster_controls (control_no, control, title, severity) VALUES (?, ?, ?, ?)",
                (top, control, *values),
            )
        elif known[control][1] != values:
            number = known[control][0]
            await tx.run("UPDATE muster_controls SET title = ?, severity = ? WHERE control_no = ?", (*values, number))


async def write_verdicts(
    tx: Transaction, day: str, changes: Sequence[Change], grounds: Grounds, seq: int
) -> dict[int, int]:
    """Bring runs to these verdicts of a day; returns how many devices' runs changed, by number of the control.

    ``seq`` is that of the judging.
    """
    numbers = sorted({change.device_no for change in changes})
    erased = {number for devices in named(numbers) for number in await erased_of(tx, devices)}
    latest = dict((await control_numbers(tx)).values())
    gone: list[tuple[int, int, str]] = []
    new: list[tuple[Any, ...]] = []
    revised: list[tuple[Change, Verdict | None]] = []
    changed: dict[int, int] = {}
    by_control: dict[int, list[Change]] = {}
    for change in changes:
        if change.device_no not in erased:
            by_control.setdefault(change.control_no, []).append(change)
    for control_no, theirs in by_control.items():
        known = await _runs(tx, control_no, [change.device_no for change in theirs], day, latest[control_no])
        for change in theirs:
            old = known.get(change.device_no, [])
            placed = place(old, day, latest[control_no], change.verdict)
            if set(placed) == set(old):
                continue
            changed[control_no] = changed.get(control_no, 0) + 1
            gone += [(control_no, change.device_no, run.first_day) for run in old if run not in placed]
            new += [
                (change.device_no, control_no, run.first_day, run.last_day, *run.verdict)
                for run in placed
                if run not in old
            ]
            before = next((run.verdict for run in old if run.covers(day, latest[control_no])), None)
            if before != change.verdict:
                revised.append((change, before))
    await tx.many("DELETE FROM muster_verdicts WHERE control_no = ? AND device_no = ? AND first_day = ?", gone)
    columns = "device_no control_no first_day last_day status underlying_status lapsed reason".split()
    new.sort(key=lambda row: row[:3])
    await tx.insert("muster_verdicts", columns, new)
    await _tell(tx, {device_no for _, device_no, _ in gone} | {row[0] for row in new})
    await _revise(tx, day, revised, grounds, seq)
    return changed


async def _tell(tx: Transaction, numbers: Set[int]) -> None:
    """Let the collectors of devices hear that their verdicts are others."""
    if numbers and await any_collector(tx):
        for devices in named(sorted(numbers)):
            await note_verdicts(tx, devices.of("muster_collectors"), devices.parameters)


async def devices_judged(tx: Transaction, control_no: int, day: str, devices: Devices) -> list[int]:
    """Those of some devices that have a verdict of a control on a day that was judged by it."""
    sql = (
        f"SELECT v.device_no FROM muster_verdicts v WHERE v.control_no = ? AND {devices.of('v')}"
        " AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?) ORDER BY v.device_no"
    )
    return [number for (number,) in await tx.rows(sql, (control_no, *devices.parameters, day, day))]


async def forget_judged(tx: Transaction, control_no: int, day: str) -> None:
    """Forget that a day was judged by a control, once no device has a verdict of it there."""
    await tx.run("DELETE FROM muster_evaluation WHERE control_no = ? AND day = ?", (control_no, day))


async def erased_of(tx: Transaction, devices: Devices) -> set[int]:
    """Those of some devices that are erased: their verdicts stay as they are."""
    sql = f"SELECT d.device_no FROM muster_devices d WHERE d.erased_at IS NOT NULL AND {devices.of('d')}"
    return {number for (number,) in await tx.rows(sql, devices.parameters)}


async def _runs(
    tx: Transaction, control_no: int, numbers: Sequence[int], day: str, latest: str | None
) -> dict[int, list[VerdictRun]]:
    """The runs of devices that touch a day or its neighbours, those that go on, and those after the last judged day."""
    before, after = (shifted(day, days) for days in (-1, 1))
    known: dict[int, list[VerdictRun]] = {}
    for devices in named(numbers):
        for device_no, first, last, *verdict in await tx.rows(
            "SELECT v.device_no, v.first_day, v.last_day, v.status, v.underlying_status, v.lapsed, v.reason"
            f" FROM muster_verdicts v WHERE v.control_no = ? AND {devices.of('v')}"
            " AND ((v.first_day <= ? AND v.last_day >= ?) OR v.last_day IS NULL OR v.first_day > ?)",
            (control_no, *devices.parameters, after, before, latest or day),
        ):
            known.setdefault(device_no, []).append(VerdictRun(first, last, Verdict(*verdict)))
    return known


# -- revisions ---------------------------------------------------------------------------------------------------

_VERDICT = "status underlying_status lapsed reason".split()
_BEFORE_AFTER = [f"{when}_{name}" for when in ("before", "after") for name in _VERDICT]
_COLUMNS = ["control_no", "device_no", "first_day", "last_day", "revised_at", "revised_seq", *_BEFORE_AFTER, "cause",
            "detail"]  # fmt: skip
_AFTER = ", ".join(f"after_{name} = excluded.after_{name}" for name in _VERDICT)
_SAME = " AND ".join(f"COALESCE(CAST({name} AS TEXT), '-') = ?" for name in (*_BEFORE_AFTER, "cause", "detail"))


async def _revise(
    tx: Transaction, day: str, revised: Sequence[tuple[Change, Verdict | None]], grounds: Grounds, seq: int
) -> None:
    """Leave revisions, if the day had been closed and judged by the control; equal ones of neighbouring days join."""
    state = await tx.row("SELECT state FROM muster_days WHERE day = ?", (day,))
    if not revised or state is None or state[0] == "open":
        return
    judged = {row[0] for row in await tx.rows("SELECT control_no FROM muster_evaluation WHERE day = ?", (day,))}
    revised = [(change, before) for change, before in revised if change.control_no in judged]
    causes = await _causes(tx, day, [change for change, _ in revised], grounds)
    new = []
    for (change, before), why in zip(revised, causes, strict=True):
        nothing = (None,) * len(_VERDICT)
        said = (*(before or nothing), *(change.verdict or nothing), *why)
        longer = await tx.run(
            f"UPDATE muster_revisions SET last_day = ? WHERE control_no = ? AND device_no = ? AND revised_seq = ?"
            f" AND last_day = ? AND {_SAME}",
            (day, change.control_no, change.device_no, seq, shifted(day, -1),
             *("-" if one is None else str(one) for one in said)),
        )  # fmt: skip
        if not longer:
            new.append((change.control_no, change.device_no, day, day, iso(grounds.now), seq, *said))
    marks = ", ".join("?" * len(_COLUMNS))
    await tx.many(
        f"INSERT INTO muster_revisions ({', '.join(_COLUMNS)}) VALUES ({marks})"
        f" ON CONFLICT (control_no, device_no, first_day, revised_seq) DO UPDATE SET {_AFTER}",
        new,
    )


async def _causes(tx: Transaction, day: str, changes: Sequence[Change], grounds: Grounds) -> list[tuple[str, str]]:
    """Why each verdict became another, with what is known of it in words."""
    subjects: set[tuple[str, str]] = {(DEVICE, "")}
    for control_no in {change.control_no for change in changes}:
        subjects |= {(CONTROL, grounds.names[control_no]), *grounds.reads.get(control_no, ())}
    news: dict[int, list[tuple[str, str, str]]] = {}
    for devices in named([EVERY_DEVICE, *(change.device_no for change in changes)]):
        for subject in sorted(subjects):
            for number, detail in await tx.rows(
                f"SELECT n.device_no, n.detail FROM muster_news n WHERE n.kind = ? AND n.subject = ?"
                f" AND {devices.of('n')} AND n.first_day <= ? AND n.last_day >= ?",
                (*subject, *devices.parameters, day, day),
            ):
                news.setdefault(number, []).append((*subject, detail))
    everybody = news.get(EVERY_DEVICE, [])
    return [_cause(change, [*news.get(change.device_no, []), *everybody], grounds) for change in changes]


def _cause(change: Change, news: Sequence[tuple[str, str, str]], grounds: Grounds) -> tuple[str, str]:
    rule = grounds.rules.get(change.control_no)
    if rule is not None:
        return RULE, rule
    reads = grounds.reads.get(change.control_no, frozenset())
    kinds: dict[str, tuple[str, str]] = {}
    for kind, subject, detail in news:
        if kind == CONTROL and subject == grounds.names.get(change.control_no):
            kinds.setdefault(EXEMPTION, (EXEMPTION, detail))
        elif kind == QUERY and (kind, subject) in reads:
            kinds.setdefault(LATE_DATA, (LATE_DATA, detail))
        elif kind == LIST and (kind, subject) in reads:
            cause = ROSTER if subject == "people" else ASSETS
            kinds.setdefault(cause, (cause, detail))
        elif kind == DEVICE:
            kinds.setdefault(DEVICE_CHANGED, (DEVICE_CHANGED, detail))
    order = (EXEMPTION, LATE_DATA, ROSTER, ASSETS, DEVICE_CHANGED)
    return next((kinds[cause] for cause in order if cause in kinds), (ASKED, ""))
