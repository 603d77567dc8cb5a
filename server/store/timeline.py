"""The instants of a device and query around one: what was known of it, what came before, what follows."""

from __future__ import annotations

from typing import NamedTuple

from server.store.driver import Transaction


class Said(NamedTuple):
    """What is recorded of an instant."""

    status: str
    version: str
    fingerprint: str


class Thinned(NamedTuple):
    """A run of equal instants of which only some are kept: what it said, and the kept ones around an instant."""

    said: Said
    left: str
    right: str


class Moment(NamedTuple):
    """An instant's place in time.

    ``known`` is what is recorded of it already, ``before`` the last answer before it, ``until`` the instant of the next
    answer after it. Words that are no answer (an error, a denylisting) are in neither of those two, but in ``last``,
    the last word before it with its instant. ``within`` is the thinned run that the instant falls into.
    """

    at: str
    known: Said | None
    before: Said | None
    until: str | None
    within: Thinned | None = None
    last: tuple[str, Said] | None = None


_ANSWERED = "status IN ('ok', 'incomplete')"
_MINE = "FROM muster_instants WHERE device_no = ? AND table_name = ?"


async def moment(tx: Transaction, device_no: int, table: str, at: str) -> Moment:
    """Look around an instant. Answers nearly always come in order, so the newest instant is mostly all it takes."""
    key = (device_no, table)
    newest = await tx.row(f"SELECT at, status, version, fingerprint {_MINE} ORDER BY at DESC LIMIT 1", key)
    if newest is None:
        return Moment(at, None, None, None)
    if newest[0] < at and newest[1] in ("ok", "incomplete"):
        return Moment(at, None, Said(*newest[1:]), None, None, (newest[0], Said(*newest[1:])))
    known = await tx.row(f"SELECT status, version, fingerprint {_MINE} AND at = ?", (*key, at))
    last = await tx.row(
        f"SELECT at, status, version, fingerprint {_MINE} AND at < ? ORDER BY at DESC LIMIT 1", (*key, at)
    )
    before = last and last[1:]
    if last and last[1] not in ("ok", "incomplete"):
        before = await tx.row(
            f"SELECT status, version, fingerprint {_MINE} AND at < ? AND {_ANSWERED} ORDER BY at DESC LIMIT 1",
            (*key, at),
        )
    after = await tx.row(f"SELECT at, status, thinned {_MINE} AND at > ? ORDER BY at LIMIT 1", (*key, at))
    until = after[0] if after else None
    if after and after[1] not in ("ok", "incomplete"):
        answered = await tx.row(f"SELECT MIN(at) {_MINE} AND at > ? AND {_ANSWERED}", (*key, at))
        until = answered[0] if answered else None
    word = (last[0], Said(*last[1:])) if last else None
    within = Thinned(word[1], word[0], after[0]) if word and after and after[2] and known is None else None
    return Moment(at, Said(*known) if known else None, Said(*before) if before else None, until, within, word)


async def replaced_at(tx: Transaction, device_no: int, table: str, at: str) -> str | None:
    """From which instant on nothing rests on a word any more: that of the next answer whose version is known."""
    found = await tx.row(
        f"SELECT at {_MINE} AND at > ? AND {_ANSWERED} AND version <> '?' ORDER BY at LIMIT 1", (device_no, table, at)
    )
    return str(found[0]) if found else None
