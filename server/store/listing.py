"""Devices as a person asks for them: all of them, or one with how it fares."""

from __future__ import annotations

from typing import Any

from server.store.ask_again import questions
from server.store.collectors import collector_of
from server.store.driver import StoreError, Transaction, dicts

_DEVICES = """
SELECT d.*, CASE WHEN e.device_id IS NOT NULL THEN 'erased' WHEN d.retired_at IS NOT NULL THEN 'retired'
                 WHEN d.enrolled_at IS NULL THEN 'never seen' ELSE 'active' END AS state
  FROM devices d LEFT JOIN erasures e ON e.device_id = d.device_id
"""


async def devices(tx: Transaction) -> list[dict[str, Any]]:
    """Every device with its ``state``: active, never seen, retired or erased."""
    return await dicts(tx, f"{_DEVICES} ORDER BY d.hostname, d.device_id", ())


async def device(tx: Transaction, device_id: str) -> dict[str, Any]:
    """One device: ``device``, its ``erasure`` if it was erased, its last ``answers``, its last ``verdicts``,
    what it was ``asked`` by distributed query, and its ``collector`` with what that lost, if it has one.

    Raises ``StoreError`` where there is none of that id.
    """
    found = await dicts(tx, f"{_DEVICES} WHERE d.device_id = ?", (device_id,))
    if not found:
        raise StoreError(f"There is no device {device_id!r}: 'muster device list' shows them.")
    erasure = await dicts(tx, "SELECT * FROM erasures WHERE device_id = ?", (device_id,))
    answers = await dicts(
        tx,
        "SELECT c.query, c.first_at, c.last_at, c.status, c.message FROM coverage c WHERE c.device_id = ?"
        " AND c.first_at = (SELECT MAX(l.first_at) FROM coverage l WHERE l.device_id = c.device_id"
        " AND l.query = c.query) ORDER BY c.query",
        (device_id,),
    )
    verdicts = await dicts(
        tx,
        "SELECT day, control, status, reason, since_day FROM posture WHERE device_id = ?"
        " AND day = (SELECT MAX(day) FROM posture WHERE device_id = ?) ORDER BY control",
        (device_id, device_id),
    )
    return {
        "device": found[0],
        "erasure": erasure[0] if erasure else None,
        "answers": answers,
        "verdicts": verdicts,
        "asked": await questions(tx, device_id),
        "collector": await collector_of(tx, device_id),
    }
