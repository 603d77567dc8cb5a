"""Pages of the verdicts of a day, and of failures: found without sorting all that come before them."""

from __future__ import annotations

from typing import Any

from server.store.driver import Transaction, dicts
from server.store.numbers import Among, failures_among, judged_controls

Row = dict[str, Any]

SORTS = {
    "age": "f.first_failed_day, f.control, f.device_id",
    "severity": "CASE f.severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END,"
    " f.first_failed_day, f.control, f.device_id",
}
"""The orders failures can be listed in: the oldest first, of equal severity or of all."""


async def verdicts_of(
    tx: Transaction, day: str, among: Among, status: str | None, limit: int, offset: int
) -> tuple[list[Row], bool]:
    """A page of the rows of ``posture`` of a day, by control and device id, and whether there are more.

    A control after the other, so that what stands before the page is counted and never sorted.
    """
    condition, values = among.devices
    where = f" AND p.device_id IN (SELECT d.device_id FROM muster_devices d WHERE {condition})" if condition else ""
    where += " AND p.status = ?" if status else ""
    values = [*values, status] if status else values
    page: list[Row] = []
    for one in await judged_controls(tx, among, day, day):
        given = (day, one.control, *values)
        body = f"FROM posture p WHERE p.day = ? AND p.control = ?{where}"
        if offset:
            counted = await tx.row(f"SELECT COUNT(*) {body}", given)
            there = int(counted[0]) if counted else 0
            if there <= offset:
                offset -= there
                continue
        wanted = limit + 1 - len(page)
        page += await dicts(tx, f"SELECT p.* {body} ORDER BY p.device_id LIMIT ? OFFSET ?", (*given, wanted, offset))
        offset = 0
        if len(page) > limit:
            break
    return page[:limit], len(page) > limit


async def failures_of(
    tx: Transaction, among: Among, only_open: bool, sort: str, limit: int, offset: int
) -> tuple[list[Row], bool]:
    """A page of the rows of ``posture_failures`` in one of ``SORTS``, and whether there are more.

    Which they are is found first: the days of a failure are counted for those alone that are on the page.
    """
    where, values = failures_among(among)
    where += " AND f.open = 1" if only_open else ""
    keys = await tx.rows(
        f"SELECT f.device_id, f.control, f.first_failed_day FROM posture_failures f WHERE 1 = 1{where}"
        f" ORDER BY {SORTS[sort]} LIMIT ? OFFSET ?",
        (*values, limit + 1, offset),
    )
    shown = keys[:limit]
    if not shown:
        return [], False
    devices = sorted({device_id for device_id, _, _ in shown})
    found = await dicts(
        tx,
        "SELECT f.*, d.platform, d.owner, d.tags FROM posture_failures f JOIN devices d ON d.device_id = f.device_id"
        f" WHERE f.device_id IN ({', '.join('?' * len(devices))})",
        tuple(devices),
    )
    by_key = {(row["device_id"], row["control"], row["first_failed_day"]): row for row in found}
    return [by_key[key] for key in shown], len(keys) > limit
