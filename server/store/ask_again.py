"""Asking a device again now, because a person wants to know; and what came of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.catalog.asked import Asked
from server.catalog.catalog import Catalog
from server.normalize.times import iso
from server.store import asked
from server.store.applications import tags_of
from server.store.calendar import fleet_day
from server.store.coverage import DENYLISTED
from server.store.devices import Device
from server.store.driver import StoreError, Transaction, dicts
from server.store.in_force import InForce
from server.store.registry import read_tables

SHOWN = (
    "query, version, day, why, asked_by, asked_at, ask_at, sent, sent_at, via, answered_at, outcome, message,"
    " wall_time_ms, user_time, system_time, memory"
)
"""The columns of ``posture_asked`` that tell of a question to a known device."""


class NotAskedError(StoreError):
    """A device cannot be asked what is wanted; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """What a device is asked: queries by name, and those it is not asked, with the reason. Times are ISO-8601, UTC."""

    device_id: str
    hostname: str
    last_seen_at: str
    asked_at: str
    asked_by: str
    control: str | None
    queries: list[str]
    skipped: dict[str, str]


async def ask_again(
    tx: Transaction, in_force: InForce, named: str, control: str | None, by: str, now: float
) -> AskedAgain:
    """Ask a device, by id or hostname, for all that verdicts rest on, or for what one control's does.

    It is asked when it calls next, and once more where it was being asked already. Raises ``NotAskedError``.
    """
    device, hostname, last_seen_at = await _device(tx, named)
    part = in_force.of(device)
    judged = {name: one for name, one in part.configs.of(device).asked.items() if one.judged}
    if control is not None:
        judged = _of_control(part.catalog, control, device.platform, judged)
    if not judged:
        shown = hostname or device.device_id
        raise NotAskedError(f"Nothing that is judged is asked of {shown}: no pack brings it any.")
    tables = {name: table.name for name, table in (await read_tables(tx)).items() if name in judged}
    words = await asked.last_words(tx, [(device.device_no, table) for table in tables.values()])
    skipped = {
        name: "osquery has denylisted it"
        for name, word in zip(tables, words, strict=True)
        if word and (word.status, word.version) == (DENYLISTED, judged[name].version)
    }
    put = [(device.device_no, tables[name], judged[name].version) for name in sorted(tables) if name not in skipped]
    await _withdraw(tx, put, iso(now))
    await asked.put(tx, put, asked.BY_PERSON, by, await fleet_day(tx, now), now)
    return AskedAgain(
        device_id=device.device_id,
        hostname=hostname,
        last_seen_at=last_seen_at,
        asked_at=iso(now),
        asked_by=by,
        control=control,
        queries=[name for name in sorted(tables) if name not in skipped],
        skipped=skipped,
    )


async def _device(tx: Transaction, named: str) -> tuple[Device, str, str]:
    rows = await tx.rows(
        "SELECT device_no, device_id, platform, osquery_version, tags, hostname, last_seen_at FROM muster_devices"
        " WHERE (device_id = ? OR hostname = ?) AND retired_at IS NULL AND erased_at IS NULL AND enrolled_at <> ''"
        " ORDER BY device_id",
        (named, named),
    )
    if not rows:
        raise NotAskedError(f"There is no device {named!r} in use: 'muster device list' shows them.")
    if len(rows) > 1:
        ids = ", ".join(row[1] for row in rows)
        raise NotAskedError(f"{len(rows)} devices have the hostname {named!r}: give one of their ids, {ids}.")
    number, device_id, platform, osquery_version, tags, hostname, last_seen_at = rows[0]
    device = Device(number, device_id, platform, osquery_version=osquery_version, tags=tags_of(tags))
    return device, hostname, last_seen_at


def _of_control(catalog: Catalog, control: str, platform: str, judged: Mapping[str, Asked]) -> dict[str, Asked]:
    """What of the judged queries a control's verdict rests on. Raises ``NotAskedError`` where it has none."""
    loaded = next((one for one in catalog.judged() if one.control_id == control), None)
    if loaded is None:
        raise NotAskedError(f"No pack asks for a control {control!r}.")
    rule = loaded.control.judging_rule(platform)
    queries = rule.queries if rule else ()
    found = {name: judged[name] for name in queries if name in judged}
    if not found:
        raise NotAskedError(f"The control {control!r} asks nothing of this device: it is not for it.")
    return found


async def _withdraw(tx: Transaction, put: Sequence[tuple[int, str, str]], at: str) -> None:
    """Questions that are open already give way to the new ones; one that was put in this very second is the new one."""
    sent = "SELECT 1 FROM muster_asked WHERE device_no = ? AND table_name = ? AND outcome IS NULL AND sent > 0"
    if any(await tx.each(sent, [one[:2] for one in put])):
        await asked.note_withdrawn(tx)
    await tx.many(
        "UPDATE muster_asked SET outcome = 'withdrawn', message = 'asked again' WHERE device_no = ? AND table_name = ?"
        " AND outcome IS NULL AND asked_at <> ?",
        [(device_no, table, at) for device_no, table, _ in put],
    )


async def questions(tx: Transaction, device_id: str, since: str = "") -> list[dict[str, Any]]:
    """The newest question of each query to a device, asked at or after an instant (ISO-8601, UTC); newest first."""
    return await dicts(
        tx,
        f"SELECT {SHOWN} FROM posture_asked a WHERE a.device_id = ? AND a.asked_at >= ? AND a.asked_at ="
        " (SELECT MAX(n.asked_at) FROM posture_asked n WHERE n.device_id = a.device_id AND n.query = a.query)"
        " ORDER BY a.asked_at DESC, a.query",
        (device_id, since),
    )
