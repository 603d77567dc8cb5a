"""What devices lost before it was delivered: told to people, and held against what rests on every line having come."""

from __future__ import annotations

from collections.abc import Sequence

from server.normalize import never
from server.normalize.names import parse_scheduled_name
from server.normalize.rows import digest_of
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.driver import Transaction
from server.wire.collector import ANY_QUERY
from server.wire.messages import Gap

REASON_CHARS = 300


def query_of(gap: Gap) -> str:
    """The query whose lines were lost, without its version; empty for status lines, ``*`` for one that is not known."""
    return parse_scheduled_name(clean_text(gap.query)).query if gap.query not in ("", ANY_QUERY) else gap.query


async def keep_gaps(tx: Transaction, device_no: int, gaps: Sequence[Gap], now: float) -> None:
    """Keep what a device says to have lost; the same word again changes nothing. The gaps are in our time."""
    rows = []
    for gap in gaps:
        reason = never.redact(clean_text(gap.reason))[:REASON_CHARS]
        told = (query_of(gap), gap.lines, gap.bytes, iso(gap.first_at), iso(gap.last_at), reason)
        digest = digest_of(repr((*told, gap.dropped_at)).encode("utf-8", "replace"))
        rows.append((device_no, digest, *told, iso(now)))
    await tx.many(
        "INSERT INTO muster_gaps (device_no, digest, query, lines, bytes, first_at, last_at, reason, noted_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device_no, digest) DO NOTHING",
        rows,
    )


async def queries_by_runs(tx: Transaction, device_no: int, gap: Gap) -> list[str]:
    """The queries of which a gap may have lost runs: of those the device answers by differentials."""
    query = query_of(gap)
    found = await tx.rows(
        "SELECT DISTINCT q.query FROM muster_runs_received r JOIN muster_queries q ON q.table_name = r.table_name"
        " WHERE r.device_no = ?",
        (device_no,),
    )
    return sorted(row[0] for row in found if query in (ANY_QUERY, row[0]))
