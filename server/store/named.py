"""Finding a device by what a person has at hand: its id or the beginning of it, its hostname or its serial number."""

from __future__ import annotations

from typing import Any

from server.catalog.problems import did_you_mean
from server.normalize.text import clean_text
from server.store.driver import StoreError, Transaction, dicts

MOST_CANDIDATES = 20
_SHORTEST_PREFIX = 3
_LIKELY = 500
"""Hostnames among which a slip is looked for: a fleet may have many."""
_SHOWN = "SELECT device_no, device_id, hostname, serial, platform, last_seen_at, retired_at, erased_at"


async def devices_named(tx: Transaction, named: str, *, beginnings: bool = True) -> list[dict[str, Any]]:
    """The devices that may be meant, the most of them ``MOST_CANDIDATES``; one where it is clear.

    An id is unique; else hostnames and serials count in any case, and only without those the ``beginnings`` of ids.
    """
    named = clean_text(named).strip()
    if not named:
        return []
    found = await _found(tx, "device_id = ?", named)
    if not found:
        found = await _found(
            tx, "LOWER(hostname) = LOWER(CAST(? AS TEXT)) OR LOWER(serial) = LOWER(CAST(? AS TEXT))", named, named
        )
    if not found and beginnings and len(named) >= _SHORTEST_PREFIX:
        found = await _found(tx, "device_id >= ? AND device_id < ?", named, f"{named}\U0010ffff")
    return found


async def one_device(tx: Transaction, named: str, *, erased: bool = False) -> tuple[int, str]:
    """The number and the id of the device with that id, hostname or serial number.

    Raises ``StoreError`` where there is none, where it was erased (unless ``erased`` ones count too), and where several
    may be meant: what is decided of a device is never decided of the likeliest.
    """
    found = await devices_named(tx, named, beginnings=False)
    there = [one for one in found if erased or one["erased_at"] is None]
    if len(there) > 1:
        ids = ", ".join(one["device_id"] for one in there)
        raise StoreError(f"Several devices may be meant by {named!r}: give one of their ids, {ids}.")
    if not there:
        was = "is erased" if found else "is not known"
        raise StoreError(f"The device {named!r} {was}: 'muster device list' shows them.")
    return there[0]["device_no"], there[0]["device_id"]


async def device_hint(tx: Transaction, named: str) -> str:
    """Which hostname may have been meant; empty where none is near."""
    named = clean_text(named).strip().lower()
    if not named:
        return ""
    for start in dict.fromkeys((named[: max(1, len(named) // 2)], named[:2], named[:1])):
        rows = await tx.rows(
            "SELECT hostname FROM muster_devices WHERE erased_at IS NULL AND SUBSTR(LOWER(hostname), 1, ?) = ?"
            f" ORDER BY hostname LIMIT {_LIKELY}",
            (len(start), start),
        )
        if hint := did_you_mean(named, {row[0] for row in rows}):
            return hint
    return ""


async def _found(tx: Transaction, where: str, *parameters: object) -> list[dict[str, Any]]:
    return await dicts(
        tx,
        f"{_SHOWN} FROM muster_devices WHERE {where} ORDER BY last_seen_at DESC, device_id LIMIT {MOST_CANDIDATES}",
        parameters,
    )
