"""Devices: enrolment, node keys, and when a device was last heard of."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from server.catalog.assets import Asset
from server.normalize.devices import DeviceFacts
from server.normalize.machines import UNKNOWN, Machine
from server.normalize.times import iso
from server.store import rejects, twins
from server.store.access import hash_of, new_secret
from server.store.applications import join_canary, tags_of
from server.store.collectors import note_enrolled
from server.store.driver import StoreError, Transaction
from server.store.exemptions import follow
from server.store.meta import keep_value, value_of
from server.store.register import registered
from server.store.scope import note_devices
from server.wire.messages import BadLine

log = logging.getLogger(__name__)

OSQUERY, COLLECTOR = "osquery", "collector"
"""The agents of a device, each with a node key of its own."""

_FACTS = ("hostname", "platform", "os_name", "os_version", "osquery_version")

_COLUMNS = (
    *("device_no", "device_id", "identity", "hostname", "hardware_uuid", "serial", "platform", "os_name", "os_version"),
    *("osquery_version", "instance_id", "owner", "tags", "in_scope_from", "enrolled_at", "last_seen_at"),
    "awake_since",
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as its requests need it: with the machine its key was given to, and when (ISO-8601, UTC).

    What decides its config is here too; whoever changes it calls ``keys_changed``. ``agent`` tells whose key it is.
    """

    device_no: int
    device_id: str
    platform: str
    machine: Machine = UNKNOWN
    key_issued_at: str = ""
    osquery_version: str = ""
    tags: frozenset[str] = frozenset()
    agent: str = OSQUERY


async def enroll(
    tx: Transaction, facts: DeviceFacts, host_identifier: str, now: float, collector: str | None = None
) -> str:
    """Enrol a device and return the new node key of osquery, or of the ``collector`` of that version.

    A machine that is known by its identity keeps its device; older keys of this agent are revoked, so that a copied key
    dies. The other agent's stays in use.
    """
    agent = OSQUERY if collector is None else COLLECTOR
    device_no = await find_or_add(tx, facts, now, agent)
    at = iso(now)
    await revoke_keys(tx, device_no, agent, at)
    node_key = new_secret("msn" if collector is None else "msc")
    await tx.run(
        "INSERT INTO muster_node_keys (key_hash, device_no, issued_at, host_identifier, kind, hostname)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (hash_of(node_key), device_no, at, host_identifier[:255], agent, facts.hostname),
    )
    if collector is not None:
        await note_enrolled(tx, device_no, collector, now)
    return node_key


async def revoke_keys(tx: Transaction, device_no: int, agent: str, at: str) -> None:
    """Take the node keys of a device's agent out of use, and let every process know within seconds."""
    revoked = await tx.run(
        "UPDATE muster_node_keys SET revoked_at = ? WHERE device_no = ? AND kind = ? AND revoked_at IS NULL",
        (at, device_no, agent),
    )
    if revoked:
        await keys_changed(tx)


async def keys_changed(tx: Transaction) -> None:
    """Note that a key is out of use, or that its device is another to whoever knew it."""
    await keep_value(tx, "keys", str(await tx.seq()))


async def keys_version(tx: Transaction) -> str:
    """What changes whenever a key is taken out of use."""
    return await value_of(tx, "keys") or ""


async def find_or_add(tx: Transaction, facts: DeviceFacts, now: float, agent: str = OSQUERY) -> int:
    """The number of the device these facts are of, added if it is new and brought up to date if it is not.

    A machine that the asset register named before it was ever seen takes over the device that stood for it.
    """
    at = iso(now)
    identity, device_no, warning = await twins.whose(tx, facts, now, agent)
    asset = await registered(tx, facts.serial) if device_no is None else None
    news = "enrolled"
    if asset is not None and asset.device_no is not None:
        device_no = asset.device_no
        await tx.run(
            "UPDATE muster_devices SET identity = ?, enrolled_at = ?, in_scope_from = CASE"
            " WHEN in_scope_from > CAST(? AS TEXT) THEN CAST(? AS TEXT) ELSE in_scope_from END WHERE device_no = ?",
            (identity, at, at, at, device_no),
        )
    elif device_no is not None:
        news = await _news_of(tx, device_no, facts)
    if device_no is not None:
        await remember_absences(tx, [device_no], at)
        await tx.run(
            "UPDATE muster_devices SET hostname = ?, hardware_uuid = ?, serial = ?, platform = ?, os_name = ?,"
            " os_version = ?, osquery_version = ?, instance_id = ?, last_seen_at = ?, awake_since = ?,"
            " retired_at = NULL WHERE device_no = ?",
            (*_row(facts), at, at, device_no),
        )
    else:
        owned = (asset.owner, asset.tags) if asset else ("", "")
        device_no = await highest_no(tx) + 1
        await tx.insert(
            "muster_devices", _COLUMNS, [(device_no, _new_id(), identity, *_row(facts), *owned, at, at, at, at)]
        )
        if any(owned):
            await follow(tx, [device_no], now)
    await join_canary(tx, [device_no], at)
    if news:
        await note_devices(tx, [device_no], now, news)
    if warning:
        log.warning("device %s", warning)
        await rejects.keep(tx, device_no, [BadLine(reason=warning, sample="")], now)
    await _remember_facts(tx, device_no, facts, at)
    return device_no


async def remember_absences(tx: Transaction, device_nos: Iterable[int], back_at: str) -> None:
    """Remember from when to when devices that come back now had left: they were not of the fleet meanwhile."""
    await tx.many(
        "INSERT INTO muster_absences (device_no, left_at, back_at) SELECT device_no, retired_at, CAST(? AS TEXT)"
        " FROM muster_devices WHERE device_no = ? AND retired_at IS NOT NULL ON CONFLICT DO NOTHING",
        [(back_at, number) for number in device_nos],
    )


async def _news_of(tx: Transaction, device_no: int, facts: DeviceFacts) -> str:
    """What an enrolment changes for the verdicts of a device that is known, in words."""
    found = await tx.row("SELECT platform, retired_at FROM muster_devices WHERE device_no = ?", (device_no,))
    if found is None or found[1] is not None:
        return "came back"
    return f"platform {found[0] or '–'} → {facts.platform or '–'}" if found[0] != facts.platform else ""


async def add_expected(tx: Transaction, expected: Sequence[tuple[Asset, str]]) -> list[int]:
    """Add devices for machines that only the asset register knows, each with the instant its scope begins.

    They are silent until they enrol. Returns their numbers.
    """
    first = await highest_no(tx) + 1
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
        rows.append((number, _new_id(), None, *_row(facts), asset.owner, asset.tags, in_scope_from, "", "", None))
    await tx.insert("muster_devices", _COLUMNS, rows)
    return list(range(first, first + len(rows)))


async def note_osquery(tx: Transaction, device_no: int, version: str, at: str) -> None:
    """Note the version of osquery that a device told at an instant, unless something later is known."""
    facts = ", ".join(f"d.{name}" for name in _FACTS)
    found = await tx.row(
        f"SELECT f.valid_from, {facts} FROM muster_devices d"
        " JOIN muster_device_facts f ON f.device_no = d.device_no AND f.valid_to IS NULL WHERE d.device_no = ?",
        (device_no,),
    )
    if found is None or found[-1] == version or found[0] >= at:
        return
    await tx.run("UPDATE muster_devices SET osquery_version = ? WHERE device_no = ?", (version, device_no))
    await _remember(tx, device_no, (*found[1:-1], version), at)
    await keys_changed(tx)


async def tag(tx: Transaction, device_id: str, add: Set[str], remove: Set[str], now: float) -> list[str]:
    """Give a device tags and take others from it; returns those it has then. Raises ``StoreError`` for no device."""
    found = await tx.row(
        "SELECT device_no, tags FROM muster_devices WHERE device_id = ? AND erased_at IS NULL", (device_id,)
    )
    if found is None:
        raise StoreError(f"There is no device {device_id!r}: 'muster device list' names them.")
    tags = (tags_of(found[1]) | {one.lower() for one in add}) - {one.lower() for one in remove}
    await set_tags(tx, found[0], tags, now)
    return sorted(tags)


async def set_tags(tx: Transaction, device_no: int, tags: Collection[str], now: float) -> bool:
    """Give a device exactly these tags; returns whether it had others. What goes by tags does so within seconds.

    They are kept in lower case, sorted, with commas between.
    """
    text = ",".join(sorted({one.lower() for one in tags}))
    if not await tx.run(
        "UPDATE muster_devices SET tags = ? WHERE device_no = ? AND tags <> ?", (text, device_no, text)
    ):
        return False
    await tags_changed(tx, [device_no], now)
    return True


async def tags_changed(tx: Transaction, device_nos: Sequence[int], now: float) -> None:
    """Let packs, canaries and exemptions that go by tags reach these devices, or not, within seconds."""
    await keys_changed(tx)
    await join_canary(tx, device_nos, iso(now))
    await follow(tx, device_nos, now)
    await note_devices(tx, device_nos, now, "tags")


async def device_of_key(tx: Transaction, node_key: str) -> Device | None:
    """The device a node key was given to; None for a key that is unknown, revoked, or whose device has retired."""
    return (await devices_of_keys(tx, [node_key]))[0]


async def devices_of_keys(tx: Transaction, node_keys: Sequence[str]) -> list[Device | None]:
    """As ``device_of_key`` for many, in their order."""
    found = await tx.each(
        "SELECT d.device_no, d.device_id, d.platform, d.hardware_uuid, d.serial, k.issued_at, d.osquery_version,"
        " d.tags, k.kind"
        " FROM muster_node_keys k"
        " JOIN muster_devices d ON d.device_no = k.device_no"
        " WHERE k.key_hash = ? AND k.revoked_at IS NULL AND d.retired_at IS NULL",
        [(hash_of(node_key),) for node_key in node_keys],
    )
    return [_device(rows[0]) if rows else None for rows in found]


def _device(row: Sequence[Any]) -> Device:
    device_no, device_id, platform, uuid, serial, issued_at, osquery_version, tags, agent = row
    machine = Machine(uuid, serial)
    return Device(device_no, device_id, platform, machine, issued_at, osquery_version, tags_of(tags), agent)


HEARD_SECONDS = 15
"""How exact ``last_seen_at`` is; within it a device is not written down again."""
AWAKE_SECONDS = 300
"""A device that is not heard of for longer has slept: five times as long as osquery takes to ask for questions."""


async def heard(tx: Transaction, told: Iterable[tuple[int, int | None]], now: float) -> None:
    """Note that devices were heard of, with the oldest instant each told of, from which on it is in scope."""
    at = iso(now)
    earliest: dict[int, str] = {}
    for device_no, oldest in told:
        since = at if oldest is None else iso(oldest)
        earliest[device_no] = min(earliest.get(device_no, since), since)
    unless_since, slept = iso(now - HEARD_SECONDS), iso(now - AWAKE_SECONDS)
    await tx.many(
        "UPDATE muster_devices"
        " SET awake_since = CASE WHEN awake_since IS NULL OR last_seen_at < CAST(? AS TEXT) THEN CAST(? AS TEXT)"
        " ELSE awake_since END,"
        " last_seen_at = CASE WHEN last_seen_at < CAST(? AS TEXT) THEN CAST(? AS TEXT) ELSE last_seen_at END,"
        " in_scope_from = CASE WHEN in_scope_from > CAST(? AS TEXT) THEN CAST(? AS TEXT) ELSE in_scope_from END"
        " WHERE device_no = ? AND (last_seen_at < ? OR in_scope_from > ?)",
        [(slept, at, at, at, since, since, number, unless_since, since) for number, since in sorted(earliest.items())],
    )


async def highest_no(tx: Transaction) -> int:
    """The highest number of a device; 0 if there are none."""
    top = await tx.row("SELECT COALESCE(MAX(device_no), 0) FROM muster_devices")
    return int(top[0]) if top else 0


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
    await _remember(tx, device_no, tuple(getattr(facts, name) for name in _FACTS), at)


async def _remember(tx: Transaction, device_no: int, now: tuple[str, ...], at: str) -> None:
    """``now`` are the values of ``_FACTS``."""
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
