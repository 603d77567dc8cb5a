"""What can be wrong with a database, and what every database is asked; nothing here changes anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.normalize.times import DAY, iso, unix
from server.store.driver import NotReadyError, Transaction
from server.store.lease import LEADER, LEASE_SECONDS, database_time, lease
from server.store.meta import value_of
from server.store.migrate import check_current, migrations

State = Literal["ok", "warning", "problem", "not ready"]

SKEW_SECONDS = 5
"""Up to here two clocks count as equal."""
MOST_SKEW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``says`` what is, ``mend`` what to do about it."""

    check: str
    state: State
    says: str
    mend: str = ""


async def check_schema(tx: Transaction) -> Finding:
    """Whether this version can work with the schema."""
    try:
        await check_current(tx)
    except NotReadyError as error:
        return not_ready("schema", error)
    newest = migrations()[-1]
    return Finding("schema", "ok", f"at migration {newest.number:04} ({newest.name}), this version's newest")


def not_ready(check: str, error: NotReadyError) -> Finding:
    """The finding of a database that cannot be worked with; the error says how it is mended."""
    return Finding(check, "not ready", str(error))


async def check_leader(tx: Transaction) -> Finding:
    """Which server leads."""
    held, now = await lease(tx, LEADER), await database_time(tx)
    if held is None:
        return Finding("leader", "ok", "no server leads; the next that is started will")
    if unix(held.expires_at) <= now:
        late = now - unix(held.expires_at)
        state: State = "warning" if late > 2 * LEASE_SECONDS else "ok"
        return Finding(
            "leader",
            state,
            f"no server leads since {held.expires_at}, when {held.holder} was heard of last",
            "start 'muster serve': it judges the days" if state == "warning" else "",
        )
    return Finding("leader", "ok", f"{held.holder} since {held.acquired_at}")


async def check_clock(tx: Transaction, now: float) -> Finding:
    """How far this machine's clock is from the database's, and from the last commit."""
    skew = round(now - await database_time(tx))
    if abs(skew) > SKEW_SECONDS:
        return Finding(
            "clock",
            "problem" if abs(skew) > MOST_SKEW_SECONDS else "warning",
            f"this machine's clock is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the database's",
            "let NTP set the clocks of both",
        )
    last = await value_of(tx, "seq")
    ahead = int(last) / 1_000_000 - now if last else 0.0
    if ahead > MOST_SKEW_SECONDS:
        return Finding(
            "clock",
            "warning",
            f"the last commit was made at {iso(now + ahead)}, which is yet to come",
            "a server's clock was ahead, or this machine's is behind: let NTP set them",
        )
    return Finding("clock", "ok", "this machine and the database agree to within seconds")


async def check_rejects(tx: Transaction, now: float) -> Finding:
    """Whether anything was set aside lately."""
    found = await tx.row(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN rejected_at >= CAST(? AS TEXT) THEN 1 ELSE 0 END), 0)"
        " FROM muster_rejects",
        (iso(now - DAY),),
    )
    total, lately = (int(found[0]), int(found[1])) if found else (0, 0)
    if not lately:
        return Finding("rejects", "ok", f"none in the last day, {total} in all")
    newest = await tx.row("SELECT reason FROM muster_rejects ORDER BY rejected_at DESC, reason LIMIT 1")
    return Finding(
        "rejects",
        "warning",
        f"{lately} in the last day, {total} in all; the newest: {newest[0] if newest else ''}",
        "muster sql 'SELECT * FROM rejects ORDER BY rejected_at DESC'",
    )
