"""Whom exemptions cover: on a day, and from today on, as tags and owners of devices change."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from server.normalize.calendar import shifted
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.news import CONTROL, News, note

DEVICE, TAG, PERSON = SCOPES = ("device", "tag", "person")

EXEMPTED = "SELECT DISTINCT device_no FROM muster_exempted WHERE control = ? AND first_day <= ? AND last_day >= ?"
"""The devices that are exempt from a control on a day. Parameters: the control, the day, the day."""
_FEW = 500
"""Of more devices than these all are looked at: no statement takes any number of parameters."""


class Granted(NamedTuple):
    """An approved exemption, as far as it decides who is covered."""

    exemption_id: str
    control: str
    scope: str
    subject: str
    first_day: str
    last_day: str


async def exempted(tx: Transaction, control: str, day: str) -> set[int]:
    """The numbers of the devices that an exemption from ``control`` covers on ``day`` (YYYY-MM-DD).

    Tags and persons are resolved: a device is covered on the days it had the tag, or was the person's, at their end.
    """
    return {number for (number,) in await tx.rows(EXEMPTED, (control, day, day))}


async def cover(tx: Transaction, granted: Granted, device_nos: Collection[int], day: str) -> None:
    """Let an exemption cover devices from ``day`` on, or from its first day where that is later."""
    begin = max(day, granted.first_day)
    await tx.many(
        "INSERT INTO muster_exempted (exemption_id, device_no, control, first_day, last_day) VALUES (?, ?, ?, ?, ?)",
        [(granted.exemption_id, number, granted.control, begin, granted.last_day) for number in sorted(device_nos)],
    )
    await _tell(tx, granted, device_nos, begin)


async def uncover(tx: Transaction, granted: Granted, device_nos: Collection[int], day: str) -> None:
    """Let an exemption cover devices no more from ``day`` on; the days before stay covered."""
    which = "exemption_id = ? AND device_no = ?"
    yesterday = shifted(day, -1)
    keys = [(granted.exemption_id, number) for number in sorted(device_nos)]
    await tx.many(f"DELETE FROM muster_exempted WHERE {which} AND first_day >= ?", [(*key, day) for key in keys])
    await tx.many(
        f"UPDATE muster_exempted SET last_day = ? WHERE {which} AND last_day >= ?",
        [(yesterday, *key, day) for key in keys],
    )
    await _tell(tx, granted, device_nos, day)


async def _tell(tx: Transaction, granted: Granted, device_nos: Collection[int], day: str) -> None:
    detail = f"exemption {granted.exemption_id}"
    await note(
        tx, [News(CONTROL, granted.control, number, day, granted.last_day, detail) for number in device_nos]
    )  # fmt: skip


async def covered_from(tx: Transaction, exemption_id: str, day: str) -> set[int]:
    """The devices that an exemption covers on ``day`` or later."""
    return {
        number
        for (number,) in await tx.rows(
            "SELECT device_no FROM muster_exempted WHERE exemption_id = ? AND last_day >= ?", (exemption_id, day)
        )
    }


async def follow(tx: Transaction, device_nos: Sequence[int] | None, now: float) -> None:
    """Bring whom exemptions by tag and person cover to what devices are now, from today on.

    ``device_nos`` are those whose tags or owner may have changed, None for all. An erased device is covered no more.
    """
    day = await fleet_day(tx, now)
    running = await tx.rows(
        "SELECT exemption_id, control, scope, subject, first_day, last_day FROM muster_exemptions"
        " WHERE last_day >= ? AND state = 'approved' AND scope <> 'device'",
        (day,),
    )
    changed = None if device_nos is None or len(device_nos) > _FEW else sorted(set(device_nos))
    for row in running:
        granted = Granted(*row)
        theirs = await devices_of(tx, granted.scope, granted.subject, changed)
        held = await covered_from(tx, granted.exemption_id, day)
        held = held if changed is None else held & set(changed)
        if gone := held - theirs:
            await uncover(tx, granted, gone, day)
        if come := theirs - held:
            await cover(tx, granted, come, day)


async def forget_device(tx: Transaction, device_no: int, now: float) -> None:
    """Let no exemption cover a device, which is erased, from today on."""
    day = await fleet_day(tx, now)
    for row in await tx.rows(
        "SELECT DISTINCT e.exemption_id, e.control, e.scope, e.subject, e.first_day, e.last_day FROM muster_exempted x"
        " JOIN muster_exemptions e ON e.exemption_id = x.exemption_id WHERE x.device_no = ? AND x.last_day >= ?",
        (device_no, day),
    ):
        await uncover(tx, Granted(*row), [device_no], day)


async def devices_of(tx: Transaction, scope: str, subject: str, among: Sequence[int] | None = None) -> set[int]:
    """The devices that are a subject's now, of some or of all; retired ones too, for they may come back."""
    if scope == DEVICE:
        condition, values = "device_id = ?", [subject]
    elif scope == TAG:
        condition, values = "',' || tags || ',' LIKE ? ESCAPE '!'", [f"%,{_escaped(subject)},%"]
    else:
        values = await _written(tx, await names_of(tx, subject))
        condition = f"owner IN ({', '.join('?' * len(values))})"
        if not values:
            return set()
    chosen: list[object] = list(values)
    if among is not None:
        condition += f" AND device_no IN ({', '.join('?' * len(among))})"
        chosen += among
    rows = await tx.rows(f"SELECT device_no FROM muster_devices WHERE erased_at IS NULL AND {condition}", chosen)
    return {number for (number,) in rows}


async def names_of(tx: Transaction, person: str) -> set[str]:
    """The owners, in lower case, that stand for a person: the roster's id and e-mail, else just what was said."""
    key = person.strip().lower()
    found = await tx.rows(
        "SELECT person_key, email_key FROM muster_people WHERE (person_key = ? OR email_key = ?) AND erased_at IS NULL",
        (key, key),
    )
    return ({name for row in found for name in row} | {key}) - {""}


async def _written(tx: Transaction, names: Collection[str]) -> list[str]:
    """Owners as devices have them, in whatever case, that are one of these names."""
    owners = await tx.rows("SELECT DISTINCT owner FROM muster_devices WHERE owner <> '' AND erased_at IS NULL")
    return [owner for (owner,) in owners if owner.lower() in names]


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
