"""Which days are whole: nothing has been deleted that their verdicts rest on, so that they can be judged again."""

from __future__ import annotations

from datetime import date, timedelta

from server.catalog.catalog import Catalog
from server.normalize.calendar import FIRST_DAY, Calendar
from server.normalize.times import unix
from server.store.driver import StoreError, Transaction
from server.store.holds import kept_from, list_holds


def oldest_whole_day(catalog: Catalog, kept: str, calendar: Calendar) -> date:
    """The first day that can be judged where nothing is deleted from an instant on: it may look back on others."""
    if not kept:
        return FIRST_DAY
    first = calendar.today(unix(kept))
    looks_back = max((loaded.control.fresh_within_days for loaded in catalog.judged()), default=1) - 1
    return first + timedelta(days=looks_back + (calendar.day(first).starts_at < kept))


async def refuse_unkept(catalog: Catalog, first: date, last: date, calendar: Calendar, tx: Transaction) -> None:
    """Judging what has been deleted in part would turn verdicts of old into ``no_data``."""
    holds = [hold for hold in await list_holds(tx) if hold.ended_at is None]
    day, oldest = first, oldest_whole_day(catalog, await kept_from(tx), calendar)
    while day <= last and day < oldest:
        if not any(
            hold.first_day <= day.isoformat() <= hold.last_day
            and day >= oldest_whole_day(catalog, hold.whole_from, calendar)
            for hold in holds
        ):
            raise StoreError(
                f"{day} cannot be judged again: rows are whole from {oldest} on, older ones have been deleted"
                " (--keep-rows-days). Its verdicts stay as they are."
            )
        day += timedelta(days=1)
