"""The questions of the daily guarantee and of people, as one process puts them to devices and takes their answers.

What is asked is in the database, so any process may put a question and any other take its answer. Each process knows
which devices have something waiting, and looks for news of that every few seconds, more often while channels are open:
a device that has nothing waiting costs nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from server.catalog.asked import Asked
from server.normalize import never
from server.normalize.names import scheduled_name
from server.normalize.questions import QuestionId, parse_question
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store import asked
from server.store.asked import GUARANTEE, PAUSES, Question, Settled
from server.store.calendar import read_calendar
from server.store.coverage import DENYLISTED, ERROR
from server.store.deliveries import Delivery, Ingested
from server.store.devices import Device
from server.store.driver import Driver, Transaction
from server.store.questions import Caller, News
from server.store.rejects import SAMPLE_CHARS
from server.wire import messages
from server.wire.messages import LogBody, QuestionAnswer, ResultLine

log = logging.getLogger(__name__)

LOOK_SECONDS = 3
DEVICES_AT_ONCE = 200
"""Devices whose questions are taken in one transaction."""
LATE_SECONDS = 60
"""How long a question may take to be seen after its time: servers' clocks differ, and commits take their time."""

ANSWERS_AT_ONCE = 200
"""Taken of one body: late answers come together with newer ones, but never so many."""
_DENYLISTED = "denylisted"
"""In osquery's message where it refuses to run what it was killed by."""
_FOR_GOOD = re.compile(r"no such (table|column|function)|syntax error|not authorized|ambiguous column", re.IGNORECASE)
"""In messages of statements that would fail again."""


class AskedQuestions:
    """The questions waiting for devices. ``asked_of`` tells what a device's config asks; ``put`` stores a delivery."""

    def __init__(
        self,
        driver: Driver,
        clock: Callable[[], float],
        asked_of: Callable[[Device], Mapping[str, Asked]],
        put: Callable[[Delivery], Awaitable[Ingested]],
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._asked_of = asked_of
        self._put = put
        self._waiting: set[int] = set()
        self._looked: float | None = None
        self._withdrawn: str | None = None

    def takes(self, question: str) -> bool:
        """Whether an id is that of such a question."""
        return parse_question(question) is not None

    async def due(self, callers: Sequence[Caller], via: str) -> dict[int, dict[str, str]]:
        """What to ask devices now, by their numbers and the questions' ids."""
        now = self._clock()
        if self._looked is None or not self._looked <= now < self._looked + LOOK_SECONDS:
            await self._look(now)
        waiting = [one.device for one in callers if one.device.device_no in self._waiting]
        questions: dict[int, dict[str, str]] = {}
        for start in range(0, len(waiting), DEVICES_AT_ONCE):
            wanted = {one.device_no: self._asked_of(one) for one in waiting[start : start + DEVICES_AT_ONCE]}
            found, more = await self._driver.write(partial(_take, wanted, now, via))
            questions |= found
            self._waiting -= wanted.keys() - more
        return questions

    async def news(self) -> News:
        """Look for what was put and withdrawn since the last look."""
        known = self._withdrawn
        await self._look(self._clock())
        return News(self._waiting, known is not None and known != self._withdrawn)

    async def lost(self, caller: Caller, queued: Collection[str]) -> dict[str, str]:
        """What was sent to a device's collector and is neither with it nor answered, under the ids it had."""
        wanted, now = self._asked_of(caller.device), self._clock()
        found = await self._driver.read(lambda tx: asked.lost(tx, caller.device.device_no, queued, now))
        asks = [(one, wanted.get(one.query)) for one in found]
        return {one.id.text: ask.sql for one, ask in asks if ask is not None and ask.version == one.version}

    async def unawaited(self, questions: Sequence[tuple[int, str]]) -> list[bool]:
        """Which of these were withdrawn, sent anew or answered."""
        ids = [(number, found) for number, text in questions if (found := parse_question(text))]
        return await self._driver.read(lambda tx: asked.unawaited(tx, ids))

    async def _look(self, now: float) -> None:
        """Learn who has something waiting since the last look; the first one finds all of them."""
        before, self._looked = self._looked, now  # at once, so that other requests do not look meanwhile
        after = "" if before is None else iso(min(before, now) - LATE_SECONDS)

        async def look(tx: Transaction) -> tuple[set[int], str]:
            return await asked.waiting(tx, after, iso(now)), await asked.withdrawn_version(tx)

        try:
            waiting, self._withdrawn = await self._driver.read(look)
            self._waiting |= waiting
        except BaseException:
            self._looked = before
            raise

    async def answered(self, device: Device, answers: Sequence[QuestionAnswer]) -> None:
        """Store what a device answers, as if its schedule had told it now; returns when that is durable.

        An answer to what it was not asked, to an older sending, or to what it has answered or has no need to answer any
        more is left alone.
        """
        now = self._clock()
        told = {found: one for one in answers[:ANSWERS_AT_ONCE] if (found := parse_question(one.question))}

        async def read(tx: Transaction) -> tuple[dict[QuestionId, Question], list[Settled]]:
            known = await asked.expected(tx, device.device_no, list(told), now)
            return known, await asked.suspects(tx, device.device_no, list(known.values())) if known else []

        known, stopped = await self._driver.read(read)
        if not known:
            return
        for one in stopped:
            log.warning("device %s: %s was asked and never told", device.device_id, one.question.query)
        settled = [_settled(question, told[found], now) for found, question in known.items()]
        lines = [_line(question, told[found], now) for found, question in known.items() if told[found].status == 0]
        await self._put(Delivery(device, LogBody(node_key="", results=lines), settled=[*settled, *stopped]))


async def _take(
    wanted: Mapping[int, Mapping[str, Asked]], now: float, via: str, tx: Transaction
) -> tuple[dict[int, dict[str, str]], set[int]]:
    calendar = await read_calendar(tx)
    return await asked.take(tx, wanted, calendar.day(calendar.today(now)), now, via)


def _settled(question: Question, answer: QuestionAnswer, now: float) -> Settled:
    """What an answer makes of its question.

    A failure that may pass is asked again for the guarantee; a person sees it and may ask again. What a collector gave
    up by itself is asked again.
    """
    settled = Settled(question, None, None, iso(now), cost=answer.cost)
    if answer.status == 0:
        return replace(settled, outcome=asked.ANSWERED)
    settled = replace(settled, message=never.redact(clean_text(answer.message))[:SAMPLE_CHARS], status=ERROR)
    if answer.ended == messages.DENYLISTED or _DENYLISTED in (settled.message or ""):
        return replace(settled, outcome=DENYLISTED, status=DENYLISTED)
    if answer.ended == messages.REFUSED:
        return replace(settled, outcome=asked.REFUSED)
    again = replace(settled, ask_at=iso(now + PAUSES[question.sent - 1]))
    if answer.ended == messages.CANCELLED:
        return replace(again, status="")
    if question.why == GUARANTEE and question.sent < len(PAUSES) and not _FOR_GOOD.search(settled.message or ""):
        return again
    return replace(settled, outcome=asked.FAILED)


def _line(question: Question, answer: QuestionAnswer, now: float) -> ResultLine:
    """An answer as the line of a scheduled snapshot."""
    return ResultLine(
        name=scheduled_name(question.query, question.version),
        unix_time=int(now),
        epoch=0,
        counter=0,
        kind="snapshot",
        added=answer.rows,
        removed=(),
        host_identifier="",
        decorations={},
    )
