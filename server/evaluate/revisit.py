"""Judging again what news names, and no more: the days, devices and controls whose verdicts may have become others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from server.evaluate.judge import give_up, judge_devices, judge_stretches
from server.evaluate.population import Devices, named
from server.evaluate.prepared import (
    BrokenOffError,
    Judging,
    Prepared,
    begin,
    grounds_of,
    packs_held_to,
    prepare,
    stretches_of,
)
from server.evaluate.whole import refuse_unkept
from server.store.driver import StoreError, Transaction
from server.store.meta import value_of
from server.store.news import CONTROL, DEVICE, EVERY_DEVICE
from server.store.scope import CATCH_UP_DAYS
from server.store.store import Store

PAGE = 2_000
"""Devices that are fetched of the news at a time."""
CROWD, MANY = 5_000, 4
"""Devices with consecutive numbers; and how much news of each is much."""
DELETED = 20_000
"""Device numbers of which news are deleted in one transaction."""


class Subject(NamedTuple):
    """What there are news of, on which days."""

    kind: str
    subject: str
    first_day: str
    last_day: str
    highest: int


class News(NamedTuple):
    """The news there are, up to a commit sequence."""

    seq: int
    subjects: list[Subject]


async def any_news(tx: Transaction) -> bool:
    """Whether there is anything to judge again."""
    return await tx.row("SELECT 1 FROM muster_news LIMIT 1") is not None


async def judge_news(store: Store, *, running: bool = True, going_on: Callable[[], bool] = lambda: True) -> bool:
    """Judge again what there are news of, then forget these; whether that was done.

    With ``running`` it is seen to it that the running day is judged by what is in force now. What is noted meanwhile
    stays news. A closed day stays closed: what it said before is left as a revision.
    """
    news = await store.read(_news)
    if not news.subjects and not running:
        return True
    judging = await begin(store, going_on)
    try:
        for day in await store.read(partial(_days, judging, news, running)):
            async with judging.turn():
                await _judge_day(judging, day, news)
    except BrokenOffError:
        return False
    await _forget(judging, news)
    return True


async def _news(tx: Transaction) -> News:
    if not await any_news(tx):
        return News(0, [])
    found = await tx.rows(
        "SELECT kind, subject, MIN(first_day), MAX(last_day), MAX(device_no) FROM muster_news GROUP BY kind, subject"
    )
    return News(int(await value_of(tx, "seq") or 0), [Subject(*row) for row in sorted(found)])


async def _days(judging: Judging, news: News, running: bool, tx: Transaction) -> list[date]:
    """The days that were judged and are news, in order, as far back as they are judged by themselves; and today."""
    today = judging.calendar.today(judging.store.clock())
    days: list[date] = []
    if news.subjects:
        first = min(subject.first_day for subject in news.subjects)
        last = max(subject.last_day for subject in news.subjects)
        oldest = (today - timedelta(days=CATCH_UP_DAYS)).isoformat()
        found = await tx.rows(
            "SELECT day FROM muster_days WHERE day >= ? AND day <= ? AND day < ? ORDER BY day",
            (max(first, oldest), last, today.isoformat()),
        )
        for (name,) in found:
            day = date.fromisoformat(name)
            if any(one.first_day <= name <= one.last_day for one in news.subjects) and await _whole(judging, day, tx):
                days.append(day)
    if running or any(one.first_day <= today.isoformat() <= one.last_day for one in news.subjects):
        days.append(today)
    return days


async def _whole(judging: Judging, day: date, tx: Transaction) -> bool:
    """Whether nothing has been deleted that the day's verdicts rest on."""
    try:
        await refuse_unkept(judging.store.catalog, day, day, judging.calendar, tx)
    except StoreError:
        return False
    return True


async def _judge_day(judging: Judging, day: date, news: News) -> None:
    prepared = await prepare(judging, judging.calendar.day(day), partial(packs_held_to, judging.store))
    await give_up(judging, prepared)
    due = prepared.due
    if due:
        await judge_stretches(judging, prepared, due)
    rest = prepared.versions.keys() - due
    if not rest:
        return
    crowds = await judging.store.read(partial(_crowds, prepared, news.seq))
    for devices in crowds:
        await judge_devices(judging, prepared, rest, devices, grounds_of(judging, prepared, rest))
    reads = prepared.sitting(rest).reads()
    for subject in news.subjects:
        if not subject.first_day <= prepared.day.day <= subject.last_day:
            continue
        if subject.kind == DEVICE:
            controls: Collection[str] = rest
        elif subject.kind == CONTROL:
            controls = rest & {subject.subject}
        else:
            controls = {one for one in rest if (subject.kind, subject.subject) in reads[one]}
        if controls:
            await _judge_subject(judging, prepared, subject, news.seq, controls, crowds)


async def _crowds(prepared: Prepared, seq: int, tx: Transaction) -> list[Devices]:
    """Stretches of devices of most of which there are news of many queries, as after a time without a server.

    These are judged whole, which takes less than to judge them once for each query.
    """
    found = await tx.rows(
        f"SELECT (device_no - 1) / {CROWD}, COUNT(*), COUNT(DISTINCT device_no) FROM muster_news"
        " WHERE device_no > 0 AND noted_seq <= ? AND first_day <= ? AND last_day >= ?"
        f" GROUP BY (device_no - 1) / {CROWD}",
        (seq, prepared.day.day, prepared.day.day),
    )
    crowds = []
    for stretch, news, devices in found:
        low, high = stretch * CROWD + 1, min((stretch + 1) * CROWD, prepared.highest)
        if news >= MANY * devices and 2 * devices >= high - low + 1:
            crowds.append(Devices(low, high))
    return crowds


async def _judge_subject(
    judging: Judging,
    prepared: Prepared,
    subject: Subject,
    seq: int,
    controls: Collection[str],
    judged: Sequence[Devices],
) -> None:
    """Judge what there are news of, but for the devices that are judged whole already."""
    grounds = grounds_of(judging, prepared, controls)
    async for page in _pages(judging.store, subject, prepared.day.day, seq):
        everybody = page[0] == EVERY_DEVICE
        numbers = [number for number in page if not any(number in devices for devices in judged)]
        for devices in stretches_of(prepared) if everybody else _named(numbers):
            await judge_devices(judging, prepared, controls, devices, grounds)
        if everybody:
            return


async def _pages(store: Store, subject: Subject, day: str, seq: int) -> AsyncIterator[list[int]]:
    after = -1
    while True:
        numbers = await store.read(partial(_page, subject, day, seq, after))
        if numbers:
            yield numbers
        if len(numbers) < PAGE:
            return
        after = numbers[-1]


async def _page(subject: Subject, day: str, seq: int, after: int, tx: Transaction) -> list[int]:
    rows = await tx.rows(
        "SELECT device_no FROM muster_news WHERE kind = ? AND subject = ? AND device_no > ? AND noted_seq <= ?"
        " AND first_day <= ? AND last_day >= ? ORDER BY device_no LIMIT ?",
        (subject.kind, subject.subject, after, seq, day, day, PAGE),
    )
    return [number for (number,) in rows]


def _named(numbers: list[int]) -> Iterator[Devices]:
    """The devices; where they lie close all those between them too, which takes less than naming them."""
    if numbers and len(numbers) * 2 > numbers[-1] - numbers[0]:
        yield Devices(numbers[0], numbers[-1])
    else:
        yield from named(numbers)


async def _forget(judging: Judging, news: News) -> None:
    """Delete what was news and is judged."""
    for subject in news.subjects:
        for low in range(0, subject.highest + 1, DELETED):
            if not judging.going_on():
                return
            await judging.store.write(partial(_delete, subject, low, news.seq))


async def _delete(subject: Subject, low: int, seq: int, tx: Transaction) -> None:
    await tx.run(
        "DELETE FROM muster_news WHERE kind = ? AND subject = ? AND device_no BETWEEN ? AND ? AND noted_seq <= ?",
        (subject.kind, subject.subject, low, low + DELETED - 1, seq),
    )
