"""Days that answers open again, and days that are being judged, which an answer meanwhile keeps from being closed."""

from __future__ import annotations

from collections.abc import Set
from datetime import date, timedelta

from server.normalize.times import DAY, iso, unix
from server.store.driver import Transaction

CATCH_UP_DAYS = 90
"""How far back days are judged by themselves: as far as answers are taken by default."""
_JUDGING = "judging "


async def begin_judging(tx: Transaction, day: str, mark: str) -> None:
    """Note that a day is being judged, by whom only ``mark`` tells. Judging takes many transactions."""
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_JUDGING + day, mark),
    )


async def close_judged(tx: Transaction, day: str, mark: str) -> None:
    """Close a day unless something came since its judging began, or somebody else began; it stays open then."""
    undisturbed = await tx.run("DELETE FROM muster_meta WHERE key = ? AND value = ?", (_JUDGING + day, mark))
    if undisturbed:
        await tx.run("UPDATE muster_days SET state = 'closed' WHERE day = ? AND state = 'open'", (day,))


async def reopen(tx: Transaction, news: Set[str], counted_days: int) -> None:
    """Open the closed days whose verdicts the news may change, or keep them open; the worker judges them again.

    ``news`` are the instants of which something was learned; they count for so many days after theirs, too.
    """
    if not news:
        return
    days = await tx.rows(
        "SELECT d.day, d.starts_at, d.ends_at FROM muster_days d WHERE d.ends_at > ? AND (d.state = 'closed'"
        " OR EXISTS (SELECT 1 FROM muster_meta m WHERE m.key = CAST(? AS TEXT) || d.day))",
        (min(news), _JUDGING),
    )
    for day, starts_at, ends_at in days:
        counts_from = iso(unix(starts_at) - counted_days * DAY)
        if any(counts_from <= at < ends_at for at in news):
            await tx.run("UPDATE muster_days SET state = 'open' WHERE day = ? AND state = 'closed'", (day,))
            await tx.run("DELETE FROM muster_meta WHERE key = ?", (_JUDGING + day,))


async def reopen_from(tx: Transaction, first: str, today: str) -> None:
    """Open the closed days from one on, or keep them open, as far back as days are judged by themselves.

    What verdicts rest on has changed for all of them, though no device told anything.
    """
    oldest = (date.fromisoformat(today) - timedelta(days=CATCH_UP_DAYS)).isoformat()
    first = max(first, oldest)
    await tx.run("UPDATE muster_days SET state = 'open' WHERE day >= ? AND state = 'closed'", (first,))
    await tx.run("DELETE FROM muster_meta WHERE key >= ? AND key < ?", (_JUDGING + first, f"{_JUDGING}:"))
