"""Applications of packs: what was put into force, by whom and when, and what is in force now.

At most one application is for all devices (``applied``), and at most one more for some of them (``canary``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from server.catalog.canary import Selector, parse_selector, place
from server.catalog.content import Content, content_of
from server.normalize.times import iso
from server.store.driver import StoreError, Transaction
from server.store.meta import keep_value, value_of

APPLIED, CANARY, STOPPED, SUPERSEDED = "applied", "canary", "stopped", "superseded"
SHIPPED, FOLDER, APPLY, ROLLBACK = "shipped", "folder", "apply", "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A packs folder that was put into force; times are ISO-8601, UTC.

    ``origin`` is ``shipped`` (the library of a Muster), ``folder`` (of ``serve`` or ``init``), ``apply`` or
    ``rollback``; ``canary`` the selector it began with, if it began with one; ``replaces`` what was in force for all
    before; ``restores`` the number whose content a rollback put into force again.
    """

    number: int
    hash: str
    origin: str
    applied_by: str
    applied_at: str
    note: str
    state: str
    canary: str | None = None
    replaces: int | None = None
    restores: int | None = None
    promoted_by: str | None = None
    promoted_at: str | None = None
    ended_at: str | None = None
    """When it was superseded or, as a canary, stopped."""
    stopped_by: str | None = None
    stop_reason: str | None = None

    @property
    def selector(self) -> Selector | None:
        """Which devices its canary is for."""
        return parse_selector(self.canary) if self.canary else None


_COLUMNS = ", ".join(field.name for field in fields(Application))


async def applications(tx: Transaction) -> list[Application]:
    """All of them, the newest first."""
    return await _found(tx, "ORDER BY number DESC")


async def application(tx: Transaction, number: int) -> Application:
    """The one of a number. Raises ``StoreError`` if there is none."""
    found = await _found(tx, "WHERE number = ?", number)
    if not found:
        raise StoreError(f"There is no application {number}: 'muster packs history' lists them.")
    return found[0]


async def in_force(tx: Transaction) -> tuple[Application | None, Application | None]:
    """The application for all devices, if packs were ever applied, and the canary's, if one is under way."""
    found = {one.state: one for one in await _found(tx, "WHERE state IN ('applied', 'canary')")}
    return found.get(APPLIED), found.get(CANARY)


async def in_force_at(tx: Transaction, at: str) -> tuple[Application | None, Application | None]:
    """As ``in_force``, at an instant of the past (ISO-8601, UTC); before the first packs it is those.

    Days before them are of late data and of registers: held to what is in force now they would change with it.
    """
    found = await _found(tx, "WHERE applied_at < ? ORDER BY number", at)
    if not found:
        return next(iter(await _found(tx, "WHERE canary IS NULL ORDER BY number LIMIT 1")), None), None
    base = [one for one in found if one.canary is None or (one.promoted_at or at) < at]
    canary = [one for one in found if one.canary and not (one.promoted_at or at) < at and not (one.ended_at or at) < at]
    began = {one.number: (one.promoted_at or one.applied_at, one.number) for one in base}
    return max(base, key=lambda one: began[one.number], default=None), canary[-1] if canary else None


async def last_of(tx: Transaction, origin: str) -> Application | None:
    """The newest application of an origin."""
    found = await _found(tx, "WHERE origin = ? ORDER BY number DESC LIMIT 1", origin)
    return found[0] if found else None


async def content(tx: Transaction, digest: str) -> Content:
    """The files of what was once applied, by their hash."""
    found = await tx.row("SELECT archive FROM muster_pack_contents WHERE hash = ?", (digest,))
    if found is None:
        raise StoreError(f"The packs {digest[:12]} are not in the database.")
    return content_of(found[0])


async def members(tx: Transaction, number: int, until: str = "9999") -> frozenset[int]:
    """The devices (by number) that were in the canary of an application before an instant (ISO-8601, UTC)."""
    sql = "SELECT device_no FROM muster_canary_devices WHERE number = ? AND joined_at < ?"
    found = await tx.rows(sql, (number, until))
    return frozenset(row[0] for row in found)


async def record(tx: Transaction, made: Application, files: Content) -> Application:
    """Put ``made`` into force; its number and ``replaces`` are given here, and what it ends is noted.

    An application for all ends the one before; a canary beside it ends too, for it was held against that one.
    """
    base, canary = await in_force(tx)
    made = replace(made, number=await next_number(tx), replaces=base.number if base else None)
    await tx.run(
        "INSERT INTO muster_pack_contents (hash, archive) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING",
        (files.hash, files.archive()),
    )
    if made.state == APPLIED:
        if canary:
            await _stop(tx, canary, made.applied_by, f"application {made.number} took its place", made.applied_at)
        if base:
            await _supersede(tx, base, made.applied_at)
    values = tuple(getattr(made, field.name) for field in fields(Application))
    places = ", ".join("?" * len(values))
    await tx.run(f"INSERT INTO muster_applications ({_COLUMNS}) VALUES ({places})", values)
    if made.state == CANARY:
        await _choose(tx, made)
    await changed(tx)
    return made


async def next_number(tx: Transaction) -> int:
    """The number of the next application."""
    top = await tx.row("SELECT COALESCE(MAX(number), 0) + 1 FROM muster_applications")
    return int(top[0]) if top else 1


async def promote(tx: Transaction, by: str, now: float) -> Application:
    """Put the canary into force for all. Raises ``StoreError`` if there is none."""
    base, canary = await in_force(tx)
    if canary is None:
        raise StoreError("There is no canary to promote.")
    at = iso(now)
    if base:
        await _supersede(tx, base, at)
    await tx.run(
        "UPDATE muster_applications SET state = 'applied', promoted_by = ?, promoted_at = ? WHERE number = ?",
        (by, at, canary.number),
    )
    await changed(tx)
    return await application(tx, canary.number)


async def stop_canary(tx: Transaction, by: str, reason: str, now: float) -> Application:
    """End the canary: its devices go back to what the others have. Raises ``StoreError`` if there is none."""
    _, canary = await in_force(tx)
    if canary is None:
        raise StoreError("There is no canary to stop.")
    await _stop(tx, canary, by, reason, iso(now))
    await changed(tx)
    return await application(tx, canary.number)


async def join_canary(tx: Transaction, device_nos: Sequence[int], at: str) -> None:
    """Let devices that enrol, or have other tags, into the canary under way if that is for such devices."""
    _, canary = await in_force(tx)
    if canary is None or canary.selector is None:
        return
    found = await tx.each(
        "SELECT d.device_no, d.device_id, d.tags FROM muster_devices d WHERE d.device_no = ? AND NOT EXISTS"
        " (SELECT 1 FROM muster_canary_devices c WHERE c.device_no = d.device_no AND c.number = ?)",
        [(device_no, canary.number) for device_no in device_nos],
    )
    joining = [
        device_no
        for rows in found
        for device_no, device_id, tags in rows
        if canary.selector.takes(canary.number, device_id, tags_of(tags))
    ]
    if joining:
        await _join(tx, canary.number, joining, at)
        await changed(tx)


def tags_of(text: str) -> frozenset[str]:
    """The tags of a device as its row has them: with commas between."""
    return frozenset(text.split(",")) if text else frozenset()


async def version(tx: Transaction) -> str:
    """What changes whenever other packs are in force, or for other devices."""
    return await value_of(tx, "packs") or ""


async def changed(tx: Transaction) -> None:
    """Let every server look at what is in force, within seconds."""
    await keep_value(tx, "packs", str(await tx.seq()))


def choose(selector: Selector, number: int, fleet: Sequence[tuple[int, str, frozenset[str]]]) -> list[int]:
    """Which devices (number, id, tags) the canary of an application begins with: of a share at least one.

    Raises ``StoreError`` for a tag that none of them has.
    """
    chosen = [no for no, device_id, tags in fleet if selector.takes(number, device_id, tags)]
    if chosen or not fleet:
        return chosen
    if selector.tag:
        raise StoreError(f"No device has the tag {selector.tag!r}: 'muster device tag DEVICE +{selector.tag}'.")
    return [min(fleet, key=lambda device: (place(number, device[1]), device[1]))[0]]


async def _choose(tx: Transaction, canary: Application) -> None:
    """Write down a new canary's devices: at least one, if the fleet has any that its share could be of."""
    selector = canary.selector
    assert selector is not None
    fleet = await tx.rows(
        "SELECT device_no, device_id, tags FROM muster_devices"
        " WHERE retired_at IS NULL AND erased_at IS NULL AND enrolled_at <> ''"
    )
    chosen = choose(selector, canary.number, [(no, device_id, tags_of(tags)) for no, device_id, tags in fleet])
    await _join(tx, canary.number, chosen, canary.applied_at)


async def _join(tx: Transaction, number: int, device_nos: list[int], at: str) -> None:
    await tx.many(
        "INSERT INTO muster_canary_devices (number, device_no, joined_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(number, device_no, at) for device_no in device_nos],
    )


async def _supersede(tx: Transaction, base: Application, at: str) -> None:
    await tx.run(
        "UPDATE muster_applications SET state = 'superseded', ended_at = ? WHERE number = ?", (at, base.number)
    )


async def _stop(tx: Transaction, canary: Application, by: str, reason: str, at: str) -> None:
    await tx.run(
        "UPDATE muster_applications SET state = 'stopped', ended_at = ?, stopped_by = ?, stop_reason = ?"
        " WHERE number = ?",
        (at, by, reason, canary.number),
    )


async def _found(tx: Transaction, where: str, *parameters: object) -> list[Application]:
    names = [field.name for field in fields(Application)]
    rows = await tx.rows(f"SELECT {_COLUMNS} FROM muster_applications {where}", parameters)
    return [Application(**dict(zip(names, row, strict=True))) for row in rows]
