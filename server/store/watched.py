"""What a monitoring system watches: devices, days, and what waits to be judged."""

from __future__ import annotations

from dataclasses import dataclass

from server.store.driver import Transaction


@dataclass(frozen=True, slots=True)
class Watched:
    """``news_since`` is in microseconds since 1970, ``closed_until`` ISO-8601 UTC; None where there is none."""

    active: int
    silent: int
    never_seen: int
    retired: int
    closed_day: str | None
    closed_until: str | None
    open_day: str | None
    news: int
    news_since: int | None
    canary: int
    canary_devices: int
    canaries_stopped: int


async def watched(tx: Transaction, seen_after: str) -> Watched:
    """Count it; a device is silent that was not heard of after ``seen_after``."""
    devices = await tx.row(
        "SELECT COUNT(CASE WHEN retired_at IS NULL AND enrolled_at IS NOT NULL THEN 1 END),"
        " COUNT(CASE WHEN retired_at IS NULL AND enrolled_at IS NOT NULL AND last_seen_at < ? THEN 1 END),"
        " COUNT(CASE WHEN retired_at IS NULL AND enrolled_at IS NULL THEN 1 END),"
        " COUNT(CASE WHEN retired_at IS NOT NULL THEN 1 END) FROM devices",
        (seen_after,),
    )
    closed = await tx.row(
        "SELECT y.day, y.ends_at FROM muster_days y WHERE y.state <> 'open' ORDER BY y.day DESC LIMIT 1"
    )
    running = await tx.row("SELECT MAX(y.day) FROM muster_days y WHERE y.state = 'open'")
    news = await tx.row("SELECT COUNT(*), MIN(n.noted_seq) FROM muster_news n")
    canary = await tx.row(
        "SELECT COUNT(CASE WHEN a.state = 'canary' THEN 1 END), (SELECT COUNT(*) FROM muster_canary_devices c"
        " WHERE c.number IN (SELECT o.number FROM muster_applications o WHERE o.state = 'canary')),"
        " COUNT(CASE WHEN a.state = 'stopped' THEN 1 END) FROM muster_applications a"
    )
    active, silent, never_seen, retired = devices or (0, 0, 0, 0)
    closed_day, closed_until = closed or (None, None)
    waiting, since = news or (0, None)
    under_way, theirs, stopped = canary or (0, 0, 0)
    return Watched(
        active=active,
        silent=silent,
        never_seen=never_seen,
        retired=retired,
        closed_day=closed_day,
        closed_until=closed_until,
        open_day=running[0] if running else None,
        news=waiting,
        news_since=since,
        canary=under_way,
        canary_devices=theirs,
        canaries_stopped=stopped,
    )
