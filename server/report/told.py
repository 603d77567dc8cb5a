"""What a device is told of how it fares: its verdicts of the newest judged day, why, and how to mend what fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.catalog.catalog import Catalog
from server.evaluate.verdicts import FAIL
from server.report.words import reason_text
from server.store.devices import Device
from server.store.driver import Transaction
from server.wire.collector_messages import Hashed, posture

_VERDICTS = """
SELECT c.control, c.title, v.status, v.first_day, v.reason, v.underlying_status
  FROM muster_verdicts v
  JOIN muster_controls c ON c.control_no = v.control_no
  JOIN muster_evaluation e ON e.control_no = v.control_no
 WHERE v.device_no = ? AND e.day = ? AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?)
 ORDER BY c.title, c.control
"""


async def newest_day(tx: Transaction) -> str | None:
    """The newest day that was judged, the running one as a rule; None before any was."""
    found = await tx.row("SELECT MAX(day) FROM muster_days WHERE day IN (SELECT e.day FROM muster_evaluation e)")
    return None if found is None else found[0]


async def postures(tx: Transaction, devices: Sequence[tuple[Device, Catalog]]) -> list[Hashed | None]:
    """What devices, each with the packs it is judged by, are told; in their order. None before any day was judged."""
    day = await newest_day(tx)
    if day is None:
        return [None] * len(devices)
    found = await tx.each(_VERDICTS, [(device.device_no, day, day, day) for device, _ in devices])
    return [
        posture(day, [_told(row, device, catalog) for row in rows])
        for (device, catalog), rows in zip(devices, found, strict=True)
    ]


def _told(row: Sequence[Any], device: Device, catalog: Catalog) -> dict[str, Any]:
    control, title, status, first_day, reason, underlying = row
    return {
        "control": control,
        "title": title,
        "status": status,
        "since_day": first_day,
        "reason": reason_text(reason),
        "mend": _mend(catalog, control, device.platform) if underlying == FAIL else "",
    }


def _mend(catalog: Catalog, control: str, platform: str) -> str:
    """What the device's owner does about a control; empty where the packs say nothing of it."""
    loaded = catalog.controls.get(control)
    remedies: dict[str, str] = dict(loaded.control.remediation.items()) if loaded else {}
    return remedies.get(platform, "")
