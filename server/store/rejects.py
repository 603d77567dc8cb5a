"""What could not be stored, or was not stored where it claimed to belong, for people to see."""

from __future__ import annotations

from collections.abc import Iterable

from server.normalize.rows import digest_of
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.driver import Transaction
from server.wire.messages import BadLine, ResultLine, StatusLine
from server.wire.repeats import read_rows

REJECTS_A_DEVICE = 1000
SAMPLE_CHARS = 1000


def bad_line(line: ResultLine | StatusLine, reason: str) -> BadLine:
    """A line that could be read and is set aside all the same."""
    if isinstance(line, StatusLine):
        return BadLine(reason=reason, sample=line.message[:SAMPLE_CHARS])
    rows = read_rows(line.raw_rows) if line.unread and line.raw_rows else line.added
    return BadLine(reason=reason, sample=str(rows[:3])[:SAMPLE_CHARS], name=line.name)


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
