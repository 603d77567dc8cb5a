"""What runs by itself inside ``muster serve``: judging, telling people, asking devices, watching the canary, deleting.

Of several servers on one database the one that holds the lease leads, and does all of this. Each writes down whom it
heard of, and goes over to other packs where others are in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial, wraps
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from server.api.keys import Presence
from server.evaluate.due import GRACE_SECONDS, due_days, next_close
from server.evaluate.judge import evaluate
from server.evaluate.revisit import any_news, judge_news
from server.normalize.calendar import Calendar
from server.normalize.times import DAY, iso
from server.notify.tell import Telling, look, tell
from server.store.calendar import read_calendar
from server.store.canary_watch import watch_canary
from server.store.driver import StoreError
from server.store.erase import go_on_erasing
from server.store.guarantee import LOOK_SECONDS as GUARANTEE_SECONDS
from server.store.guarantee import keep_guarantee
from server.store.in_force import InForce
from server.store.lease import LEADER, LEASE_SECONDS, Lease
from server.store.meta import keep_value, value_of
from server.store.reload import LOOK_SECONDS, KeyOf, Reloader
from server.store.retention import Limits, retain
from server.store.served import note_served
from server.store.store import Store
from server.store.thinning import REORDER_DAYS, thin

log = logging.getLogger(__name__)

PRESENCE_SECONDS = 15
PROVISIONAL_SECONDS = 10
"""How often it is looked whether there is anything to judge."""
TELL_SECONDS = 30
"""How often it is looked what people should hear of."""
CANARY_SECONDS = 20
"""How often it is looked whether the canary has to stop."""
KEEP_SECONDS = 600
"""How often it is looked whether the day's deleting is done and whether an erasure has to be gone on with."""

_DELETED_ON = "deleted_on"
"""The key of the last day on which what was too old has been deleted."""


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days rows, events and verdicts are kept."""

    rows: int = 550
    events: int = 30
    verdicts: int = 2557


Job = Callable[[], Awaitable[object]]


class Worker:
    """The scheduled jobs of one server."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        keep: Keep = Keep(),
        *,
        key_of: KeyOf | None = None,
        telling: Telling | None = None,
    ) -> None:
        self._store = store
        self._presence = presence
        self._keep = keep
        self._telling = telling or Telling()
        self._lease = Lease(LEADER, store.write)
        self._packs = Reloader(store, key_of or _no_key, self._lease.holder)
        self._scheduler = AsyncIOScheduler()
        self._began = store.clock()
        self._judged: tuple[date, InForce] | None = None
        self._next_close = 0.0

    @property
    def server(self) -> str:
        """Who this server is, as it is known to others."""
        return self._lease.holder

    async def start(self) -> None:
        """Judge the days that ended while no server ran, if this one leads, then begin the schedule."""
        calendar = await self._store.read(read_calendar)
        zone = ZoneInfo(calendar.zone(calendar.today(self._began)))
        minute = GRACE_SECONDS // 60
        jobs: list[tuple[Job, CronTrigger | IntervalTrigger]] = [
            (self._by_leader(self.close_days), CronTrigger(hour=minute // 60, minute=minute % 60 + 1, timezone=zone)),
            (self._by_leader(self.judge_news), IntervalTrigger(seconds=PROVISIONAL_SECONDS)),
            (self.write_presence, IntervalTrigger(seconds=PRESENCE_SECONDS)),
            (self._by_leader(self.delete_old), IntervalTrigger(seconds=KEEP_SECONDS)),
            (self.lead, IntervalTrigger(seconds=LEASE_SECONDS / 3)),
            (self.look_at_packs, IntervalTrigger(seconds=LOOK_SECONDS)),
            (self._by_leader(self.watch_canary), IntervalTrigger(seconds=CANARY_SECONDS)),
            (self._by_leader(self.tell), IntervalTrigger(seconds=TELL_SECONDS)),
            (self._by_leader(self.keep_guarantee), IntervalTrigger(seconds=GUARANTEE_SECONDS)),
        ]
        for job, trigger in jobs:
            self._scheduler.add_job(
                self._until_stopped(job),
                trigger,
                id=job.__name__,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        await self._packs.begin()
        self._scheduler.start()
        if await self._lease.renew():
            await self._tell(look)
            await self.judge_news()
            await self.watch_canary()

    async def stop(self) -> None:
        """End the schedule, write what is not written yet and let another server lead."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        await self.write_presence()
        await self._packs.end()
        await self._lease.give_up()

    async def lead(self) -> None:
        """Hold the lease, or take it if its holder is gone; whoever becomes the leader judges at once."""
        if await self._lease.renew():
            self._scheduler.add_job(self._until_stopped(self._by_leader(self.judge_news)))

    async def look_at_packs(self) -> None:
        """Go over to other packs where other packs are in force now."""
        before = self._store.in_force
        await self._packs.look()
        if self._store.in_force is not before:
            self._presence.forget_served()

    async def watch_canary(self) -> None:
        """Stop the canary if its devices fail, are slow or fall silent."""
        try:
            await watch_canary(self._store, self._began)
        except StoreError as error:
            log.error("the canary was not looked at, it will be tried again: %s", error)

    async def tell(self) -> None:
        """Tell people what is new."""
        await self._tell(tell)

    async def _tell(self, how: Callable[[Store, Telling, float], Awaitable[None]]) -> None:
        try:
            await how(self._store, self._telling, self._began)
        except StoreError as error:
            log.error("nobody was told what is new, it will be tried again: %s", error)

    async def keep_guarantee(self) -> None:
        """Have devices asked that are awake and left a query unanswered today."""
        try:
            if await keep_guarantee(self._store.driver, self._store.in_force, self._store.clock()):
                self._store.questions.changed()
        except StoreError as error:
            log.error("who left queries unanswered was not looked at, it will be tried again: %s", error)

    def _by_leader(self, job: Job) -> Job:
        @wraps(job)
        async def run() -> None:
            if self._lease.held:
                await job()

        return run

    def _until_stopped(self, job: Job) -> Job:
        """The job, which may be broken off by the server's end: that is no failure, and what it left is done again."""

        @wraps(job)
        async def run() -> None:
            try:
                await job()
            except asyncio.CancelledError:
                if self._scheduler.running:
                    raise

        return run

    def _leading(self) -> bool:
        return not self._lease.lost

    async def close_days(self) -> bool:
        """Judge every day that is over, its grace included, and not closed yet; in order. Whether none is left."""
        for day in await due_days(self._store):
            if not self._leading():
                return False
            try:
                judged = await evaluate(self._store, day, day, as_applied=True, going_on=self._leading)
            except StoreError as error:
                log.error("judging %s failed, it will be tried again: %s", day, error)
                return False
            if judged:
                log.info("judged %s", day)
        return True

    async def judge_news(self) -> None:
        """Judge the days that are over, then whatever there are news of; the running day as it stands.

        As long as there is nothing of that it only looks.
        """
        store, now = self._store, self._store.clock()
        calendar = await store.read(read_calendar)
        state = (calendar.today(now), store.in_force)
        news = await store.read(any_news)
        if not news and state == self._judged and now < self._next_close:
            return
        closed = await self.close_days()
        try:
            if await judge_news(store, running=state != self._judged, going_on=self._leading) and closed:
                self._judged = state
                self._next_close = next_close(calendar, now)
        except StoreError as error:
            log.error("judging what is new failed, it will be tried again: %s", error)

    async def delete_old(self) -> None:
        """Thin and delete what is too old, once a day, in small steps; and go on with erasures that were begun."""
        now, driver = self._store.clock(), self._store.driver
        try:
            if await go_on_erasing(driver, now):
                await driver.scrub()
            calendar = await self._store.read(read_calendar)
            day = calendar.today(now)
            if await self._store.read(partial(value_of, key=_DELETED_ON)) == day.isoformat():
                return
            thinned = await thin(driver, iso(now - REORDER_DAYS * DAY))
            deleted = await retain(driver, limits(self._keep, day, calendar), now)
            await self._store.write(partial(keep_value, key=_DELETED_ON, value=day.isoformat()))
        except StoreError as error:
            log.error("deleting what is too old failed, it will be tried again: %s", error)
            return
        log.info("%d instants thinned, %d old rows deleted", thinned, deleted)

    async def write_presence(self) -> None:
        """Write down who was heard of since the last time, the configs that were served, and that this server runs."""
        heard, self._presence.device_nos = self._presence.device_nos, set()
        served, self._presence.served = self._presence.served, {}
        try:
            await self._store.heard(heard)
            if served:
                await self._store.write(lambda tx: note_served(tx, served, self._store.clock()))
            await self._packs.seen()
        except StoreError as error:
            self._presence.device_nos |= heard
            self._presence.served = served | self._presence.served
            log.error("last_seen_at was not written, it will be tried again: %s", error)


async def _no_key(_in_force: InForce) -> None:
    return None


def limits(keep: Keep, day: date, calendar: Calendar) -> Limits:
    """Up to when what is kept for so long goes on a day; whole days go, so that none is deleted in part."""
    return Limits(
        rows=calendar.day(day - timedelta(days=keep.rows)).starts_at,
        events=calendar.day(day - timedelta(days=keep.events)).starts_at,
        verdicts=(day - timedelta(days=keep.verdicts)).isoformat(),
    )
