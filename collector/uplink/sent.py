"""When each query's answer was last sent, for the device's owner: a note of the spool, written now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import orjson

from collector.spool import Batch, Spool

NOTE = "sent_queries"
"""{name: [unix time of the observation, unix time at which the server took it]}"""
NOTE_SECONDS = 60.0
MOST_NAMES = 2000
_KINDS = frozenset({"result", "snapshot"})


class Sent:
    """Kept in memory and written once a minute at most. Its methods block, and raise what the spool raises."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._names: dict[str, list[int]] | None = None
        self._written_at: float | None = None

    def taken(self, batch: Batch) -> None:
        """The server has taken a batch."""
        names, now = self._known(), int(time.time())
        fresh = {line.name: [line.at, now] for line in batch.lines if line.kind in _KINDS}
        if not fresh:
            return
        for name, pair in fresh.items():
            names.pop(name, None)  # the newest stand last
            names[name] = pair
        for name in list(names)[:-MOST_NAMES]:
            del names[name]
        if self._written_at is None or time.monotonic() - self._written_at >= NOTE_SECONDS:
            self._spool.keep(NOTE, orjson.dumps(names))
            self._written_at = time.monotonic()

    def names(self) -> Mapping[str, Sequence[int]]:
        """What is known by now: [observed at, sent at] by name."""
        return dict(self._known())

    def _known(self) -> dict[str, list[int]]:
        if self._names is None:
            try:
                noted = orjson.loads(self._spool.get(NOTE) or b"{}")
            except orjson.JSONDecodeError:
                noted = {}
            self._names = noted if isinstance(noted, dict) else {}
        return self._names
