"""What numbers are reckoned from: verdicts counted over their runs, and failures; by control or by device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.store.driver import Transaction

CONTROL, DEVICE = "control", "device"
"""What may be counted by."""
_OVER = "NOT (v.first_day > ?) AND COALESCE(v.last_day, '9999-12-31') >= ?"
"""Runs that touch a period, given its last day and its first. The NOT keeps SQLite from going by the first day: most
runs began long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """Which verdicts are counted: of some controls, of devices of a platform, with a tag, of an owner, of one device.

    None is any; an empty ``tag`` or ``owner`` is to have none.
    """

    controls: tuple[str, ...] | None = None
    platform: str | None = None
    tag: str | None = None
    owner: str | None = None
    device_id: str | None = None

    @property
    def devices(self) -> tuple[str, list[object]]:
        """A condition on devices ``d`` and its parameters; empty where any device counts."""
        parts: list[str] = []
        values: list[object] = []
        for column in ("platform", "owner", "device_id"):
            if (value := getattr(self, column)) is not None:
                parts.append(f"d.{column} = ?")
                values.append(value)
        if self.tag == "":
            parts.append("d.tags = ''")
        elif self.tag is not None:
            # LIKE has wildcards, and ignores case on one of the databases.
            parts.append("REPLACE(',' || d.tags || ',', CAST(? AS TEXT), '') <> ',' || d.tags || ','")
            values.append(f",{self.tag},")
        return " AND ".join(parts), values


class JudgedControl(NamedTuple):
    """A control that was judged within a period, and the last day of it on which it was."""

    control_no: int
    control: str
    title: str
    severity: str
    last_day: str


class CountedRuns(NamedTuple):
    """How many runs of verdicts are equal: of a control or of a device (``key`` is its number), cut to a period."""

    key: int
    status: str
    underlying_status: str
    lapsed: int
    first_day: str
    last_day: str
    runs: int


class KnownDevice(NamedTuple):
    """What devices are grouped by."""

    device_no: int
    device_id: str
    platform: str
    tags: str
    owner: str


class Remedied(NamedTuple):
    """A failure that was remedied, and the days between which that can have taken."""

    control: str
    device_id: str
    first_failed_day: str
    last_failed_day: str
    remedied_day: str
    last_passed_day: str | None


async def judged_controls(tx: Transaction, among: Among, first: str, last: str) -> list[JudgedControl]:
    """The controls that were judged on some day of a period, also those that no packs bring any more."""
    rows = await tx.rows(
        "SELECT c.control_no, c.control, c.title, c.severity, MAX(e.day) FROM muster_controls c"
        " JOIN muster_evaluation e ON e.control_no = c.control_no WHERE e.day >= ? AND e.day <= ?"
        " GROUP BY c.control_no, c.control, c.title, c.severity ORDER BY c.control",
        (first, last),
    )
    wanted = None if among.controls is None else set(among.controls)
    return [JudgedControl(*row) for row in rows if wanted is None or row[1] in wanted]


async def known_devices(tx: Transaction, among: Among) -> list[KnownDevice]:
    """The devices that are counted, with what they are grouped by."""
    condition, values = among.devices
    where = f" WHERE {condition}" if condition else ""
    rows = await tx.rows(
        f"SELECT d.device_no, d.device_id, d.platform, d.tags, d.owner FROM muster_devices d{where}", values
    )
    return [KnownDevice(*row) for row in rows]


async def counted_runs(
    tx: Transaction, among: Among, controls: Iterable[JudgedControl], first: str, per: str
) -> list[CountedRuns]:
    """The verdicts of controls from ``first`` to the last day each was judged, counted per control or per device."""
    join, where, values = _among_devices(among)
    whole = per == CONTROL and not join  # in the order of an index, if nothing is reckoned on the way
    counted: list[CountedRuns] = []
    for last, numbers in _by_last_day(controls).items():
        if whole:
            columns, given = "v.control_no, v.last_day, v.first_day, v.status, v.underlying_status, v.lapsed", []
            group = columns
        else:
            columns = (
                f"v.{per}_no, CASE WHEN v.last_day > CAST(? AS TEXT) THEN NULL ELSE v.last_day END,"
                " CASE WHEN v.first_day < CAST(? AS TEXT) THEN '' ELSE v.first_day END,"
                " v.status, v.underlying_status, v.lapsed"
            )
            group, given = "1, 2, 3, 4, 5, 6", [last, first]
        for key, ends, begins, status, underlying, lapsed, runs in await tx.rows(
            f"SELECT {columns}, COUNT(*) FROM muster_verdicts v{join}"
            f" WHERE v.control_no IN ({_marks(numbers)}) AND {_OVER}{where} GROUP BY {group}",
            (*given, *numbers, last, first, *values),
        ):
            cut = (max(begins, first), min(ends or last, last))
            counted.append(CountedRuns(key, status, underlying, lapsed, *cut, runs))
    return counted


async def failing_pairs(
    tx: Transaction, among: Among, controls: Iterable[JudgedControl], first: str
) -> list[tuple[int, int]]:
    """The controls and devices of which some day was a failure that no exemption covered."""
    join, where, values = _among_devices(among)
    found: list[tuple[int, int]] = []
    for last, numbers in _by_last_day(controls).items():
        found += [
            (control_no, device_no)
            for control_no, device_no in await tx.rows(
                f"SELECT DISTINCT v.control_no, v.device_no FROM muster_verdicts v{join}"
                f" WHERE v.underlying_status = 'fail' AND v.status = 'fail' AND v.control_no IN ({_marks(numbers)})"
                f" AND {_OVER}{where}",
                (*numbers, last, first, *values),
            )
        ]
    return found


async def devices_failing(tx: Transaction, among: Among, controls: Iterable[JudgedControl], day: str) -> int:
    """How many devices fail some of the controls on one day, without an exemption that covers it."""
    join, where, values = _among_devices(among)
    numbers = [one.control_no for one in controls]
    found = await tx.row(
        f"SELECT COUNT(DISTINCT v.device_no) FROM muster_verdicts v{join} WHERE v.underlying_status = 'fail'"
        f" AND v.status = 'fail' AND v.control_no IN ({_marks(numbers)}) AND {_OVER}{where}",
        (*numbers, day, day, *values),
    )
    return int(found[0]) if found else 0


async def devices_counted(tx: Transaction, among: Among, controls: Sequence[JudgedControl], first: str) -> int:
    """How many devices have some verdict."""
    if not controls:
        return 0
    numbers, last = [one.control_no for one in controls], max(one.last_day for one in controls)
    condition, values = among.devices
    where = f"{condition} AND " if condition else ""
    found = await tx.row(
        f"SELECT COUNT(*) FROM muster_devices d WHERE {where}EXISTS (SELECT 1 FROM muster_verdicts v"
        f" WHERE v.device_no = d.device_no AND {_OVER} AND v.control_no IN ({_marks(numbers)}))",
        (*values, last, first, *numbers),
    )
    return int(found[0]) if found else 0


async def devices_of_controls(
    tx: Transaction, among: Among, controls: Sequence[JudgedControl], first: str
) -> tuple[int, dict[int, set[int]]]:
    """How many devices have verdicts of every one of the controls, and of which of them the others have.

    Nearly all devices are of the first kind, so that few pairs are read.
    """
    join, among_devices, values = _among_devices(among)
    numbers = [one.control_no for one in controls]
    last = max((one.last_day for one in controls), default=first)
    where = f"v.control_no IN ({_marks(numbers)}) AND {_OVER}{among_devices}"
    given = (*numbers, last, first, *values)
    rows = await tx.rows(
        f"SELECT v.device_no, COUNT(DISTINCT v.control_no) FROM muster_verdicts v{join} WHERE {where}"
        " GROUP BY v.device_no",
        given,
    )
    some = [device_no for device_no, judged in rows if judged < len(numbers)]
    others: dict[int, set[int]] = {}
    for at in range(0, len(some), 500):
        part = some[at : at + 500]
        for device_no, control_no in await tx.rows(
            f"SELECT DISTINCT v.device_no, v.control_no FROM muster_verdicts v{join} WHERE {where}"
            f" AND v.device_no IN ({_marks(part)})",
            (*given, *part),
        ):
            others.setdefault(device_no, set()).add(control_no)
    return len(rows) - len(some), others


async def open_failures(tx: Transaction, among: Among, day: str, per: str) -> dict[str, tuple[int, str]]:
    """The failures that had begun and were not remedied at the end of a day, by control or device id.

    Gives how many they are and the first day of the oldest.
    """
    where, values = failures_among(among)
    key = "f.control" if per == CONTROL else "f.device_id"
    newest = await tx.row("SELECT MAX(e.day) FROM muster_evaluation e")
    if newest and newest[0] == day:  # as they are now, which is found with fewer looks at each
        then, given = "f.open = 1", []
    else:
        then = (
            "f.first_failed_day <= ? AND COALESCE(f.remedied_day, '9999-12-31') > ?"
            " AND (f.open = 1 OR f.remedied_day IS NOT NULL OR f.last_failed_day >= ?)"
        )
        given = [day, day, day]
    rows = await tx.rows(
        f"SELECT {key}, COUNT(*), MIN(f.first_failed_day) FROM posture_failures f WHERE {then}{where} GROUP BY {key}",
        (*given, *values),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def remedied(tx: Transaction, among: Among, first: str, last: str) -> list[Remedied]:
    """The failures that were remedied within a period."""
    where, values = failures_among(among)
    rows = await tx.rows(
        "SELECT f.control, f.device_id, f.first_failed_day, f.last_failed_day, f.remedied_day, f.last_passed_day"
        f" FROM posture_failures f WHERE f.remedied_day >= ? AND f.remedied_day <= ?{where}",
        (first, last, *values),
    )
    return [Remedied(*row) for row in rows]


async def days_judged(tx: Transaction, first: str, last: str) -> dict[str, bool]:
    """The days of a period on which anything was judged, each with whether it is still open."""
    rows = await tx.rows(
        "SELECT y.day, y.state FROM muster_days y WHERE y.day >= ? AND y.day <= ?"
        " AND EXISTS (SELECT 1 FROM muster_evaluation e WHERE e.day = y.day) ORDER BY y.day",
        (first, last),
    )
    return {day: state == "open" for day, state in rows}


def failures_among(among: Among) -> tuple[str, list[object]]:
    """More conditions on failures ``f``, and their parameters."""
    condition, values = among.devices
    where = f" AND f.device_id IN (SELECT d.device_id FROM muster_devices d WHERE {condition})" if condition else ""
    if among.device_id is not None:
        where += " AND f.device_id = ?"
        values = [*values, among.device_id]
    if among.controls is not None:
        where += f" AND f.control IN ({_marks(among.controls)})"
        values = [*values, *among.controls]
    return where, values


def _among_devices(among: Among) -> tuple[str, str, list[object]]:
    """What a statement over verdicts ``v`` joins, and its further conditions with their parameters."""
    condition, values = among.devices
    if not condition:
        return "", "", values
    return " JOIN muster_devices d ON d.device_no = v.device_no", f" AND {condition}", values


def _by_last_day(controls: Iterable[JudgedControl]) -> Mapping[str, list[int]]:
    """Nearly all controls are judged up to the same day; one that was given up was not."""
    found: dict[str, list[int]] = {}
    for one in controls:
        found.setdefault(one.last_day, []).append(one.control_no)
    return found


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values)) or "NULL"
