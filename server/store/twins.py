"""Machines that cannot be told apart by what they say of their hardware: clones, and boards that bear one UUID.

A device is told by hardware UUID and serial. Where two machines have both in common (or have no serial at all) each
enrolment would take the other's device and revoke its key, for ever, and the rows of both would be one device's. So an
enrolment that looks like a second machine is given a device of its own, told by its host name as well.
"""

from __future__ import annotations

from typing import NamedTuple

from server.normalize.devices import DeviceFacts, usable_serial
from server.normalize.times import DAY, iso
from server.store.driver import Transaction

ALIVE_SECONDS = DAY
"""A device that was heard of within this time is taken to be at work still."""


class Whose(NamedTuple):
    """Which device an enrolment is of: the identity it is kept under, its number (None: a new one), and a warning."""

    identity: str | None
    device_no: int | None
    warning: str = ""


class _Known(NamedTuple):
    device_no: int
    device_id: str
    hostname: str
    instance_id: str
    last_seen_at: str
    retired_at: str | None


async def whose(tx: Transaction, facts: DeviceFacts, now: float, agent: str) -> Whose:
    """The device that these facts are of, as one of its agents tells them."""
    if not facts.identity:
        return Whose(None, await _beside(tx, facts, agent))
    by_name = await _known(tx, facts.identity_by_name)
    if by_name is not None:
        return Whose(facts.identity_by_name, by_name.device_no)
    known = await _known(tx, facts.identity)
    if known is None:
        return Whose(facts.identity, None)
    if not await _is_another(tx, facts, known, agent, iso(now - ALIVE_SECONDS)):
        return Whose(facts.identity, known.device_no)
    warning = (
        f"{facts.hostname!r} says to have the hardware of device {known.device_id} ({known.hostname!r}, heard of at"
        f" {known.last_seen_at}): uuid {facts.hardware_uuid}, serial {facts.serial or 'none'};"
        " it was given a device of its own, told by its host name"
    )
    return Whose(facts.identity_by_name, None, warning)


async def _is_another(tx: Transaction, facts: DeviceFacts, known: _Known, agent: str, alive_since: str) -> bool:
    """Whether an enrolment is of another machine than the one whose hardware it names.

    A machine that was renamed keeps its device if osquery's database was kept, if it has a serial, or if it was silent
    for a day. Names that alternate are two machines in any case: those of one agent's enrolments, for the two agents
    of a machine whose name goes by its network may have enrolled under one name each.
    """
    name = facts.hostname.lower()
    if not name or name == known.hostname.lower() or known.retired_at is not None or known.last_seen_at < alive_since:
        return False
    told = await tx.rows(
        "SELECT hostname, revoked_at FROM muster_node_keys WHERE device_no = ? AND kind = ?"
        " AND (revoked_at IS NULL OR revoked_at >= ?)",
        (known.device_no, agent, alive_since),
    )
    same = [revoked_at for hostname, revoked_at in told if hostname.lower() == name]
    if same:
        return None not in same
    if usable_serial(facts.serial):
        return False
    return not facts.instance_id or facts.instance_id != known.instance_id


async def _beside(tx: Transaction, facts: DeviceFacts, agent: str) -> int | None:
    """The device of a machine that tells nothing of its hardware, where its other agent enrolled before this one.

    Both tell the mark of the same installation of osquery. It is looked for the first time only: copies of a machine
    bear that mark too, and would take the device from each other for ever.
    """
    if not facts.instance_id:
        return None
    found = await tx.rows(
        "SELECT d.device_no FROM muster_devices d WHERE d.identity IS NULL AND d.instance_id = ? AND d.hostname = ?"
        " AND d.retired_at IS NULL"
        " AND EXISTS (SELECT 1 FROM muster_node_keys k WHERE k.device_no = d.device_no AND k.revoked_at IS NULL)"
        " AND NOT EXISTS (SELECT 1 FROM muster_node_keys k WHERE k.device_no = d.device_no AND k.kind = ?)",
        (facts.instance_id, facts.hostname, agent),
    )
    return int(found[0][0]) if len(found) == 1 else None


async def _known(tx: Transaction, identity: str) -> _Known | None:
    found = await tx.row(
        "SELECT device_no, device_id, hostname, instance_id, last_seen_at, retired_at FROM muster_devices"
        " WHERE identity = ?",
        (identity,),
    )
    return _Known(*found) if found else None
