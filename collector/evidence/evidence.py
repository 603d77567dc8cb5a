"""Takes the day's evidence, one statement at a time, whenever there is an occasion and something is missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from collector.evidence.asked import Query
from collector.evidence.asking import Asking, Check, Opens, Plan, Round
from collector.evidence.calendar import Day
from collector.evidence.occasions import Occasions
from collector.osqueryd import OsqueryGoneError
from collector.spool import Spool, SpoolFullError

LOOK_SECONDS = 15.0
"""Between looks at the clock and the log-ins, which cost next to nothing."""
SETTLE_SECONDS = 5.0
"""Between an occasion and the first statement: a machine that just woke has other things to do."""
SPREAD_SECONDS = 600.0
"""Within which devices that are awake when a day begins take its evidence, each at its own moment."""
RETRY_SECONDS = (60.0, 3600.0)
"""Pauses after a round in which something failed, growing; an occasion does not wait for them."""
LEAST_PAUSE, MOST_PAUSE = 0.5, 30.0
"""Seconds between two statements."""
SHARE = 2.0
"""The pause after a statement, as a multiple of the time that it took."""

_LOG = logging.getLogger(__name__)


class Turns(Protocol):
    """Whose turn it is on osqueryd."""

    def background(self) -> AbstractAsyncContextManager[None]:
        """A turn for one statement that can wait until no person waits."""


class Evidence:
    """A component of the uplink."""

    name = "evidence"

    def __init__(
        self,
        spool: Spool,
        opens: Opens,
        check: Check,
        turns: Turns,
        wake: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        occasions: Occasions | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: float | None = None,
    ) -> None:
        """``check(sql)``: why the device's policy refuses a query of the config, or None. ``wake``: lines were put."""
        self._asking = Asking(spool, opens, check, clock)
        self._turns = turns
        self._wake = wake
        self._monotonic = monotonic
        self._occasions = occasions or Occasions(clock, monotonic)
        self._pause = pause
        self._spread = random.uniform(0, SPREAD_SECONDS) if spread is None else spread
        self._lock = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._day: Day | None = None
        self._due: float | None = None
        self._failures = 0
        self._rested = float("-inf")

    def stir(self) -> None:
        """The network is back, or the calendar or the config is another: look at once. From the loop's thread."""
        self._failures = 0
        self._due = self._sooner(0.0)
        self._stirred.set()

    async def run(self) -> None:
        """Look for occasions, until cancelled."""
        while True:
            await self.step()
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_look()):
                    await self._stirred.wait()

    async def step(self) -> Round | None:
        """Look once, and take what is missing if it is time for it; None if it is not."""
        self._notice(self._occasions.look(), await asyncio.to_thread(self._asking.today))
        if self._due is None or self._monotonic() < self._due:
            return None
        self._due = None
        done = await self._round(everything=False)
        if not done.complete:
            self._failures = self._failures + 1 if done.failed or done.problem else 1
            least, most = RETRY_SECONDS
            self._rested = self._monotonic() + least
            self._due = self._monotonic() + min(most, least * 2 ** min(self._failures - 1, 10))
        else:
            self._failures = 0
        return done

    async def evidence_now(self) -> Round:
        """Take all of it again, whatever was taken today; for the device's owner who wants it done."""
        return await self._round(everything=True)

    def _notice(self, occasion: str, day: Day | None) -> None:
        if day is not None and day != self._day:
            # Only who is awake when the day begins has time to wait for a moment of its own.
            self._due = self._sooner(SETTLE_SECONDS if self._day is None or occasion else self._spread)
        self._day = day
        if occasion:
            _LOG.debug("an occasion for evidence: %s", occasion)
            self._failures = 0
            self._due = self._sooner(SETTLE_SECONDS)

    def _sooner(self, seconds: float) -> float:
        """When the next round is due, if one is so many seconds from now; not right after one that failed."""
        at = max(self._monotonic() + seconds, self._rested)
        return at if self._due is None else min(at, self._due)

    def _until_look(self) -> float:
        return LOOK_SECONDS if self._due is None else max(0.0, min(LOOK_SECONDS, self._due - self._monotonic()))

    async def _round(self, *, everything: bool) -> Round:
        async with self._lock:
            done = Round()
            try:
                async with self._turns.background():
                    plan = await asyncio.to_thread(self._asking.plan, everything=everything)
                done.left, done.denylisted, done.barred = len(plan.queries) + plan.later, plan.denylisted, plan.barred
                for query in plan.queries:
                    await self._one(plan, query, done)
                    done.left -= 1
            except OsqueryGoneError as error:
                done.problem = f"osqueryd cannot be asked: {error}"
            except SpoolFullError as error:
                done.problem = f"the spool cannot be written: {error}"
            if done.taken or done.failed or done.problem:
                _LOG.info("evidence: %s", done)
            return done

    async def _one(self, plan: Plan, query: Query, done: Round) -> None:
        for statement in self._asking.statements(plan, query, done):
            async with self._turns.background():
                begun = self._monotonic()
                await asyncio.to_thread(statement)
                took = self._monotonic() - begun
            self._wake()
            await self._pause(max(LEAST_PAUSE, min(MOST_PAUSE, took * SHARE)))
