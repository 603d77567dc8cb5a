"""Devices' clocks: what was read of them, and the stretches of their time that were dated otherwise than they said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server.normalize.clocks import Clock, Reading, heed, newest_first, next_question
from server.normalize.dating import RECEIVED, Stretch
from server.normalize.times import iso, unix
from server.store.driver import Transaction

CLOCKS_KEPT = 8
"""Of a device: one a start of the machine, and one more each time its clock was set."""
SPREAD_SECONDS = 1800

_CLOCK = "first_read_at, last_read_at, booted_at, first_at, last_at, ahead_least, ahead_most"


async def clocks_of(tx: Transaction, device_no: int) -> list[Clock]:
    """The clocks of a device, newest first."""
    found = await tx.rows(f"SELECT {_CLOCK} FROM muster_clocks WHERE device_no = ?", (device_no,))
    return newest_first(
        Clock(
            first_read=unix(first_read),
            last_read=unix(last_read),
            booted_at=None if booted is None else unix(booted),
            first_at=unix(first),
            last_at=unix(last),
            least=least,
            most=most,
        )
        for first_read, last_read, booted, first, last, least, most in found
    )


async def keep_reading(tx: Transaction, device_no: int, reading: Reading) -> None:
    """Keep what was read of a device's clock; the same reading again changes nothing."""
    known = await clocks_of(tx, device_no)
    clock = heed(known, reading)
    if clock in known:
        return
    await tx.run(
        f"INSERT INTO muster_clocks (device_no, {_CLOCK}, wrong) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (device_no, first_read_at) DO UPDATE SET last_read_at = excluded.last_read_at,"
        " booted_at = excluded.booted_at, first_at = excluded.first_at, last_at = excluded.last_at,"
        " ahead_least = excluded.ahead_least, ahead_most = excluded.ahead_most, wrong = excluded.wrong",
        (
            device_no,
            iso(clock.first_read),
            iso(clock.last_read),
            None if clock.booted_at is None else iso(clock.booted_at),
            iso(clock.first_at),
            iso(clock.last_at),
            clock.least,
            clock.most,
            int(clock.wrong),
        ),
    )
    others = [other for other in known if other.first_read != clock.first_read]
    gone = newest_first([clock, *others])[CLOCKS_KEPT:]
    if gone:
        await tx.many(
            "DELETE FROM muster_clocks WHERE device_no = ? AND first_read_at = ?",
            [(device_no, iso(old.first_read)) for old in gone],
        )


async def ask_next(tx: Transaction, device_no: int) -> int:
    """When to ask a device for the time next, in unix seconds."""
    key = await tx.row(
        "SELECT MAX(issued_at) FROM muster_node_keys WHERE device_no = ? AND revoked_at IS NULL", (device_no,)
    )
    doubted = await tx.row(
        "SELECT MAX(dated_at) FROM muster_clock_stretches WHERE device_no = ? AND basis = ?", (device_no, RECEIVED)
    )
    return next_question(
        await clocks_of(tx, device_no),
        unix(key[0]) if key and key[0] else 0,
        unix(doubted[0]) if doubted and doubted[0] else None,
        device_no * 37 % SPREAD_SECONDS,
    )


async def found_off(tx: Transaction, device_nos: Sequence[int]) -> set[int]:
    """Those of the devices whose clocks were ever found to be off; nearly always none."""
    found = await tx.each(
        "SELECT 1 AS found FROM muster_clock_stretches WHERE device_no = ?"
        " UNION ALL SELECT 1 AS found FROM muster_clocks WHERE device_no = ? AND wrong = 1 LIMIT 1",
        [(device_no, device_no) for device_no in device_nos],
    )
    return {device_no for device_no, rows in zip(device_nos, found, strict=True) if rows}


async def stretches_of(tx: Transaction, device_no: int) -> list[Stretch]:
    """The stretches of a device, in order."""
    found = await tx.rows(
        "SELECT first_at, last_at, ahead, basis FROM muster_clock_stretches WHERE device_no = ? ORDER BY first_at",
        (device_no,),
    )
    return [Stretch(unix(first), unix(last), ahead, basis) for first, last, ahead, basis in found]


async def keep_stretches(
    tx: Transaction, device_no: int, known: Iterable[Stretch], wanted: Sequence[Stretch], now: float
) -> None:
    """Make ``wanted`` the stretches of a device in place of ``known``."""
    before, after = set(known), set(wanted)
    await tx.many(
        "DELETE FROM muster_clock_stretches WHERE device_no = ? AND first_at = ?",
        [(device_no, iso(stretch.first_at)) for stretch in before - after],
    )
    await tx.many(
        "INSERT INTO muster_clock_stretches (device_no, first_at, last_at, ahead, basis, dated_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (device_no, iso(stretch.first_at), iso(stretch.last_at), stretch.ahead, stretch.basis, iso(now))
            for stretch in wanted
            if stretch not in before
        ],
    )


async def seconds_seen(tx: Transaction, device_no: int) -> tuple[int, ...]:
    """The first and the last instant at which anything is stored of a device; nothing for a new one."""
    found = await tx.row(
        "SELECT MIN(at), MAX(at) FROM (SELECT at FROM muster_instants WHERE device_no = ?"
        " UNION ALL SELECT at FROM muster_status_logs WHERE device_no = ?) seen",
        (device_no, device_no),
    )
    return (unix(found[0]), unix(found[1])) if found and found[0] else ()
