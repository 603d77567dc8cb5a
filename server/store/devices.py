"""Devices: enrolment, node keys, and when a device was last heard of."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.catalog.assets import Asset
from server.normalize.devices import DeviceFacts
from server.normalize.machines import UNKNOWN, Machine
from server.normalize.times import iso
from server.store import rejects, twins
from server.store.access import hash_of, new_secret
from server.store.driver import Transaction
from server.store.register import registered
from server.wire.messages import BadLine

log = logging.getLogger(__name__)

_FACTS = ("hostname", "platform", "os_name", "os_version", "osquery_version")

_COLUMNS = (
    *("device_no", "device_id", "identity", "hostname", "hardware_uuid", "serial", "platform", "os_name", "os_version"),
    *("osquery_version", "instance_id", "owner", "tags", "in_scope_from", "enrolled_at", "last_seen_at"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the ingest path needs it: with the machine its key was given to, and when (ISO-8601, UTC)."""

    device_no: int
    device_id: str
    platform: str
    machine: Machine = UNKNOWN
    key_issued_at: str = ""


async def enroll(tx: Transaction, facts: DeviceFacts, host_identifier: str, now: float) -> str:
    """Enrol a device and return its new node key.

    A machine that is known by its identity keeps its device; its older keys are revoked, so that a copied key dies.
    """
    device_no = await find_or_add(tx, facts, now)
    at = iso(now)
    await revoke_keys(tx, device_no, at)
    node_key = new_secret("msn")
    await tx.run(
        "INSERT INTO muster_node_keys (key_hash, device_no, issued_at, host_identifier) VALUES (?, ?, ?, ?)",
        (hash_of(node_key), device_no, at, host_identifier[:255]),
    )
    return node_key


async def revoke_keys(tx: Transaction, device_no: int, at: str) -> None:
    """Take a device's node keys out of use, and let every process know within seconds."""
    revoked = await tx.run(
        "UPDATE muster_node_keys SET revoked_at = ? WHERE device_no = ? AND revoked_at IS NULL", (at, device_no)
    )
    if revoked:
        await keys_changed(tx)


async def keys_changed(tx: Transaction) -> None:
    """Note that a key is out of use, or that its device is another to whoever knew it."""
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES ('keys', ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (str(await tx.seq()),),
    )


async def keys_version(tx: Transaction) -> str:
    """What changes whenever a key is taken out of use."""
    found = await tx.row("SELECT value FROM muster_meta WHERE key = 'keys'")
    return str(found[0]) if found else ""


async def find_or_add(tx: Transaction, facts: DeviceFacts, now: float) -> int:
    """The number of the device these facts are of, added if it is new and brought up to date if it is not.

    A machine that the asset register named before it was ever seen takes over the device that stood for it.
    """
    at = iso(now)
    identity, device_no, warning = await twins.whose(tx, facts, now)
    asset = await registered(tx, facts.serial) if device_no is None else None
    if asset is not None and asset.device_no is not None:
        device_no = asset.device_no
        await tx.run(
            "UPDATE muster_devices SET identity = ?, enrolled_at = ? WHERE device_no = ?", (identity, at, device_no)
        )
    if device_no is not None:
        await tx.run(
            "UPDATE muster_devices SET hostname = ?, hardware_uuid = ?, serial = ?, platform = ?, os_name = ?,"
            " os_version = ?, osquery_version = ?, instance_id = ?, last_seen_at = ?, retired_at = NULL"
            " WHERE device_no = ?",
            (*_row(facts), at, device_no),
        )
    else:
        owned = (asset.owner, asset.tags) if asset else ("", "")
        device_no = await _next_no(tx)
        await tx.insert(
            "muster_devices", _COLUMNS, [(device_no, _new_id(), identity, *_row(facts), *owned, at, at, at)]
        )
    if warning:
        log.warning("device %s", warning)
        await rejects.keep(tx, device_no, [BadLine(reason=warning, sample="")], now)
    await _remember_facts(tx, device_no, facts, at)
    return device_no


async def add_expected(tx: Transaction, expected: Sequence[tuple[Asset, str]]) -> None:
    """Add devices for machines that only the asset register knows, each with the instant its scope begins.

    They are silent until they enrol.
    """
    first = await _next_no(tx)
    rows = []
    for number, (asset, in_scope_from) in enumerate(expected, first):
        facts = DeviceFacts(
            hostname=asset.hostname,
            hardware_uuid="",
            serial=asset.shown,
            platform=asset.platform,
            os_name="",
            os_version="",
            osquery_version="",
        )
        rows.append((number, _new_id(), None, *_row(facts), asset.owner, asset.tags, in_scope_from, "", ""))
    await tx.insert("muster_devices", _COLUMNS, rows)


async def device_of_key(tx: Transaction, node_key: str) -> Device | None:
    """The device a node key was given to; None for a key that is unknown, revoked, or whose device has retired."""
    found = await tx.row(
        "SELECT d.device_no, d.device_id, d.platform, d.hardware_uuid, d.serial, k.issued_at FROM muster_node_keys k"
        " JOIN muster_devices d ON d.device_no = k.device_no"
        " WHERE k.key_hash = ? AND k.revoked_at IS NULL AND d.retired_at IS NULL",
        (hash_of(node_key),),
    )
    if found is None:
        return None
    device_no, device_id, platform, uuid, serial, issued_at = found
    return Device(device_no, device_id, platform, Machine(uuid, serial), issued_at)


HEARD_SECONDS = 15
"""How exact ``last_seen_at`` is; within it a device is not written down again."""


async def heard(tx: Transaction, told: Iterable[tuple[int, int | None]], now: float) -> None:
    """Note that devices were heard of, with the oldest instant each told of, from which on it is in scope."""
    at = iso(now)
    earliest: dict[int, str] = {}
    for device_no, oldest in told:
        since = at if oldest is None else iso(oldest)
        earliest[device_no] = min(earliest.get(device_no, since), since)
    unless_since = iso(now - HEARD_SECONDS)
    await tx.many(
        "UPDATE muster_devices"
        " SET last_seen_at = CASE WHEN last_seen_at < CAST(? AS TEXT) THEN CAST(? AS TEXT) ELSE last_seen_at END,"
        " in_scope_from = CASE WHEN in_scope_from > CAST(? AS TEXT) THEN CAST(? AS TEXT) ELSE in_scope_from END"
        " WHERE device_no = ? AND (last_seen_at < ? OR in_scope_from > ?)",
        [(at, at, since, since, number, unless_since, since) for number, since in sorted(earliest.items())],
    )


async def _next_no(tx: Transaction) -> int:
    top = await tx.row("SELECT COALESCE(MAX(device_no), 0) + 1 FROM muster_devices")
    return int(top[0]) if top else 1


def _new_id() -> str:
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def _row(facts: DeviceFacts) -> tuple[str, ...]:
    return (
        facts.hostname,
        facts.hardware_uuid,
        facts.serial,
        facts.platform,
        facts.os_name,
        facts.os_version,
        facts.osquery_version,
        facts.instance_id,
    )


async def _remember_facts(tx: Transaction, device_no: int, facts: DeviceFacts, at: str) -> None:
    now = tuple(getattr(facts, name) for name in _FACTS)
    last = await tx.row(
        f"SELECT {', '.join(_FACTS)} FROM muster_device_facts WHERE device_no = ? AND valid_to IS NULL", (device_no,)
    )
    if last == now:
        return
    await tx.run(
        "UPDATE muster_device_facts SET valid_to = ? WHERE device_no = ? AND valid_to IS NULL", (at, device_no)
    )
    await tx.run(
        f"INSERT INTO muster_device_facts (device_no, valid_from, {', '.join(_FACTS)}, opened_seq)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (device_no, at, *now, await tx.seq()),
    )
