"""The asset register: which machines there are, whether they were ever seen or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, NamedTuple

from server.catalog.assets import IN_USE, Asset
from server.normalize.calendar import shifted
from server.normalize.devices import usable_serial
from server.normalize.times import iso
from server.store.applications import join_canary
from server.store.devices import add_expected, keys_changed, remember_absences, tags_changed
from server.store.driver import Transaction
from server.store.exemptions import follow
from server.store.imports import ADDED, BACK, CHANGED, MISSING, Changes, Import, differences, record
from server.store.scope import note_registered

ALWAYS = "9999-12-31"
_COLUMNS = ("hostname", "platform", "model", "owner", "status", "tags", "in_scope_from")
_DECIDING = ("platform", "owner", "status", "in_scope_from")
"""What a device's verdicts may rest on."""
_TOLD = frozenset({"status", "since", "in_scope_from"})
_END = "UPDATE muster_asset_history SET to_day = ? WHERE serial = ? AND to_day > ?"


class _Device(NamedTuple):
    """What is known of the device with an asset's serial."""

    device_no: int
    enrolled: bool
    in_scope_from: str


async def plan_assets(tx: Transaction, assets: Sequence[Asset], columns: frozenset[str]) -> Changes:
    """What a file of assets changes; nothing is written. What a file has no column for stays as it was."""
    return _compared(await _known(tx), assets, columns)[0]


def _compared(
    known: Mapping[str, Mapping[str, Any]], assets: Sequence[Asset], columns: frozenset[str]
) -> tuple[Changes, list[Asset]]:
    """What a file of assets changes of what is known, and the entries that do."""
    changes, written = Changes(len(assets)), []
    for asset in assets:
        old = known.get(asset.serial)
        if old is None:
            written.append(asset)
            changes.note(asset.serial, ADDED)
            changes.count_from(asset.since, asset.in_scope_from)
            continue
        asset = _completed(asset, old, columns)
        new = {name: getattr(asset, name) for name in ("shown", *_COLUMNS)}
        new["since"] = asset.since or old["since"]
        detail = differences(old, new, _TOLD)
        if not detail and not old["missing_since"]:
            continue
        written.append(asset)
        changes.note(asset.serial, BACK if old["missing_since"] else CHANGED, detail)
        changes.count_from(asset.since, old["since"] if asset.since else None)
        if old["in_scope_from"] != asset.in_scope_from:
            changes.count_from(asset.in_scope_from, old["in_scope_from"])
    named = {asset.serial for asset in assets}
    for serial, old in known.items():
        if serial not in named and old["missing_since"] is None:
            changes.note(serial, MISSING)
    return changes, written


async def import_assets(
    tx: Transaction,
    source: Import,
    assets: Sequence[Asset],
    columns: frozenset[str],
    start_of: Callable[[date], str],
) -> Changes:
    """Bring the register to what a file says, all of it; ``start_of`` gives the instant at which a day begins.

    A machine in use that never enrolled gets a device of its own that is in scope and silent. One that left the
    register's use is retired. What a file does not name any more stays in scope, and is marked.
    """
    known = await _known(tx)
    changes, written = _compared(known, assets, columns)
    name = await record(tx, source, changes)
    if not name:
        return changes
    at = iso(source.now)
    updates = ", ".join(f"{name} = excluded.{name}" for name in ("serial_shown", *_COLUMNS))
    await tx.many(
        f"INSERT INTO muster_assets (serial, serial_shown, {', '.join(_COLUMNS)}, added_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (serial) DO UPDATE SET {updates}, missing_since = NULL",
        [(a.serial, a.shown, *(getattr(a, name) for name in _COLUMNS), at) for a in written],
    )
    await _keep_history(tx, written, known, source.today)
    gone = [serial for serial, (change, _) in changes.of.items() if change == MISSING]
    await tx.many("UPDATE muster_assets SET missing_since = ? WHERE serial = ?", [(at, serial) for serial in gone])
    await tx.many(_END, [(source.today, serial, source.today) for serial in gone])
    await _bring_devices(tx, written, known, source, start_of, name)
    return changes


async def forget_asset(tx: Transaction, serial: str) -> None:
    """Take what the register says of a machine away; a file that still names it brings it back."""
    key = usable_serial(serial)
    if not key:
        return
    await tx.run("DELETE FROM muster_assets WHERE serial = ?", (key,))
    await tx.run("DELETE FROM muster_asset_history WHERE serial = ?", (key,))
    await tx.run(
        "DELETE FROM muster_import_changes WHERE subject = ?"
        " AND import_no IN (SELECT import_no FROM muster_imports WHERE kind = 'assets')",
        (key,),
    )


def _completed(asset: Asset, old: Mapping[str, Any], columns: frozenset[str]) -> Asset:
    """An asset with what is known of it already, where the file has no column for that."""
    return Asset(**{**asdict(asset), **{name: old[name] for name in _COLUMNS if name not in columns}})


async def _known(tx: Transaction) -> dict[str, dict[str, Any]]:
    names = ("shown", *_COLUMNS, "missing_since", "since")
    rows = await tx.rows(
        f"SELECT a.serial, a.serial_shown, {', '.join(f'a.{name}' for name in _COLUMNS)}, a.missing_since,"
        " (SELECT MAX(h.from_day) FROM muster_asset_history h WHERE h.serial = a.serial) FROM muster_assets a"
    )
    return {serial: dict(zip(names, values, strict=True)) for serial, *values in rows}


async def _keep_history(
    tx: Transaction, written: Sequence[Asset], known: Mapping[str, Mapping[str, Any]], today: str
) -> None:
    """Begin a new entry for every asset whose status or owner is another from a day on: its first holds for ever."""
    begun = []
    for asset in written:
        old = known.get(asset.serial)
        same = old and (asset.status, asset.owner) == (old["status"], old["owner"]) and not old["missing_since"]
        if same and asset.since in (None, old and old["since"]):
            continue
        begun.append((asset.since or (today if old else ""), asset))
    await tx.many(
        "DELETE FROM muster_asset_history WHERE serial = ? AND from_day >= ?", [(a.serial, day) for day, a in begun]
    )
    await tx.many(_END, [(day, asset.serial, day) for day, asset in begun])
    await tx.insert(
        "muster_asset_history",
        ("serial", "from_day", "to_day", "status", "owner", "owner_key"),
        [(asset.serial, day, ALWAYS, asset.status, asset.owner, asset.owner.lower()) for day, asset in begun],
    )


async def _bring_devices(
    tx: Transaction,
    written: Sequence[Asset],
    known: Mapping[str, Mapping[str, Any]],
    source: Import,
    start_of: Callable[[date], str],
    name: str,
) -> None:
    """Bring the devices to what the register says of them, and add those that are expected."""
    devices, at = await _devices(tx), iso(source.now)
    today = start_of(date.fromisoformat(source.today))
    expected: list[tuple[Asset, str]] = []
    news: list[tuple[int, str | None]] = []
    owned, told, scopes, left, back = [], [], [], [], []
    for asset in written:
        device, old = devices.get(asset.serial), known.get(asset.serial)
        scope = start_of(date.fromisoformat(asset.in_scope_from)) if asset.in_scope_from else None
        if device is None:
            if asset.in_scope:
                expected.append((asset, scope or today))
            continue
        number = device.device_no
        news += _news_of(asset, old, device, scope)
        owned.append((asset.owner, number))
        if not device.enrolled:
            told.append((asset.hostname, asset.platform, asset.shown, number))
        if scope and (not device.enrolled or scope < device.in_scope_from):
            scopes.append((scope, number))
        used = old is None or old["status"] in IN_USE
        if used and not asset.in_scope:
            left.append((at, number))
        elif asset.in_scope and not used:
            back.append((number,))
    added = await add_expected(tx, expected)
    news += [(number, asset.in_scope_from) for number, (asset, _) in zip(added, expected, strict=True)]
    await note_registered(tx, news, source.today, name)
    update = "UPDATE muster_devices SET {} WHERE device_no = ?"
    await tx.many(update.format("owner = ?"), owned)
    await tx.many(update.format("hostname = ?, platform = ?, serial = ?"), told)
    await tx.many(update.format("in_scope_from = ?"), scopes)
    await tx.many(update.format("retired_at = ?") + " AND retired_at IS NULL", left)
    await remember_absences(tx, [number for (number,) in back], at)
    await tx.many(update.format("retired_at = NULL"), back)
    if left:
        await keys_changed(tx)
    await join_canary(tx, [number for (number,) in back], at)
    await _tag(tx, written, known, devices, source.now)
    await follow(tx, None, source.now)


def _news_of(
    asset: Asset, old: Mapping[str, Any] | None, device: _Device, scope: str | None
) -> list[tuple[int, str | None]]:
    """From which day on the verdicts of an asset's device may be others, if any; None for from now on."""
    if asset.in_scope_from and scope and scope != device.in_scope_from:
        # The day before that of the instant in UTC is no later than the fleet's, whatever its zone.
        before = shifted(device.in_scope_from[:10], -1)
        return [(device.device_no, min(asset.in_scope_from, before))]
    if old is None or any(getattr(asset, what) != old[what] for what in _DECIDING):
        return [(device.device_no, None)]
    return []


async def _tag(
    tx: Transaction,
    written: Sequence[Asset],
    known: Mapping[str, Mapping[str, Any]],
    devices: Mapping[str, _Device],
    now: float,
) -> None:
    """Give devices the tags that are new in the register; else they stay as ``muster device tag`` left them."""
    tagged = [
        (asset.tags, devices[asset.serial].device_no)
        for asset in written
        if asset.serial in devices and asset.tags != (known[asset.serial]["tags"] if asset.serial in known else "")
    ]
    await tx.many("UPDATE muster_devices SET tags = ? WHERE device_no = ?", tagged)
    if tagged:
        await tags_changed(tx, [number for _, number in tagged], now)


async def _devices(tx: Transaction) -> dict[str, _Device]:
    """The device of every serial; of several with one serial that which was heard of last."""
    rows = await tx.rows(
        "SELECT serial, device_no, enrolled_at, in_scope_from FROM muster_devices"
        " WHERE serial <> '' AND erased_at IS NULL ORDER BY last_seen_at, device_no"
    )
    return {
        usable_serial(serial): _Device(number, enrolled_at != "", scope) for serial, number, enrolled_at, scope in rows
    }
