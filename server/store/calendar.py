"""The fleet's calendar as it is kept: the zones of its days."""

from __future__ import annotations

from server.normalize.calendar import Calendar
from server.store.driver import Transaction


async def read_calendar(tx: Transaction) -> Calendar:
    """The fleet's days, up to a change of zone that is to come."""
    return Calendar((first, zone) for first, zone in await tx.rows("SELECT first_day, zone FROM muster_zones"))


async def set_zone(tx: Transaction, first_day: str, zone: str, by: str, at: str) -> None:
    """Let the days from one on be those of a zone; what was set for that day before is forgotten."""
    await tx.run(
        "INSERT INTO muster_zones (first_day, zone, set_at, set_by) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (first_day) DO UPDATE SET zone = excluded.zone, set_at = excluded.set_at,"
        " set_by = excluded.set_by",
        (first_day, zone, at, by),
    )
