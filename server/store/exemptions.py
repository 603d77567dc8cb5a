"""Exemptions: whom they cover on which days."""

from __future__ import annotations

import secrets

from server.store.driver import Transaction

EXEMPTED = "SELECT DISTINCT device_no FROM muster_exempted WHERE control = ? AND first_day <= ? AND last_day >= ?"
"""The devices that are exempt from a control on a day. Parameters: the control, the day, the day."""


async def exempted(tx: Transaction, control: str, day: str) -> set[int]:
    """The numbers of the devices that an exemption from ``control`` covers on ``day`` (YYYY-MM-DD).

    Tags and persons are resolved: a device is covered on the days it had the tag, or was the person's, at their end.
    """
    return {number for (number,) in await tx.rows(EXEMPTED, (control, day, day))}


async def grant_device(
    tx: Transaction, device_id: str, control: str, days: tuple[str, str], why: tuple[str, str, str], at: str
) -> str | None:
    """Write an exemption of a device for the days from one to another; returns its id, None for an unknown device.

    ``why`` is the reason, who asked and who approved.
    """
    device = await tx.row("SELECT device_no FROM muster_devices WHERE device_id = ?", (device_id,))
    if device is None:
        return None
    exemption_id = secrets.token_hex(8)
    await tx.run(
        "INSERT INTO muster_exemptions (exemption_id, control, scope, subject, device_no, state, first_day, last_day,"
        " reason, requested_by, approved_by, requested_at, granted_at)"
        " VALUES (?, ?, 'device', ?, ?, 'approved', ?, ?, ?, ?, ?, ?, ?)",
        (exemption_id, control, device_id, device[0], *days, *why, at, at),
    )
    await tx.run(
        "INSERT INTO muster_exempted (exemption_id, device_no, control, first_day, last_day) VALUES (?, ?, ?, ?, ?)",
        (exemption_id, device[0], control, *days),
    )
    await tx.seq()
    return exemption_id
