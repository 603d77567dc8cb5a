"""When days are closed: once they are over, and so is their grace."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial

from server.catalog.catalog import Catalog
from server.evaluate.whole import oldest_whole_day
from server.normalize.calendar import Calendar, Day
from server.normalize.times import unix
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.holds import kept_from
from server.store.scope import CATCH_UP_DAYS
from server.store.store import Store

GRACE_SECONDS = 3600
"""How long after its end a day stays open, for answers on their way."""


def closes_at(day: Day) -> float:
    """When a day can be closed, in unix seconds."""
    return unix(day.ends_at) + GRACE_SECONDS


def next_close(calendar: Calendar, now: float) -> float:
    """When the next day can be closed."""
    today = calendar.today(now)
    return next(at for day in (today - timedelta(days=1), today) if (at := closes_at(calendar.day(day))) > now)


async def due_days(store: Store) -> list[date]:
    """The days since the first device came into scope that are over and still not closed."""
    return await store.read(partial(days_due, catalog=store.catalog, now=store.clock()))


async def days_due(tx: Transaction, catalog: Catalog, now: float) -> list[date]:
    """As ``due_days``, within a transaction."""
    first = await tx.row("SELECT MIN(in_scope_from) FROM devices")
    if first is None or first[0] is None:
        return []
    calendar = await read_calendar(tx)
    day = max(
        calendar.today(unix(first[0])),
        calendar.today(now) - timedelta(days=CATCH_UP_DAYS),
        oldest_whole_day(catalog, await kept_from(tx), calendar),
    )
    sql = "SELECT day FROM muster_days WHERE day >= ? AND state <> 'open'"
    closed = {name for (name,) in await tx.rows(sql, (day.isoformat(),))}
    due = []
    while closes_at(calendar.day(day)) <= now:
        if day.isoformat() not in closed:
            due.append(day)
        day += timedelta(days=1)
    return due
