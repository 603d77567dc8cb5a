"""Retiring and erasing devices. Of an erased one is left that it was there, from when to when, and its verdicts."""

from __future__ import annotations

from collections.abc import Set
from functools import partial

from server.normalize.persons import person_key
from server.normalize.times import iso, unix
from server.store.alert_messages import blank_messages
from server.store.assets import forget_asset
from server.store.calendar import fleet_day
from server.store.deletions import ERASURE, Doomed, Tombstone, delete_of, rows_of
from server.store.devices import keys_changed
from server.store.driver import Driver, StoreError, Transaction
from server.store.exemptions import forget_device
from server.store.registry import read_tables
from server.store.scope import note_devices, note_list

ERASED = "(erased)"
"""What stands where personal data was and something must."""
AGAIN_SECONDS = 3600
"""For so long after an erasure it is done again, for what was on its way into the database meanwhile."""

OF_A_DEVICE = (
    ("muster_runs_received", "muster_runs_received", "at"),
    ("muster_instants", "muster_instants", "at"),
    ("coverage", "muster_coverage", "first_at"),
    ("status_logs", "muster_status_logs", "at"),
    ("rejects", "muster_rejects", "digest"),
    ("clocks", "muster_clocks", "first_read_at"),
    ("clock_stretches", "muster_clock_stretches", "first_at"),
    ("devices_history", "muster_device_facts", "opened_seq"),
    ("posture_asked", "muster_asked", "asked_at"),
    ("muster_served", "muster_served", "since"),
    ("muster_batches", "muster_batches", "at"),
    ("posture_collectors", "muster_collectors", "enrolled_at"),
    ("posture_collector_gaps", "muster_gaps", "noted_at"),
    ("muster_canary_devices", "muster_canary_devices", "joined_at"),
)
"""Tables beside the queries' own whose rows of a device are deleted: public name, table, a column to go by."""
BLANKED = (
    *("muster_devices", "muster_node_keys", "muster_verdicts", "muster_exemptions", "muster_exempted"),
    *("muster_revisions", "muster_news", "muster_alerts", "muster_absences", "muster_erasures"),
)
"""Tables whose rows of a device stay without what is personal in them, or go at once."""


class NoDeviceError(StoreError):
    """There is no device of that id."""


async def device_no_of(tx: Transaction, device_id: str) -> int:
    """The number of a device. Raises ``NoDeviceError``."""
    found = await tx.row("SELECT device_no FROM muster_devices WHERE device_id = ?", (device_id,))
    if found is None:
        raise NoDeviceError(f"There is no device {device_id!r}: 'muster device list' shows them.")
    return int(found[0])


async def retire(tx: Transaction, device_id: str, now: float) -> str:
    """Let a device leave: its keys work no more, and days after today have no verdicts of it.

    Returns since when it is retired. One that enrols again comes back.
    """
    device_no = await device_no_of(tx, device_id)
    await tx.run(
        "UPDATE muster_devices SET retired_at = ? WHERE device_no = ? AND retired_at IS NULL", (iso(now), device_no)
    )
    await keys_changed(tx)
    await note_devices(tx, [device_no], now, "retired")
    found = await tx.row("SELECT retired_at FROM muster_devices WHERE device_no = ?", (device_no,))
    return str(found[0]) if found else iso(now)


async def begin_erasure(tx: Transaction, device_id: str, erased_by: str, reason: str, now: float) -> int:
    """Record that a device is to be erased, and take from its own row what tells whose it was; returns its number.

    From here on its keys are unknown, and the machine would enrol as a new device. Begun again, nothing changes.
    """
    device_no = await device_no_of(tx, device_id)
    at = iso(now)
    await tx.run(
        "INSERT INTO muster_erasures (device_no, device_id, existed_from, existed_to, requested_at, erased_by, reason)"
        " SELECT device_no, device_id, CASE WHEN enrolled_at = '' THEN in_scope_from ELSE enrolled_at END,"
        " CASE WHEN last_seen_at = '' THEN in_scope_from ELSE last_seen_at END,"
        " CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT)"
        " FROM muster_devices WHERE device_no = ? ON CONFLICT (device_no) DO NOTHING",
        (at, erased_by, reason, device_no),
    )
    await _take_names(tx, device_no, at)
    await keys_changed(tx)
    await note_devices(tx, [device_no], now, "erased")
    # The register tells nothing of it any more either.
    await note_list(tx, "assets", None, await fleet_day(tx, now), "erasure of a device")
    return device_no


async def erase(driver: Driver, device_no: int, now: float) -> int:
    """Delete everything of a device whose erasure has begun, in small steps; returns how many rows.

    It may be ended at any step and begun again.
    """
    found = await driver.read(
        lambda tx: tx.row("SELECT device_id, requested_at FROM muster_erasures WHERE device_no = ?", (device_no,))
    )
    if found is None:
        raise StoreError("An erasure has to be begun before it is done.")
    stone = Tombstone(ERASURE, found[1], found[0])
    tables = await driver.read(read_tables)
    doomed = [Doomed(what=what, table=table, where="1 = 1", order=order) for what, table, order in OF_A_DEVICE]
    doomed += [part for table in tables.values() for part in rows_of(table)]
    deleted = 0
    for part in doomed:
        deleted += await delete_of(driver, part, [device_no], stone, now)
    await driver.write(partial(_take_names, device_no=device_no, at=iso(now)))
    return deleted + await _erase_warnings(driver, stone, now)


async def _erase_warnings(driver: Driver, stone: Tombstone, now: float) -> int:
    """Delete what other devices' rejects tell of this one: a device with the same hardware is warned of by name."""
    told = await driver.read(
        lambda tx: tx.rows(
            "SELECT device_no, digest FROM muster_rejects WHERE reason LIKE ?", (f"%device {stone.device_id} (%",)
        )
    )

    async def work(tx: Transaction) -> None:
        await tx.many("DELETE FROM muster_rejects WHERE device_no = ? AND digest = ?", told)
        await stone.count(tx, "rejects", len(told), now)

    if told:
        await driver.write(work)
    return len(told)


async def finish_erasure(tx: Transaction, device_no: int, now: float) -> None:
    """Record that a device has been erased."""
    await tx.run(
        "UPDATE muster_erasures SET finished_at = ? WHERE device_no = ? AND finished_at IS NULL", (iso(now), device_no)
    )


async def go_on_erasing(driver: Driver, now: float) -> int:
    """Erase again whatever was begun and not finished, or finished not long ago; returns how many devices that are."""
    since = iso(now - AGAIN_SECONDS)
    begun = await driver.read(
        lambda tx: tx.rows(
            "SELECT device_no FROM muster_erasures WHERE finished_at IS NULL OR finished_at > ?", (since,)
        )
    )
    for (device_no,) in begun:
        await erase(driver, device_no, now)
        await driver.write(partial(finish_erasure, device_no=device_no, now=now))
    return len(begun)


async def _take_names(tx: Transaction, device_no: int, at: str) -> None:
    """Blank what is personal in the rows that stay, and end the runs of verdicts that went on."""
    found = await tx.row("SELECT serial FROM muster_devices WHERE device_no = ?", (device_no,))
    await forget_asset(tx, found[0] if found else "")
    await tx.run(
        "UPDATE muster_devices SET identity = NULL, hostname = ?, hardware_uuid = '', serial = '', os_name = '',"
        " os_version = '', osquery_version = '', instance_id = '', owner = '', tags = '', awake_since = NULL,"
        " retired_at = COALESCE(retired_at, CAST(? AS TEXT)), erased_at = COALESCE(erased_at, CAST(? AS TEXT))"
        " WHERE device_no = ?",
        (ERASED, at, at, device_no),
    )
    await tx.run("DELETE FROM muster_node_keys WHERE device_no = ?", (device_no,))
    await tx.run(
        "UPDATE muster_verdicts SET last_day = (SELECT MAX(e.day) FROM muster_evaluation e"
        " WHERE e.control_no = muster_verdicts.control_no) WHERE device_no = ? AND last_day IS NULL",
        (device_no,),
    )
    await blank_exemptions(tx, "device_no = ?", device_no)
    device = await tx.row("SELECT device_id FROM muster_devices WHERE device_no = ?", (device_no,))
    await blank_messages(tx, device[0] if device else "", ERASED)
    await forget_device(tx, device_no, unix(at))


async def blank_exemptions(tx: Transaction, which: str, value: object) -> None:
    """Blank what exemptions say of the device or person that ``which`` picks, a condition on a column with one value.

    Who approved, rejected and revoked them stays, for they did so in office. Alerts that they end soon say no more.
    """
    await tx.run(
        "UPDATE muster_alerts SET detail = ? WHERE kind = 'exemption_expiring' AND EXISTS (SELECT 1"
        " FROM muster_exemptions e WHERE muster_alerts.subject = e.exemption_id || ' ' || e.last_day"
        f" AND e.{which})",
        (ERASED, value),
    )
    await tx.run(
        "UPDATE muster_exemptions SET reason = ?, requested_by = ?,"
        " risk = CASE WHEN risk IS NULL THEN NULL ELSE CAST(? AS TEXT) END,"
        " compensating_control = CASE WHEN compensating_control IS NULL THEN NULL ELSE CAST(? AS TEXT) END,"
        " rejection_reason = CASE WHEN rejection_reason IS NULL THEN NULL ELSE CAST(? AS TEXT) END,"
        " revocation_reason = CASE WHEN revocation_reason IS NULL THEN NULL ELSE CAST(? AS TEXT) END,"
        f" link = NULL WHERE {which}",
        (*[ERASED] * 6, value),
    )


async def blank_person(tx: Transaction, names: Set[str], stone: str) -> None:
    """Blank what exemptions say of a person who goes by these names: of theirs all, of others' that they asked.

    They cover nothing more once ``follow`` has looked, for the stone in their place owns no device.
    """
    keys = {person_key(name) for name in names} - {""}
    for (subject,) in await tx.rows("SELECT DISTINCT subject FROM muster_exemptions WHERE scope = 'person'"):
        if person_key(subject) in keys:
            await blank_exemptions(tx, "subject = ? AND scope = 'person'", subject)
            await blank_messages(tx, f"person {subject}: ", ERASED)
            await tx.run(
                "UPDATE muster_exemptions SET subject = ? WHERE scope = 'person' AND subject = ?", (stone, subject)
            )
    for (asked,) in await tx.rows("SELECT DISTINCT requested_by FROM muster_exemptions"):
        if person_key(asked) in keys:
            await tx.run("UPDATE muster_exemptions SET requested_by = ? WHERE requested_by = ?", (stone, asked))
