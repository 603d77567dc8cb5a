"""One question through osqueryd, in a thread of its own with a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from collector.live import cost
from collector.live.question import ANSWERED, Answer, Question, Told, failed
from collector.osqueryd import Osquery, OsqueryGoneError

T = TypeVar("T")

ENDED = "osqueryd ended while it ran"
"""Told of a question whose text is not run again for a day."""


class Opens(Protocol):
    """What makes a connection to osqueryd that gives up after so many seconds."""

    def __call__(self, seconds: float, /) -> Osquery:
        """Make one; nothing is reached yet."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may take."""

    seconds: float = 120.0
    answer_bytes: int = 64 * 1024 * 1024
    """Bytes of the JSON object that goes to the server."""
    answer_rows: int = 1_000_000
    """The server reads no more of one answer."""
    absent_seconds: float = 30.0
    """How long osqueryd may be away, being restarted, before a question that waits for it fails."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    told: Told
    ended: bool = False
    """osqueryd ended meanwhile."""


class Run:
    """A question about to run: osqueryd is there, and which process it is is known."""

    def __init__(self, question: Question, connection: Osquery, before: cost.Reading, opens: Opens) -> None:
        self.process = before.process
        self._question = question
        self._connection = connection
        self._before = before
        self._opens = opens

    def give_up(self) -> None:
        """It is not to be run after all."""
        self._connection.close()

    def finish(self, limits: Limits) -> Outcome:
        """Ask, and wait for the answer; blocks."""
        with contextlib.closing(self._connection):
            answer, ended = self._asked(limits)
        told = answer.told(self._question)
        size = len(told.line.text)
        if size > limits.answer_bytes:
            message = f"the answer has {size:,} bytes; {limits.answer_bytes:,} at most are sent"
            told = failed(answer.id, message, answer.cost).told(self._question)
        return Outcome(told, ended)

    def _asked(self, limits: Limits) -> tuple[Answer, bool]:
        name = self._question.id
        begun = time.monotonic()
        try:
            found = self._connection.query(self._question.sql)
        except OsqueryGoneError as error:
            spent = cost.between(self._before, None, time.monotonic() - begun)
            if error.timed_out:
                return too_long(name, limits, spent), False
            if process_of(self._opens) == self.process:
                return failed(name, f"the connection to osqueryd broke: {error}", spent), False
            return failed(name, ENDED, spent), True
        spent_seconds = time.monotonic() - begun
        measured = cost.between(self._before, self._after(), spent_seconds)
        if found.code != 0:
            return failed(name, found.message or f"osqueryd answered with code {found.code}", measured), False
        if len(found.rows) > limits.answer_rows:
            message = f"the answer has {len(found.rows):,} rows; {limits.answer_rows:,} at most are sent"
            return failed(name, message, measured), False
        return Answer(name, ANSWERED, "", found.rows, measured), False

    def _after(self) -> cost.Reading | None:
        try:
            return cost.read(self._connection)
        except OsqueryGoneError:
            return None


def too_long(question: str, limits: Limits, spent: dict[str, int] | None = None) -> Answer:
    """The answer to a question over its time. osqueryd cannot be told to stop: it works on, in vain."""
    return failed(question, f"it took longer than {limits.seconds:g} s", spent)


def process_of(opens: Opens) -> str | None:
    """Which process osqueryd is now; None if it is not there. Blocks."""
    with contextlib.closing(opens(5.0)) as connection:
        try:
            return cost.read(connection).process
        except OsqueryGoneError:
            return None


def reach(question: Question, opens: Opens, limits: Limits) -> Run | None:
    """Connect to osqueryd for a question; None if it is not there. Blocks."""
    connection = opens(limits.seconds)
    try:
        return Run(question, connection, cost.read(connection), opens)
    except OsqueryGoneError:
        connection.close()
        return None


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a thread that nobody waits for once this is cancelled, not even the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:  # the waiter's to handle
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name="live question", daemon=True).start()
    return await future
