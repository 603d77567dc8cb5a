"""News: what may have changed a verdict and has not been judged since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
