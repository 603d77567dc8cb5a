"""What the asset register says of a machine that enrols."""

from __future__ import annotations

from typing import NamedTuple

from server.normalize.devices import usable_serial
from server.store.driver import Transaction


class Registered(NamedTuple):
    """An entry of the register; ``device_no`` is the device that stands for the machine until it enrols, if any."""

    owner: str
    tags: str
    device_no: int | None


async def registered(tx: Transaction, serial: str) -> Registered | None:
    """The register's entry of a serial, in whatever case; None for a placeholder or where there is no entry."""
    key = usable_serial(serial)
    found = key and await tx.row("SELECT serial_shown, owner, tags FROM muster_assets WHERE serial = ?", (key,))
    if not found:
        return None
    shown, owner, tags = found
    waiting = await tx.row(
        "SELECT device_no FROM muster_devices WHERE serial = ? AND enrolled_at = '' AND erased_at IS NULL", (shown,)
    )
    return Registered(owner, tags, int(waiting[0]) if waiting else None)
