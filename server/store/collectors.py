"""What is known of devices' collectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.driver import Transaction, dicts
from server.wire.messages import Backlog

VERSION_CHARS = 64
_LATEST = 253402300799
"""Unix time of the last second of the year 9999."""


async def note_enrolled(tx: Transaction, device_no: int, version: str, now: float) -> None:
    """Note that a device has a collector of a version."""
    await tx.run(
        "INSERT INTO muster_collectors (device_no, version, enrolled_at, last_seen_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (device_no) DO UPDATE SET version = excluded.version, enrolled_at = excluded.enrolled_at,"
        " last_seen_at = excluded.last_seen_at",
        (device_no, clean_text(version).strip()[:VERSION_CHARS], iso(now), iso(now)),
    )


async def note_backlogs(tx: Transaction, told: Sequence[tuple[int, Backlog]], now: float) -> None:
    """Note what collectors say they have not delivered yet, the last word of each."""
    at = iso(now)
    newest = dict(told)
    await tx.many(
        "UPDATE muster_collectors SET last_seen_at = ?, backlog_lines = ?, backlog_bytes = ?, oldest_unsent_at = ?"
        " WHERE device_no = ?",
        [
            (at, backlog.lines, backlog.bytes, _at(backlog.oldest_at), device_no)
            for device_no, backlog in sorted(newest.items())
        ],
    )


async def collector_of(tx: Transaction, device_id: str) -> dict[str, Any] | None:
    """A device's collector as ``posture_collectors`` tells, and in ``gaps``, ``lost_lines``, ``lost_at`` and
    ``lost_reason`` what the device lost and when and why at last; None for a device that has none."""
    found = await dicts(
        tx,
        "SELECT version, enrolled_at, last_seen_at, connected, backlog_lines, backlog_bytes, oldest_unsent_at,"
        " serves_config, policy,"
        " (SELECT COUNT(*) FROM posture_collector_gaps g WHERE g.device_id = c.device_id) AS gaps,"
        " (SELECT CAST(SUM(g.lines) AS BIGINT) FROM posture_collector_gaps g WHERE g.device_id = c.device_id)"
        " AS lost_lines FROM posture_collectors c WHERE c.device_id = ?",
        (device_id,),
    )
    if not found:
        return None
    last = await tx.row(
        "SELECT last_at, reason FROM posture_collector_gaps WHERE device_id = ? ORDER BY last_at DESC, reason LIMIT 1",
        (device_id,),
    )
    return {**found[0], "lost_at": last[0] if last else None, "lost_reason": last[1] if last else None}


def _at(unix_time: int | None) -> str | None:
    """An instant by the device's clock; None where there is none, or none of our calendar."""
    return iso(unix_time) if unix_time is not None and 0 <= unix_time <= _LATEST else None
