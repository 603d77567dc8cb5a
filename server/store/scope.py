"""News that is no device's answer: of devices themselves, their scope, platform, owner and tags, and of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.normalize.calendar import Calendar, shifted
from server.normalize.times import iso
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.news import DEVICE, EVERY_DEVICE, LIST, News, note

CATCH_UP_DAYS = 90
"""How far back days are judged by themselves: as far as answers are taken by default."""


async def note_devices(tx: Transaction, device_nos: Iterable[int], now: float, detail: str) -> None:
    """Note that devices are judged otherwise from today on; ``detail`` says to people why."""
    numbers = sorted(set(device_nos))
    if numbers:
        today = await fleet_day(tx, now)
        await note(tx, [News(DEVICE, "", number, today, detail=detail) for number in numbers])


async def note_list(tx: Transaction, kind: str, since: str | None, today: str, detail: str) -> None:
    """Note that people or assets are others, from a day on that is past, or from today on."""
    await note(tx, [News(LIST, kind, EVERY_DEVICE, counted_from(since, today), detail=detail)])


def counted_from(since: str | None, today: str) -> str:
    """The first day that a change counts for: as far back as days are judged by themselves, and today at the latest."""
    return max(min(since or today, today), shifted(today, -CATCH_UP_DAYS))


async def note_registered(tx: Transaction, devices: Sequence[tuple[int, str | None]], today: str, detail: str) -> None:
    """Note devices of which the register tells something else, each with the day from which on that counts."""
    await note(tx, [News(DEVICE, "", number, counted_from(day, today), detail=detail) for number, day in devices])


async def note_earlier_scopes(
    tx: Transaction, calendar: Calendar, told: Mapping[int, int], now: float, grace_days: int
) -> None:
    """Note the days that come into devices' scopes by the oldest instants they tell of, in unix seconds.

    Only what is older than today is looked at: what a device in scope tells of today begins no scope.
    """
    begins = calendar.day(calendar.today(now)).starts_at
    old = sorted((number, iso(at)) for number, at in told.items() if iso(at) < begins)
    if not old:
        return
    found = await tx.each("SELECT in_scope_from FROM muster_devices WHERE device_no = ?", [(no,) for no, _ in old])
    news = []
    for (number, since), ((scope,), *_) in zip(old, found, strict=True):
        if since < scope:
            # Days of grace follow on the scope's beginning, wherever that was.
            last = shifted(calendar.day_at(scope).day, grace_days)
            first = calendar.day_at(since).day
            news.append(News(DEVICE, "", number, first, last, f"in scope from {since}"))
    await note(tx, news)
