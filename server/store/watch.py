"""Asking devices for the time when that is due.

What was read is in the database, so any process may ask and any other take the answer. Each process remembers when it
need not look again, so that a device that has nothing to answer costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from server.normalize.clocks import AGAIN_SECONDS, TIME_QUERY, is_time_question, question_id, reading_of
from server.store.clocks import ask_next, keep_reading
from server.store.devices import Device
from server.store.driver import Driver, Transaction
from server.store.questions import Caller, News
from server.wire.messages import QuestionAnswer

log = logging.getLogger(__name__)

REFUSED_SECONDS = 3600
"""When to ask again after a failure: osquery refuses for a day what ran when it was killed."""

ANY_KEY = ""
READINGS_AT_ONCE = 4
"""Taken of one body: osquery sends late answers together with newer ones, but not many."""


class ClockWatch:
    """The time questions of one process."""

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock
        self._not_before: dict[int, tuple[str, float]] = {}

    def takes(self, question: str) -> bool:
        """Whether an id is that of a question for the time."""
        return is_time_question(question)

    async def due(self, callers: Sequence[Caller], _via: str) -> dict[int, dict[str, str]]:
        """The questions for devices, by their numbers and ids; a new node key means that one has enrolled again."""
        return {one.device.device_no: due for one in callers if (due := await self._due(one))}

    async def _due(self, caller: Caller) -> dict[str, str]:
        device, node_key, now = caller.device, caller.node_key, self._clock()
        known_key, not_before = self._not_before.get(device.device_no, (node_key, 0.0))
        if now < not_before and known_key in (node_key, ANY_KEY):
            return {}
        due = await self._driver.read(lambda tx: ask_next(tx, device.device_no))
        # Asked now, it is asked again if no answer has come by then.
        self._not_before[device.device_no] = (node_key, due if now < due else now + AGAIN_SECONDS)
        return {} if now < due else {question_id(now): TIME_QUERY}

    async def news(self) -> News:
        """Nobody waits for the time: it is asked of who calls."""
        return News()

    async def lost(self, _caller: Caller, _queued: Collection[str]) -> dict[str, str]:
        """A time that was not told is asked for anew."""
        return {}

    async def unawaited(self, questions: Sequence[tuple[int, str]]) -> list[bool]:
        """The time is of use whenever it comes."""
        return [False] * len(questions)

    async def answered(self, device: Device, answers: Iterable[QuestionAnswer]) -> None:
        """Keep what a device's clock showed."""
        now = self._clock()
        readings = []
        for answer in answers:
            if not is_time_question(answer.question):
                continue
            if answer.status != 0:
                log.info("device %s did not tell the time: %s", device.device_id, answer.message[:200])
                self._later(device, now + REFUSED_SECONDS)
            elif reading := reading_of(answer.question, answer.rows, now):
                readings.append(reading)
        if not readings:
            return
        newest = sorted(readings, key=lambda reading: reading.asked)[-READINGS_AT_ONCE:]

        async def work(tx: Transaction) -> None:
            for reading in newest:
                await keep_reading(tx, device.device_no, reading)

        await self._driver.write(work)
        self.doubt(device)

    def doubt(self, device: Device) -> None:
        """Look into the database again before not asking a device."""
        self._not_before.pop(device.device_no, None)

    def _later(self, device: Device, not_before: float) -> None:
        key, before = self._not_before.get(device.device_no, (ANY_KEY, 0.0))
        self._not_before[device.device_no] = (key, max(before, not_before))
