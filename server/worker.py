"""What runs by itself inside ``muster serve``: the daily judging, and writing down who was heard of."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from server.api.keys import Presence
from server.evaluate.days import day_of, today
from server.evaluate.judge import GRACE_SECONDS, evaluate, fleet_zone
from server.normalize.times import unix
from server.store.driver import StoreError, Transaction
from server.store.store import Store

log = logging.getLogger(__name__)

PRESENCE_SECONDS = 15
PROVISIONAL_SECONDS = 60
CATCH_UP_DAYS = 90
"""How far back days are judged by themselves: as far as answers are taken by default."""


class Worker:
    """The scheduled jobs of one server."""

    def __init__(self, store: Store, presence: Presence) -> None:
        self._store = store
        self._presence = presence
        self._scheduler = AsyncIOScheduler()
        self._judged: tuple[date, str] | None = None

    async def start(self) -> None:
        """Judge the days that ended while no server ran, then begin the schedule."""
        zone = ZoneInfo(await self._store.read(fleet_zone))
        minute = GRACE_SECONDS // 60
        jobs = [
            (self.close_days, CronTrigger(hour=minute // 60, minute=minute % 60 + 1, timezone=zone)),
            (self.judge_news, IntervalTrigger(seconds=PROVISIONAL_SECONDS)),
            (self.write_presence, IntervalTrigger(seconds=PRESENCE_SECONDS)),
        ]
        for job, trigger in jobs:
            self._scheduler.add_job(
                job, trigger, id=job.__name__, coalesce=True, max_instances=1, misfire_grace_time=None
            )
        self._scheduler.start()
        await self.judge_news()

    async def stop(self) -> None:
        """End the schedule and write what is not written yet."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        await self.write_presence()

    async def close_days(self) -> None:
        """Judge every day that is over, its grace included, and not closed yet; in order."""
        for day in await due_days(self._store):
            try:
                await evaluate(self._store, day, day)
            except StoreError as error:
                log.error("judging %s failed, it will be tried again: %s", day, error)
                return
            log.info("judged %s", day)

    async def judge_news(self) -> None:
        """Judge the days that are over or that late answers have opened again, and the running day as it stands.

        The running day is left alone if nothing has come since the last time.
        """
        await self.close_days()
        day = today(self._store.clock(), await self._store.read(fleet_zone))
        state = (day, await self._store.read(last_seq))
        if state == self._judged:
            return
        try:
            await evaluate(self._store, day, day)
            self._judged = state
        except StoreError as error:
            log.error("judging today failed, it will be tried again: %s", error)

    async def write_presence(self) -> None:
        """Write down who was heard of since the last time."""
        heard, self._presence.device_nos = self._presence.device_nos, set()
        try:
            await self._store.heard(heard)
        except StoreError as error:
            self._presence.device_nos |= heard
            log.error("last_seen_at was not written, it will be tried again: %s", error)


async def last_seq(tx: Transaction) -> str:
    """The commit sequence of the last change to what verdicts rest on, by whatever process."""
    found = await tx.row("SELECT value FROM muster_meta WHERE key = 'seq'")
    return str(found[0]) if found else ""


async def due_days(store: Store) -> list[date]:
    """The days since the first device came into scope that are over and still not closed."""

    async def work(tx: Transaction) -> tuple[str | None, str, set[str]]:
        first = await tx.row("SELECT MIN(in_scope_from) FROM devices")
        closed = {row[0] for row in await tx.rows("SELECT day FROM muster_days WHERE state <> 'open'")}
        return (first[0] if first else None), await fleet_zone(tx), closed

    first, zone, closed = await store.read(work)
    if first is None:
        return []
    now, due = store.clock(), []
    day = max(today(unix(first), zone), today(now, zone) - timedelta(days=CATCH_UP_DAYS))
    while unix(day_of(day, zone).ends_at) + GRACE_SECONDS <= now:
        if day.isoformat() not in closed:
            due.append(day)
        day += timedelta(days=1)
    return due
