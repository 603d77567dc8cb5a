"""The body of a batch: the spooled lines joined as they are, and compressed."""

from __future__ import annotations

import zlib

import orjson

from collector.spool import LOG, Batch, SpoolStats

LEVEL = 6


def built(batch: Batch, stats: SpoolStats | None) -> bytes:
    """The compressed body; blocks for the time that compressing takes. ``stats``: what waits beyond the batch.

    Lines are not looked at. One that is no JSON makes the whole none, and the server then reads it line by line; so
    what it needs to count the batch comes first, and what osquery wrote comes last.
    """
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)  # 31: with gzip's header
    head = {"id": batch.id, "spool": batch.spool, "lane": batch.lane, "after": batch.after, "through": batch.through}
    pieces = [deflate.compress(b'{"batch":' + orjson.dumps(head))]
    if stats is not None:
        pieces.append(deflate.compress(b',"backlog":' + orjson.dumps(_backlog(stats))))
    for key, kinds in ((b"gaps", ("gap",)), (b"answers", ("answer",)), (b"data", ("result", "snapshot", "status"))):
        separator = b',"' + key + b'":['
        for line in batch.lines:
            if line.kind in kinds:
                pieces.append(deflate.compress(separator + line.text))
                separator = b","
        pieces.append(deflate.compress(separator + b"]" if len(separator) > 1 else b"]"))
    pieces.append(deflate.compress(b"}"))
    pieces.append(deflate.flush())
    return b"".join(pieces)


def _backlog(stats: SpoolStats) -> dict[str, int | None]:
    """What waits to be logged after this batch; answers under way are no backlog."""
    waiting = stats.lanes[LOG]
    return {"lines": waiting.lines, "bytes": waiting.bytes, "oldest_at": waiting.oldest_at}
