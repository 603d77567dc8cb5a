"""The fleet's calendar as it is kept: the zones of its days, and how another one comes."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo, available_timezones

from server.normalize.calendar import ALWAYS, Calendar, Day
from server.normalize.times import DAY, iso, unix
from server.store.driver import StoreError, Transaction
from server.store.holds import refit_holds

LEAST_SECONDS, MOST_SECONDS = DAY // 2, 2 * DAY
"""Of the first day of another zone. A device that answers as often as coverage asks is heard on the shortest one."""


def known_zone(zone: str) -> str:
    """The name of a time zone. Raises ``StoreError`` for one that is not in the IANA database."""
    if zone not in available_timezones():
        raise StoreError(f"{zone!r} is no time zone of the IANA database, such as Europe/Berlin.")
    return str(ZoneInfo(zone))


async def read_calendar(tx: Transaction) -> Calendar:
    """The fleet's days, up to a change of zone that is to come."""
    return Calendar(await tx.rows("SELECT first_day, zone FROM muster_zones"))


async def fleet_day(tx: Transaction, now: float) -> str:
    """The fleet's day (YYYY-MM-DD) that an instant, in unix seconds, is in."""
    return (await read_calendar(tx)).today(now).isoformat()


async def set_zone(tx: Transaction, first_day: str, zone: str, by: str, now: float) -> None:
    """Let the days from one on be those of a zone; what was set for that day before is forgotten."""
    await tx.run(
        "INSERT INTO muster_zones (first_day, zone, set_at, set_by) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (first_day) DO UPDATE SET zone = excluded.zone, set_at = excluded.set_at,"
        " set_by = excluded.set_by",
        (first_day, zone, iso(now), by),
    )


async def change_zone(tx: Transaction, zone: str, by: str, now: float) -> None:
    """Let the fleet's days be those of another zone from tomorrow on; of two changes on one day the last one counts.

    No day that has begun is touched: tomorrow begins where today ends, and is shorter or longer for it. Raises
    ``StoreError`` for an unknown zone, and for one so far off that tomorrow would hardly be a day.
    """
    zone, old = known_zone(zone), await read_calendar(tx)
    today = old.today(now)
    first = today + timedelta(days=1)
    if old.zone(today) == zone:
        await tx.run("DELETE FROM muster_zones WHERE first_day = ? AND first_day > ?", (first.isoformat(), ALWAYS))
        new = await read_calendar(tx)
    else:
        new = Calendar([*old.zones.items(), (first.isoformat(), zone)])
        _refuse_odd(new.day(first), old.zone(today))
        await set_zone(tx, first.isoformat(), zone, by, now)
    await _refit(tx, old, new, old.day(today).ends_at)


def _refuse_odd(day: Day, before: str) -> None:
    seconds = unix(day.ends_at) - unix(day.starts_at)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        what = "more than a day off" if seconds > MOST_SECONDS else "too far ahead"
        raise StoreError(
            f"{day.zone} is {what}: {day.day}, its first day, begins where the last one of {before} ends and would have"
            f" {seconds / 3600:g} hours. Go by way of a zone between them, a day each."
        )


async def _refit(tx: Transaction, old: Calendar, new: Calendar, ends_at: str) -> None:
    """Bring instants that stand for the bounds of days to come to where those days begin and end now."""
    scopes = await tx.rows("SELECT device_no, in_scope_from FROM muster_devices WHERE in_scope_from > ?", (ends_at,))
    await tx.many(
        "UPDATE muster_devices SET in_scope_from = ? WHERE device_no = ?",
        [(new.day(date.fromisoformat(old.day_at(scope).day)).starts_at, number) for number, scope in scopes],
    )
    await refit_holds(tx, new)
