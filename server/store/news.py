"""News: what may have changed a verdict and has not been judged since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from server.normalize.calendar import Calendar, Day
from server.store.driver import Transaction

QUERY, CONTROL, LIST, DEVICE = "query", "control", "list", "device"
"""The kinds of news: of a query's table, of a control (an exemption), of people or assets, of a device itself."""
EVERY_DEVICE = 0
ON_AND_ON = "9999-12-31"
"""The last day of what goes on."""


class News(NamedTuple):
    """What is concerned, and on which days; ``detail`` says to people where it comes from."""

    kind: str
    subject: str
    device_no: int
    first_day: str
    last_day: str = ON_AND_ON
    detail: str = ""


async def note(tx: Transaction, news: Iterable[News]) -> None:
    """Note news. Of what is noted already the days widen; the detail is that of the newest."""
    noted: dict[tuple[str, str, int], News] = {}
    for new in news:
        key = (new.kind, new.subject, new.device_no)
        known = noted.get(key, new)
        noted[key] = new._replace(
            first_day=min(known.first_day, new.first_day), last_day=max(known.last_day, new.last_day)
        )
    if not noted:
        return
    seq = await tx.seq()
    await tx.many(
        "INSERT INTO muster_news (kind, subject, device_no, first_day, last_day, detail, noted_seq)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, subject, device_no) DO UPDATE SET"
        " first_day = CASE WHEN excluded.first_day < muster_news.first_day THEN excluded.first_day"
        " ELSE muster_news.first_day END,"
        " last_day = CASE WHEN excluded.last_day > muster_news.last_day THEN excluded.last_day"
        " ELSE muster_news.last_day END,"
        " detail = excluded.detail, noted_seq = excluded.noted_seq",
        [(*noted[key], seq) for key in sorted(noted)],
    )


class Learned:
    """What was learned of queries within a transaction, and which days that concerns.

    An answer counts until the next one: from the day it is of up to the day of that.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._day: Day | None = None
        self._news: dict[tuple[str, int], News] = {}

    def day_at(self, at: str) -> Day:
        """The fleet's day of an instant; of one after the other they are mostly of one day."""
        if self._day is None or not self._day.starts_at <= at < self._day.ends_at:
            self._day = self._calendar.day_at(at)
        return self._day

    def learn(self, device_no: int, table: str, at: str, until: str | None) -> None:
        """Something new was learned of a query at an instant, which counts until another."""
        first = self.day_at(at).day
        last = ON_AND_ON if until is None else self.day_at(until).day
        known = self._news.get((table, device_no))
        if known:
            first, last = min(first, known.first_day), max(last, known.last_day)
        self._news[table, device_no] = News(QUERY, table, device_no, first, last, f"answer of {at}")

    async def note(self, tx: Transaction) -> None:
        """Note all of it."""
        await note(tx, self._news.values())
