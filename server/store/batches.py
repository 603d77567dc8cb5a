"""Collectors' batches: each counted once, whatever is sent again.

How far a spool has been delivered is kept in the transaction that stores its lines. Writers stand in one line, so of
one batch that comes to two servers at once the second finds the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.normalize.times import iso
from server.store.driver import Transaction
from server.wire.messages import BatchMark

SPOOLS_A_DEVICE = 64
"""Numberings of a device that are remembered, the newest: a collector begins another one only where one was lost."""


class Fate(StrEnum):
    """What is to become of a batch."""

    NEW = "new"
    """It goes on where the last one ended, or further on: a database that was restored has forgotten some."""
    KNOWN = "known"
    """It is the last one, sent again since its answer was lost."""
    DIVERGED = "diverged"
    """It goes back to before the last one: a spool that was restored, or copied to another machine."""


@dataclass(frozen=True, slots=True)
class _Watermark:
    through: int
    batch: str


_Spool = tuple[int, str, str]


async def weigh(tx: Transaction, marks: Sequence[tuple[int, BatchMark | None]], now: float) -> list[Fate]:
    """What is to become of batches, each with the number of its device, and note those that are new as delivered.

    Their lines must be stored in this transaction. Whatever has no mark is always new.
    """
    spools = sorted({_spool(device_no, mark) for device_no, mark in marks if mark})
    if not spools:
        return [Fate.NEW] * len(marks)
    found = await tx.each(
        "SELECT through, batch FROM muster_batches WHERE device_no = ? AND spool = ? AND lane = ?", spools
    )
    known = {spool: _Watermark(*rows[0]) for spool, rows in zip(spools, found, strict=True) if rows}
    old = frozenset(known)
    fates, moved = [], set[_Spool]()
    for device_no, mark in marks:
        fate = Fate.NEW
        if mark:
            spool = _spool(device_no, mark)
            fate = _fate(known.get(spool), mark)
            if fate is Fate.NEW:
                known[spool] = _Watermark(mark.through, mark.id)
                moved.add(spool)
        fates.append(fate)
    await tx.many(
        "INSERT INTO muster_batches (device_no, spool, lane, through, batch, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (device_no, spool, lane)"
        " DO UPDATE SET through = excluded.through, batch = excluded.batch, at = excluded.at",
        [(*spool, known[spool].through, known[spool].batch, iso(now)) for spool in sorted(moved)],
    )
    begun = sorted({spool[0] for spool in moved - old})
    await tx.many(
        "DELETE FROM muster_batches WHERE device_no = ? AND at <"
        " (SELECT b.at FROM muster_batches b WHERE b.device_no = ? ORDER BY b.at DESC LIMIT 1 OFFSET ?)",
        [(device_no, device_no, SPOOLS_A_DEVICE - 1) for device_no in begun],
    )
    return fates


def _spool(device_no: int, mark: BatchMark) -> _Spool:
    return device_no, mark.spool, mark.lane


def _fate(known: _Watermark | None, mark: BatchMark) -> Fate:
    if known is None or mark.after >= known.through:
        return Fate.NEW
    return Fate.KNOWN if (known.batch, known.through) == (mark.id, mark.through) else Fate.DIVERGED
