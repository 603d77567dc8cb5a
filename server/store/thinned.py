"""Answers that fall where instants have been thinned out: the run is cut, and what is there is marked approximate."""

from __future__ import annotations

from server.normalize.times import iso, unix
from server.store.driver import Transaction
from server.store.timeline import Moment

_PUT_BACK = (
    "INSERT INTO muster_instants (device_no, table_name, at, status, version, fingerprint, thinned, approximate)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, 1)"
)


def bounded(when: Moment, gap: int) -> Moment:
    """The moment with its next answer where the device must have answered again at the latest.

    It answered at least every ``gap`` seconds, but the instants at which it did are gone.
    """
    if when.within is None or when.within.said.status not in ("ok", "incomplete"):
        return when
    return when._replace(until=min(when.within.right, iso(unix(when.at) + gap)))


async def cut(tx: Transaction, device_no: int, table: str, when: Moment, gap: int) -> None:
    """Put instants of the run back on both sides of an answer that says something else than the run it falls into."""
    if when.within is None:
        return
    said, left, right = when.within
    before, after = max(left, iso(unix(when.at) - gap)), min(right, iso(unix(when.at) + gap))
    if before > left:
        await tx.run(_PUT_BACK, (device_no, table, before, *said, 1))
    if after < right:
        await tx.run(_PUT_BACK, (device_no, table, after, *said, 0))
    else:
        await tx.run(
            "UPDATE muster_instants SET thinned = 0 WHERE device_no = ? AND table_name = ? AND at = ?",
            (device_no, table, right),
        )
