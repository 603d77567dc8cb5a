"""The body of a batch: the spooled lines joined as they are, and compressed."""

from __future__ import annotations

import zlib

import orjson

from collector.spool import LOG, Batch, SpoolStats

LEVEL = 6


def built(batch: Batch, stats: SpoolStats | None) -> bytes:
    """The compressed body; blocks for the time that compressing takes.

    Lines are not looked at. One that is no JSON makes the whole none, and the server then reads it line by line; so
    what it needs to count the batch comes first, and what osquery wrote comes last.
    """
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)  # 31: with gzip's header
    head = {"id": batch.id, "spool": batch.spool, "lane": batch.lane, "after": batch.after, "through": batch.through}
    pieces = [deflate.compress(b'{"batch":' + orjson.dumps(head))]
    if stats is not None:
        pieces.append(deflate.compress(b',"backlog":' + orjson.dumps(_backlog(stats, batch))))
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


def _backlog(stats: SpoolStats, batch: Batch) -> dict[str, int | None]:
    """What waits to be logged once this batch is stored; answers under way are no backlog.

    The oldest of it is no older than what this batch begins with, and dated so.
    """
    waiting = stats.lanes[LOG]
    lines = max(0, waiting.lines - len(batch.lines))
    if not lines:
        return {"lines": 0, "bytes": 0, "oldest_at": None}
    size = max(0, waiting.bytes - sum(len(line.text) for line in batch.lines))
    return {"lines": lines, "bytes": size, "oldest_at": waiting.oldest_at}
