"""The questions that wait, one after the other to osqueryd, and what becomes of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from collector.live import question as said
from collector.live.journal import Journal, Running, State
from collector.live.question import Answer, Question, Told, failed
from collector.live.running import Limits, Opens, Outcome, Run, in_thread, process_of, reach, too_long
from collector.spool import Spool, SpoolFullError
from collector.turns import Turns

MOST_WAITING = 200
WAITING_BYTES = 4 * 1024 * 1024
"""Bytes of SQL that wait."""
MOST_UNSAID = 1000
UNSAID_BYTES = 1024 * 1024
"""An answer larger than this is not held in memory while the spool cannot be written."""
PAUSE = 5.0
"""Seconds until the spool is tried again after it could not be written."""
ABSENT_PAUSE = 0.5

_LOG = logging.getLogger(__name__)


class Check(Protocol):
    """The device's own policy."""

    def __call__(self, sql: str) -> str | None:
        """Why a statement is not to be run; None if it may. May block."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The server wants no answer any more."""

    id: str


class LiveQueue:
    """Takes questions, runs them in their order, and puts each answer into the spool, once.

    ``wake`` is called whenever there are answers for the sender.
    """

    name = "live questions"

    def __init__(
        self,
        spool: Spool,
        opens: Opens,
        check: Check,
        turns: Turns,
        wake: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        self._journal = Journal(spool)
        self._opens = opens
        self._check = check
        self._turns = turns
        self._wake = wake
        given = limits or Limits()
        self._limits = replace(given, answer_bytes=min(given.answer_bytes, spool.largest_answer))
        self._lock = asyncio.Lock()
        """Held by whoever changes the state, until the change is in the spool."""
        self._state: State | None = None
        self._unsaid: list[Told] = []
        """Answers the spool could not take yet."""
        self._stir = asyncio.Event()

    async def run(self) -> None:
        """Answer questions for ever."""
        state = await self._loaded()
        if state.running is not None:
            async with self._lock:
                await self._interrupted(state, state.running)
        while True:
            self._stir.clear()
            if self._unsaid and not await self._say():
                await asyncio.sleep(PAUSE)
            elif state.waiting:
                await self._next(state, state.waiting[0])
            else:
                await self._stir.wait()

    async def take(self, burst: Sequence[Question | Cancel], failures: Sequence[Answer] = ()) -> None:
        """Take what came in one burst; ``failures`` are answers to what cannot be asked at all.

        On return, answers given at once are in the spool, or held for it.
        """
        await self._loaded()
        async with self._lock:
            state = await self._loaded_alone()
            answered = await self._answered()
            told = [answer.told() for answer in failures if answer.id.replace("\0", "") not in answered]
            fresh: list[Question] = []
            for item in burst:
                if isinstance(item, Cancel):
                    told += self._cancel(state, fresh, item.id)
                elif item.name not in answered and not self._has(state, fresh, item.id):
                    told += self._admit(state, fresh, item)
            state.waiting += sorted(fresh, key=lambda one: one.id)
            # Where nothing runs, the next question is noted in a moment, and all that wait with it.
            if told or state.running:
                await self._store(state, told)
        self._stir.set()

    async def unanswered(self) -> list[str]:
        """The ids of the questions this device knows of whose answers are not delivered."""
        state = await self._loaded()
        own = [*([state.running.question.id] if state.running else []), *(one.id for one in state.waiting)]
        return [*own, *sorted(await self._answered() - set(own))]

    async def _answered(self) -> set[str]:
        return {one.line.name for one in self._unsaid} | await in_thread(self._journal.answered)

    # What comes in.

    def _has(self, state: State, fresh: Iterable[Question], name: str) -> bool:
        running = state.running
        known = running is not None and running.question.id == name and not running.cancelled
        return known or any(one.id == name for one in state.waiting) or any(one.id == name for one in fresh)

    def _admit(self, state: State, fresh: list[Question], question: Question) -> list[Told]:
        size = len(question.sql.encode())
        if "\0" in question.sql:
            return [failed(question.id, "the question holds a NUL, at which SQLite would end it").told(question)]
        if size > said.SQL_BYTES:
            message = f"the question has {size:,} bytes; at most {said.SQL_BYTES:,} are taken"
            return [failed(question.id, message).told(question)]
        bytes_waiting = sum(len(one.sql) for one in (*state.waiting, *fresh))
        if len(state.waiting) + len(fresh) >= MOST_WAITING or bytes_waiting + size > WAITING_BYTES:
            return [failed(question.id, said.TOO_MANY).told()]  # a flood would sweep from the owner what came before
        fresh.append(question)
        return []

    def _cancel(self, state: State, fresh: list[Question], name: str) -> list[Told]:
        cancelled = Answer(name, said.CANCELLED, "cancelled before it ran")
        for questions in (fresh, state.waiting):
            for one in questions:
                if one.id == name:
                    questions.remove(one)
                    return [cancelled.told(one)]
        running = state.running
        if running is not None and running.question.id == name and not running.cancelled:
            state.running = replace(running, cancelled=True)
            return [replace(cancelled, message="cancelled while it ran").told(running.question)]
        return []

    # What is run.

    async def _next(self, state: State, question: Question) -> None:
        try:
            barred = await in_thread(lambda: self._barred(question))
            if barred is not None:
                await self._settled(state, question, barred)
                return
            async with self._turns.live():
                run = await self._reached(state, question)
                if not await self._begun(state, question, run):
                    if run is not None:
                        run.give_up()
                elif run is not None:
                    await self._ended(state, await self._finished(question, run))
        except Exception:  # whatever one question brings about, the next has its turn
            _LOG.exception("question %.80r", question.id)
            await self._settled(state, question, failed(question.id, said.INTERNAL))

    async def _settled(self, state: State, question: Question, answer: Answer) -> None:
        """Answer a question, unless it was cancelled."""
        async with self._lock:
            running = state.running
            if question in state.waiting:
                state.waiting.remove(question)
            elif running is not None and running.question is question:
                state.running = None
            else:
                return
            silent = running is not None and running.cancelled
            await self._store(state, [] if silent else [answer.told(question)])

    def _barred(self, question: Question) -> Answer | None:
        """Why a question does not get to osqueryd. Blocks."""
        until = self._journal.denied_until(question, int(time.time()))
        if until is not None:
            day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
            return Answer(question.id, said.DENYLISTED, f"osqueryd ended while it ran; not run again before {day}")
        reason = self._check(question.sql)
        return None if reason is None else Answer(question.id, said.REFUSED, reason)

    async def _reached(self, state: State, question: Question) -> Run | None:
        """A connection for a question; None if osqueryd stays away, or nobody waits for the answer any more."""
        deadline = time.monotonic() + self._limits.absent_seconds
        while question in state.waiting:
            run = await in_thread(lambda: reach(question, self._opens, self._limits))
            if run is not None or time.monotonic() > deadline:
                return run
            await asyncio.sleep(ABSENT_PAUSE)
        return None

    async def _begun(self, state: State, question: Question, run: Run | None) -> bool:
        """Note that a question runs; false if it is not to be run after all."""
        async with self._lock:
            if question not in state.waiting:
                return False
            state.waiting.remove(question)
            if run is None:
                await self._store(state, [failed(question.id, said.ABSENT).told(question)])
                return False
            state.running = Running(question, run.process)
            if await self._store(state, []):
                return True
            state.running = None
            state.waiting.insert(0, question)
        await asyncio.sleep(PAUSE)
        return False

    async def _finished(self, question: Question, run: Run) -> Outcome:
        try:
            async with asyncio.timeout(self._limits.seconds + 1):
                return await in_thread(lambda: run.finish(self._limits))
        except TimeoutError:
            return Outcome(too_long(question.id, self._limits).told(question))

    async def _ended(self, state: State, outcome: Outcome) -> None:
        async with self._lock:
            running, state.running = state.running, None
            assert running is not None
            if outcome.ended:
                _LOG.warning("osqueryd ended while question %.80r ran: not run again for a day", running.question.id)
                self._journal.deny(running.question, int(time.time()))
            await self._store(state, [] if running.cancelled else [outcome.told])

    # What is kept.

    async def _loaded(self) -> State:
        async with self._lock:
            return await self._loaded_alone()

    async def _loaded_alone(self) -> State:
        if self._state is None:
            self._state = state = await in_thread(self._journal.load)
            if state.running is not None:
                await self._interrupted(state, state.running)
        return self._state

    async def _interrupted(self, state: State, running: Running) -> None:
        """The uplink ended while a question ran: it is not run again, and its text neither if osqueryd ended, too."""
        if running.process and await in_thread(lambda: process_of(self._opens)) != running.process:
            self._journal.deny(running.question, int(time.time()))
        state.running = None
        answer = failed(running.question.id, said.INTERRUPTED)
        await self._store(state, [] if running.cancelled else [answer.told(running.question)])

    async def _say(self) -> bool:
        async with self._lock:
            return await self._store(await self._loaded_alone(), [])

    async def _store(self, state: State, told: Sequence[Told]) -> bool:
        """Keep the state with new answers; false if the spool cannot be written: the answers are then held."""
        told = [*self._unsaid, *told]
        try:
            await in_thread(lambda: self._journal.store(state, told))
        except SpoolFullError as error:
            _LOG.warning("answers cannot be stored: %s", error)
            self._unsaid = [_small(one) for one in told][-MOST_UNSAID:]
            return False
        self._unsaid = []
        for one in told:
            if one.asked:
                _LOG.info("question %.80r: %s", one.asked.id, one.asked.status)
        if told:
            self._wake()
        return True


def _small(told: Told) -> Told:
    size = len(told.line.text)
    if size <= UNSAID_BYTES or told.asked is None:
        return told
    message = f"the device could not store the answer of {size:,} bytes"
    return failed(told.asked.id, message).told(Question(told.asked.id, told.asked.sql))
