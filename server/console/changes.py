"""What is not as it was the day before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.console.history import ShownDay
from server.store.driver import Transaction

SHOWN = 8
"""Entries of each kind on the first page; the pages of the controls have them all."""

_CHANGED = """
  FROM muster_verdicts n
  LEFT JOIN muster_verdicts o
    ON o.control_no = n.control_no AND o.device_no = n.device_no AND o.last_day = ?
"""
_NEWLY = {
    "fail": "n.status = 'fail' AND COALESCE(o.status, '') <> 'fail'",
    "pass": "n.status = 'pass' AND o.status <> 'pass'",
    "silent": "n.status IN ('stale', 'no_data') AND o.status NOT IN ('stale', 'no_data')",
}
"""A device seen for the first time may newly fail; that it passes, or has said nothing yet, is no change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A device's status of a control that is not what it was."""

    device_id: str
    hostname: str
    control: str
    title: str
    before: str | None


@dataclass(frozen=True, slots=True)
class Silenced:
    """A device that answered the day before and has not since."""

    device_id: str
    hostname: str
    last_seen_at: str
    controls: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed, counted in full and shown in part."""

    failing: Sequence[Change]
    failing_count: int
    passing: Sequence[Change]
    passing_count: int
    silent: Sequence[Silenced]
    silent_count: int


async def changes(tx: Transaction, shown: ShownDay) -> Changes:
    """What changed from the day before to the shown one."""
    days = (shown.yesterday, shown.day)
    failing, failing_count = await _changed(tx, "fail", days)
    passing, passing_count = await _changed(tx, "pass", days)
    silent, silent_count = await _silenced(tx, days)
    return Changes(failing, failing_count, passing, passing_count, silent, silent_count)


async def _changed(tx: Transaction, kind: str, days: tuple[str, str]) -> tuple[list[Change], int]:
    rows = await tx.rows(
        f"SELECT d.device_id, d.hostname, c.control, c.title, o.status, COUNT(*) OVER (){_CHANGED}"
        " JOIN muster_devices d ON d.device_no = n.device_no JOIN muster_controls c ON c.control_no = n.control_no"
        f" WHERE n.first_day = ? AND {_NEWLY[kind]} ORDER BY d.hostname, d.device_id, c.title LIMIT ?",
        (*days, SHOWN),
    )
    return [Change(*row[:-1]) for row in rows], (rows[0][-1] if rows else 0)


async def _silenced(tx: Transaction, days: tuple[str, str]) -> tuple[list[Silenced], int]:
    rows = await tx.rows(
        "SELECT d.device_id, d.hostname, d.last_seen_at, s.controls, COUNT(*) OVER () FROM"
        f" (SELECT n.device_no AS device_no, COUNT(*) AS controls{_CHANGED} WHERE n.first_day = ? AND"
        f" {_NEWLY['silent']} GROUP BY n.device_no) s JOIN muster_devices d ON d.device_no = s.device_no"
        " ORDER BY s.controls DESC, d.last_seen_at, d.hostname LIMIT ?",
        (*days, SHOWN),
    )
    return [Silenced(*row[:-1]) for row in rows], (rows[0][-1] if rows else 0)
