"""An answer as large as a device sends one is taken, however well it packs."""

from __future__ import annotations

from collector.live.running import Limits
from collector.spool import Batch, Line
from collector.uplink.body import built
from server.wire.body import inflate, inflated_size
from server.wire.limits import ENDPOINTS


def test_the_largest_answer_is_no_bomb() -> None:
    limit = ENDPOINTS["collector/batch"]
    text = b'{"rows":[]}'.ljust(Limits().answer_bytes)
    packed = built(Batch("0" * 32, "1" * 32, "live", 0, 1, (Line("answer", "q", 1, text),)), None)
    assert len(packed) * 900 < len(text)
    assert text in inflate(packed, limit, inflated_size(packed, limit))
