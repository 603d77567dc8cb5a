"""Turns at judging: of all that judge one database, in whatever process, one does so at a time, a day each.

Verdicts are read off one view and written later. Two that did so at once would write over each other what they know:
an older view would win over a newer one, or rules that are in force no more over those that are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from server.normalize.times import unix
from server.store.driver import Result, StoreError, Transaction, Work
from server.store.lease import Write, database_time, lease, new_holder, release, take

log = logging.getLogger(__name__)

JUDGING, NEXT = "judging", "judging next"
"""The leases of who judges, and of who comes next: so nobody waits longer than a day's judging takes."""
TURN_SECONDS = 30
"""After this time without a sign of life another may take over."""
NEXT_SECONDS = 10
LOOK_SECONDS = 0.25
"""How often it is looked whether it is one's turn."""


class TurnLostError(StoreError):
    """Whoever judged gave no sign of life for so long that another judges now; nothing was written since."""


class Turns:
    """The turns that one judging takes."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._holder = new_holder()
        self._renew_at = 0.0

    @asynccontextmanager
    async def one(self, going_on: Callable[[], bool]) -> AsyncIterator[bool]:
        """Wait for a turn, and give it up at the end. False: there is none, for ``going_on`` says to end."""
        while not (had := await self._asked()) and going_on():  # noqa: ASYNC110 - another process gives it up
            await asyncio.sleep(LOOK_SECONDS)
        try:
            yield had
        finally:
            await self._end()

    async def keep(self) -> None:
        """Give a sign of life, if it is time for one. Raises ``TurnLostError``."""
        if time.monotonic() >= self._renew_at:
            await self.write(_nothing)

    async def write(self, work: Work[Result]) -> Result:
        """Write as who has the turn. Raises ``TurnLostError``."""
        renewing = time.monotonic() >= self._renew_at

        async def fenced(tx: Transaction) -> Result:
            held = await lease(tx, JUDGING)
            if held is None or held.holder != self._holder:
                raise TurnLostError("Judging stood still for so long that another judges now: judge the rest again.")
            if renewing:
                await take(tx, JUDGING, self._holder, TURN_SECONDS)
            return await work(tx)

        done: Result = await self._write(fenced)
        if renewing:
            self._renewed()
        return done

    async def _asked(self) -> bool:
        had: bool = await self._write(self._ask)
        if had:
            self._renewed()
        return had

    async def _ask(self, tx: Transaction) -> bool:
        """Whether it is our turn; if not we come next, unless another does."""
        next_one = await lease(tx, NEXT)
        if next_one and next_one.holder != self._holder and unix(next_one.expires_at) > await database_time(tx):
            return False
        held = await take(tx, JUDGING, self._holder, TURN_SECONDS)
        if held.holder == self._holder:
            await release(tx, NEXT, self._holder)
            return True
        await take(tx, NEXT, self._holder, NEXT_SECONDS)
        return False

    def _renewed(self) -> None:
        self._renew_at = time.monotonic() + TURN_SECONDS / 3

    async def _end(self) -> None:
        async def give_up(tx: Transaction) -> None:
            for name in (JUDGING, NEXT):
                await release(tx, name, self._holder)

        try:
            await self._write(give_up)
        except StoreError as error:
            log.warning("the turn at judging was not given up, it will end by itself: %s", error)


async def _nothing(_tx: Transaction) -> None:
    return None
