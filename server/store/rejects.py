"""What could not be stored, or was not stored where it claimed to belong, for people to see."""

from __future__ import annotations

from collections.abc import Iterable

from server.normalize.rows import digest_of
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.driver import Transaction
from server.wire.messages import BadLine

REJECTS_A_DEVICE = 1000
SAMPLE_CHARS = 1000


async def keep(tx: Transaction, device_no: int, lines: Iterable[BadLine], now: float) -> None:
    """Keep lines that could not be stored, each once and up to a cap per device."""
    rows = {}
    for line in lines:
        values = tuple(clean_text(part)[:SAMPLE_CHARS] for part in (line.name, line.reason, line.sample))
        digest = digest_of(repr(values).encode("utf-8", "replace"))
        rows[digest] = (device_no, digest, iso(now), *values)
    if not rows:
        return
    count = await tx.row("SELECT COUNT(*) FROM muster_rejects WHERE device_no = ?", (device_no,))
    room = max(0, REJECTS_A_DEVICE - (count[0] if count else 0))
    await tx.many(
        "INSERT INTO muster_rejects (device_no, digest, rejected_at, query, reason, sample)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        list(rows.values())[:room],
    )
