"""Bodies on their way into the database: all that wait while one commit is made share the next.

A round takes what waits at the moment it begins, so under load rounds grow by themselves and every body is answered as
soon as its own data is durable. Only one round waits for the database at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from server.store.deliveries import Delivery, Ingested
from server.store.driver import DatabaseUnavailableError, TableBusyError, Transaction, Work
from server.store.ingest import Ingest

log = logging.getLogger(__name__)

BODIES_A_ROUND = 128
"""More of them would make the first wait for the last."""
LINES_A_ROUND = 4096
RETRY_SECONDS = 0.25
ANSWER_SECONDS = 9.0
"""osquery waits 16 s for an answer; the rest is for the wait at the gate, and the way there and back."""

Write = Callable[[Work[list[Ingested]]], Coroutine[Any, Any, list[Ingested]]]


@dataclass(slots=True, eq=False)
class _Waiting:
    delivery: Delivery
    future: asyncio.Future[Ingested]


class Intake:
    """The line of bodies in front of the database."""

    def __init__(self, write: Write, ingest: Ingest) -> None:
        self._write = write
        self.ingest = ingest
        """What stores the rounds that have not begun."""
        # Taken from in the writer's thread, so only by what the interpreter does in one step.
        self._line: OrderedDict[_Waiting, None] = OrderedDict()
        self._asked = False
        self._rounds: set[asyncio.Task[None]] = set()

    async def put(self, delivery: Delivery) -> Ingested:
        """Store a body and return when it is durable.

        Raises ``DatabaseUnavailableError`` when that has not come about in time; the body is then not stored, or it
        is and will be recognised when it comes again.
        """
        waiting = _Waiting(delivery, asyncio.get_running_loop().create_future())
        self._line[waiting] = None
        if not self._asked:
            self._ask_for_a_round()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await waiting.future
        except TimeoutError as error:
            raise DatabaseUnavailableError("the database is too slow to answer in time") from error
        finally:
            self._line.pop(waiting, None)  # nobody waits for it any more: its body must not be held

    def _ask_for_a_round(self) -> None:
        self._asked = True
        task = asyncio.get_running_loop().create_task(self._round(), name="muster-intake")
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        taken: list[_Waiting] | None = None

        async def work(tx: Transaction) -> list[Ingested]:
            nonlocal taken
            # This may run in the writer's thread, and again after a failure: what was taken once stays taken.
            if taken is None:
                taken = self._take()
                loop.call_soon_threadsafe(self._taken)
            return await self.ingest.store(tx, [waiting.delivery for waiting in taken])

        try:
            results = await self._write(work)
        except Exception as error:
            if taken is None and isinstance(error, DatabaseUnavailableError):
                # The round never began: each waits on until its own time is over.
                log.warning("no round could begin: %s", error)
                loop.call_later(RETRY_SECONDS, self._taken)
            elif taken is None:
                self._asked = False
                _fail(list(iter(self._next, None)), error)
            elif isinstance(error, DatabaseUnavailableError) and not isinstance(error, TableBusyError):
                _fail(taken, error)
            else:
                log.warning("a group of bodies is stored one by one", exc_info=True)
                await self._singly(taken)
        else:
            for waiting, result in zip(taken or (), results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)

    def _take(self) -> list[_Waiting]:
        """What waits and is still waited for, up to a round's measure; always something if there is anything."""
        taken: list[_Waiting] = []
        lines = 0
        while len(taken) < BODIES_A_ROUND and lines < LINES_A_ROUND:
            waiting = self._next()
            if waiting is None:
                break
            if not waiting.future.done():
                taken.append(waiting)
                lines += len(waiting.delivery.body.results) + len(waiting.delivery.body.statuses)
        return taken

    def _next(self) -> _Waiting | None:
        try:
            return self._line.popitem(last=False)[0]
        except KeyError:
            return None

    def _taken(self) -> None:
        """A round has begun, or could not; what waits now is for the next."""
        self._asked = False
        if self._line:
            self._ask_for_a_round()

    async def _singly(self, taken: list[_Waiting]) -> None:
        """Store bodies one by one, so that what fails one of them costs no other."""

        async def work(delivery: Delivery, tx: Transaction) -> list[Ingested]:
            return await self.ingest.store(tx, [delivery], singly=True)

        for waiting in taken:
            if waiting.future.done():
                continue  # whoever waited has gone, and sends it again
            try:
                result: Awaitable[list[Ingested]] = self._write(partial(work, waiting.delivery))
                (stored,) = await result
            except Exception as error:
                _fail([waiting], error)
            else:
                if not waiting.future.done():
                    waiting.future.set_result(stored)


def _fail(waiting: list[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.future.done():
            one.future.set_exception(error)
