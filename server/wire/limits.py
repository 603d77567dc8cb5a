"""What one request may cost, per endpoint, in one table with the reason for each number.

A body over its limit is drained and answered, never cut off: osquery writes its whole request before it
reads, takes a broken connection for a failure and sends the same body again for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The bounds of one endpoint; sizes are in bytes."""

    body: int
    """Bytes on the wire."""
    inflated: int
    """Bytes after gzip; equal to ``body`` where osquery never compresses."""
    ratio: int = 1
    """Inflated bytes a compressed byte may become, once ``RATIO_FREE`` bytes are out."""
    reason: str


RATIO_FREE = 64 * MIB
"""Output below this is never held against the ratio: small repetitive bodies compress very well."""

LINES_A_BODY = 100_000
"""Log lines a body may hold. osquery sends at most logger_tls_max_lines (1,024 by default)."""
LINES_A_BATCH = 10_000
"""Lines, answers and gaps of a collector's batch. More are refused whole, for the collector can split them."""
QUESTION_CHARS = 1024
"""Characters of the id of a question that is answered; ours have under 700."""
QUESTIONS_QUEUED = 2000
"""Ids of questions in a collector's hello that are looked at."""
MESSAGE_BYTES = 256 * KIB
"""One message of a collector over its channel: a hello with a few thousand ids at most."""
ROWS_A_LINE = 1_000_000
"""Rows of one snapshot; 700,000 rows in one answer of a real osqueryd were seen."""
LINE_BYTES = 16 * MIB
"""One log line. Our config lets osquery send 8 MiB (logger_tls_max_linesize); escapes may double it."""
COLUMNS_A_ROW = 512
"""Columns of one row; the widest osquery table has under 80."""
VALUE_CHARS = 1_000_000
"""Characters of one value; longer ones are set aside with their row."""
NAME_CHARS = 512
"""Characters of a query's scheduled name."""
JSON_DEPTH = 1000
"""Nesting at which both JSON parsers give up. What is kept nests five levels deep; a deeper value is set aside."""

ENDPOINTS: dict[str, Limit] = {
    "enroll": Limit(
        body=1 * MIB,
        inflated=1 * MIB,
        reason="one row each of four small tables; anyone may call it",
    ),
    "config": Limit(body=64 * KIB, inflated=64 * KIB, reason="the body is a node key and nothing else"),
    "log": Limit(
        body=64 * MIB,
        inflated=256 * MIB,
        ratio=250,
        reason="1,024 lines a body, some of them whole software inventories; a refused body would come again for ever",
    ),
    "distributed/read": Limit(body=64 * KIB, inflated=64 * KIB, reason="the body is a node key and nothing else"),
    "distributed/write": Limit(
        body=128 * MIB, inflated=128 * MIB, reason="one uncompressed body with every finished query; 45 MB was seen"
    ),
    "carve/begin": Limit(body=64 * KIB, inflated=64 * KIB, reason="seven short values"),
    "collector/enroll": Limit(
        body=1 * MIB, inflated=1 * MIB, reason="as for enroll: one row each of four small tables; anyone may call it"
    ),
    "collector/batch": Limit(
        body=64 * MIB,
        inflated=80 * MIB,
        ratio=1100,
        reason="some thousand lines, or one answer of up to 64 MiB, of which nothing may be held against its packing",
    ),
    "collector/poll": Limit(body=MESSAGE_BYTES, inflated=MESSAGE_BYTES, reason="a hello, as over the channel"),
    "carve/block": Limit(body=16 * MIB, inflated=16 * MIB, reason="one base64 block; carves are not kept"),
}
