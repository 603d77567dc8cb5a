"""Coverage: the stretches in which a device kept answering a query, and how.

A stretch is a run of neighbouring instants with one status, version and message, and no gap longer than the query
allows. It is a function of the instants alone, so it does not matter in which order they became known. Instants of old
may have been thinned out; the stretches still tell what they told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.normalize.times import iso, unix
from server.store.driver import Transaction

OK, ERROR, INCOMPLETE, DENYLISTED = "ok", "error", "incomplete", "denylisted"

VERSION_OF_THE_ANSWER_BEFORE = "?"
"""The version of an answer without rows to a query that may or may not be ours."""

SHORTEST_GAP, LONGEST_GAP = 900, 12 * 3600
"""Seconds. A stretch that spans the end of a day then has an answer on that day, for no day is shorter than 23 hours:
judging rests on it."""
FOREIGN_GAP = 6 * 3600


def gap_for(interval: int | None) -> int:
    """The longest silence within a stretch, in seconds: three intervals, within bounds."""
    return FOREIGN_GAP if interval is None else min(max(3 * interval, SHORTEST_GAP), LONGEST_GAP)


@dataclass(slots=True, kw_only=True)
class Instant:
    """A moment at which it became known how a query fared; ``basis`` is result or schedule.

    ``fingerprint`` is that of the answer, or of the message of a failure; ``approximate`` is 1 where what was around it
    had been thinned out before it became known.
    """

    at: str
    status: str
    basis: str = "result"
    version: str = ""
    fingerprint: str = ""
    message: str | None = None
    approximate: int = 0


async def note(
    tx: Transaction, device_no: int, table: str, instant: Instant, known: tuple[str, str, str] | None, gap: int
) -> bool:
    """Record an instant and keep the stretches true to it; False if it was known, just so, before.

    ``known`` is what is recorded of the instant. Of two words for one instant an answer wins; of two failures one is
    picked, the same whichever came first.
    """
    key = (device_no, table)
    word = (instant.status, instant.version, instant.fingerprint)
    if known == word:
        return False
    answered = instant.status in (OK, INCOMPLETE)
    if known and not answered and (known[0] in (OK, INCOMPLETE) or _weight(*known) > _weight(*word)):
        return False
    await tx.run(
        "INSERT INTO muster_instants (device_no, table_name, at, status, version, fingerprint)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device_no, table_name, at)"
        " DO UPDATE SET status = excluded.status, version = excluded.version,"
        " fingerprint = excluded.fingerprint",
        (*key, instant.at, instant.status, instant.version, instant.fingerprint),
    )
    if instant.approximate:
        await tx.run(
            "UPDATE muster_instants SET approximate = 1 WHERE device_no = ? AND table_name = ? AND at = ?",
            (*key, instant.at),
        )
    if known and known[:2] == word[:2] and (answered or known[2] == word[2]):
        return True
    newest = await tx.row(
        f"SELECT {STRETCH} FROM muster_coverage WHERE device_no = ? AND table_name = ? ORDER BY first_at DESC LIMIT 1",
        key,
    )
    last = Stretch(*newest) if newest else None
    if last and instant.at <= last.last_at:
        await _rebuild(tx, key, instant, gap)
    elif last and extends(last, (instant.status, instant.version, instant.message), instant.at, gap):
        await lengthen(tx, [(instant.at, *key, last.first_at)])
    else:
        said = (instant.status, instant.version, instant.basis, instant.message)
        stretch = Stretch(instant.at, instant.at, *said, instant.approximate)
        await insert_stretches(tx, [(*key, stretch)])
    return True


def _weight(status: str, version: str, fingerprint: str) -> tuple[bool, str, str]:
    return (status == ERROR, fingerprint, version)


@dataclass(slots=True)
class Stretch:
    """A row of ``coverage``."""

    first_at: str
    last_at: str
    status: str
    version: str
    basis: str
    message: str | None
    approximate: int = 0


STRETCH = "first_at, last_at, status, version, basis, message, approximate"
"""The columns of a stretch."""


async def _rebuild(tx: Transaction, key: tuple[int, str], instant: Instant, gap: int) -> None:
    """Cut the stretches around an instant anew from the instants in them."""
    low, high = iso(unix(instant.at) - gap), iso(unix(instant.at) + gap)
    old = [
        Stretch(*row)
        for row in await tx.rows(
            f"SELECT {STRETCH} FROM muster_coverage WHERE device_no = ?"
            " AND table_name = ? AND last_at >= ? AND first_at <= ? ORDER BY first_at",
            (*key, low, high),
        )
    ]
    start = min([instant.at, *(stretch.first_at for stretch in old)])
    end = max([instant.at, *(stretch.last_at for stretch in old)])
    new: list[Stretch] = []
    for at, status, version, thinned, approximate in await tx.rows(
        "SELECT at, status, version, thinned, approximate FROM muster_instants WHERE device_no = ? AND table_name = ?"
        " AND at BETWEEN ? AND ? ORDER BY at",
        (*key, start, end),
    ):
        basis, message = _said(at, status, version, instant, old)
        last = new[-1] if new else None
        if last and extends(last, (status, version, message), at, gap, thinned=bool(thinned)):
            last.last_at = at
            last.approximate = max(last.approximate, approximate)
        else:
            new.append(Stretch(at, at, status, version, basis, message, approximate))
    await tx.run(
        "DELETE FROM muster_coverage WHERE device_no = ? AND table_name = ? AND last_at >= ? AND first_at <= ?",
        (*key, low, high),
    )
    await insert_stretches(tx, [(*key, stretch) for stretch in new])


def _said(at: str, status: str, version: str, instant: Instant, old: list[Stretch]) -> tuple[str, str | None]:
    """The basis and message of an instant: its own if it is the new one, else those of the stretch it was in."""
    if at == instant.at:
        return instant.basis, instant.message
    for stretch in old:
        if stretch.first_at <= at <= stretch.last_at and (stretch.status, stretch.version) == (status, version):
            return stretch.basis, stretch.message
    return "result", None


def extends(stretch: Stretch, said: tuple[str, str, str | None], at: str, gap: int, *, thinned: bool = False) -> bool:
    """Whether a word (status, version, message) at an instant after a stretch continues it.

    ``thinned`` tells that there were instants of it between.
    """
    if (stretch.status, stretch.version, stretch.message) != said:
        return False
    return thinned or unix(at) - unix(stretch.last_at) <= gap


async def insert_instants(tx: Transaction, instants: Sequence[tuple[int, str, str, str, str, str]]) -> None:
    """Record instants of which nothing is recorded yet: device_no, table, at, status, version, fingerprint."""
    columns = ("device_no", "table_name", "at", "status", "version", "fingerprint")
    await tx.insert("muster_instants", columns, instants)


async def insert_stretches(tx: Transaction, stretches: Sequence[tuple[int, str, Stretch]]) -> None:
    """Record new stretches: device_no, table, stretch."""
    columns = ("device_no", "table_name", *STRETCH.split(", "))
    rows = [
        (no, table, s.first_at, s.last_at, s.status, s.version, s.basis, s.message, s.approximate)
        for no, table, s in stretches
    ]
    await tx.insert("muster_coverage", columns, rows)


async def lengthen(tx: Transaction, stretches: Sequence[tuple[str, int, str, str]]) -> None:
    """Let stretches go on: to which instant, device_no, table, and when the stretch began."""
    await tx.many(
        "UPDATE muster_coverage SET last_at = ? WHERE device_no = ? AND table_name = ? AND first_at = ?", stretches
    )
