"""Holds: days of which nothing is deleted while an audit of them is open; and how far back everything is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date, timedelta

from server.normalize.calendar import Calendar
from server.normalize.times import iso
from server.store.driver import StoreError, Transaction
from server.store.meta import value_of

KEPT_FROM = "rows_kept_from"
"""The key under which it is kept from which instant on nothing has been deleted that verdicts rest on."""
LOOK_BACK_DAYS = 31
"""How far back a verdict may look: the most that ``fresh_within_days`` can be."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it is listed. Days are of the fleet's zone, both included."""

    hold_id: str
    first_day: str
    last_day: str
    reason: str
    created_at: str
    ended_at: str | None
    whole_from: str


async def kept_from(tx: Transaction) -> str:
    """The instant from which on nothing has been deleted that verdicts rest on; empty where nothing was deleted."""
    return await value_of(tx, KEPT_FROM) or ""


def _instants(calendar: Calendar, first: date, last: date) -> tuple[str, str]:
    """Between which instants lies what days need."""
    return calendar.day(first - timedelta(days=LOOK_BACK_DAYS)).starts_at, calendar.day(last).ends_at


async def refit_holds(tx: Transaction, calendar: Calendar) -> None:
    """Bring open holds to the bounds that their days have now."""
    held = await tx.rows("SELECT hold_id, first_day, last_day FROM muster_holds WHERE ended_at IS NULL")
    await tx.many(
        "UPDATE muster_holds SET starts_at = ?, ends_at = ? WHERE hold_id = ?",
        [
            (*_instants(calendar, date.fromisoformat(first), date.fromisoformat(last)), held_id)
            for held_id, first, last in held
        ],
    )


async def add_hold(tx: Transaction, calendar: Calendar, first: date, last: date, reason: str, now: float) -> str:
    """Hold what the days from the first to the last need; returns the hold's id."""
    hold_id = secrets.token_hex(6)
    await tx.run(
        "INSERT INTO muster_holds (hold_id, first_day, last_day, starts_at, ends_at, whole_from, reason, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(hold_id, first.isoformat(), last.isoformat(), *_instants(calendar, first, last)),
            *(await kept_from(tx), reason, iso(now)),
        ),
    )
    return hold_id


async def list_holds(tx: Transaction) -> list[Hold]:
    """Every hold, those that have ended too, in the order of their days."""
    return [
        Hold(*row)
        for row in await tx.rows(
            "SELECT hold_id, first_day, last_day, reason, created_at, ended_at, whole_from FROM muster_holds"
            " ORDER BY first_day, last_day, hold_id"
        )
    ]


async def end_hold(tx: Transaction, hold_id: str, now: float) -> None:
    """End a hold. Raises ``StoreError`` where there is no open one of that id."""
    if not await tx.run(
        "UPDATE muster_holds SET ended_at = ? WHERE hold_id = ? AND ended_at IS NULL", (iso(now), hold_id)
    ):
        raise StoreError(f"There is no open hold {hold_id!r}: 'muster hold list' shows them.")
