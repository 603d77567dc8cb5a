"""Lines on their way into the spool: written at once, or held in memory while the spool cannot be written."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from collector.spool import UNWRITABLE, Gap, Line, SpoolFullError
from collector.spool.model import ANY_QUERY, REFUSED

HELD_BYTES = 4 * 1024 * 1024
"""What may be held. One line may be larger than that; it is lost then."""
LINE_OVERHEAD = 250
"""About what a held line takes beside its text."""
RETRY_SECONDS = 5.0
"""The least time between attempts on a spool that just failed, so that each call of osqueryd is answered quickly."""
MOST_GAPS = 64
"""Sums of losses kept apart; further ones are summed as losses of any query."""

UNSTORABLE = f"{REFUSED}: it cannot be stored"

_LOG = logging.getLogger(__name__)


class Sink(Protocol):
    """What of the spool is used here."""

    def put(self, lines: Sequence[Line]) -> None:
        """Store lines, all or none."""

    def lost(self, gaps: Sequence[Gap]) -> None:
        """Count lines that will never come."""


class Holding:
    """Puts lines into the spool before it returns; never raises. May be used by several threads."""

    def __init__(
        self,
        sink: Sink,
        *,
        most: int = HELD_BYTES,
        clock: Callable[[], float] = time.monotonic,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self._sink = sink
        self._most = most
        self._clock = clock
        self._retry = retry
        self._lock = threading.Lock()
        # Status lines apart: however many there are, they never push out results.
        self._held: dict[bool, deque[Line]] = {False: deque(), True: deque()}
        self._bytes = 0
        self._gaps: dict[tuple[str, str], Gap] = {}
        self._failed_at: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all that came is in the spool."""
        return not (self._held[False] or self._held[True] or self._gaps)

    def put(self, lines: Iterable[Line]) -> None:
        """Store lines, with those held before them; hold them if that cannot be done."""
        lines = list(lines)
        with self._lock:
            if self._may_try():
                waiting = [*self._held[False], *self._held[True]]
                if self._try(lambda: self._store([*waiting, *lines])):
                    self._forget()
                    self._tell()
                    return
            for line in lines:
                self._hold(line)

    def _store(self, lines: list[Line]) -> None:
        try:
            if lines:
                self._sink.put(lines)
        except SpoolFullError:
            raise
        except Exception:
            # No trouble of the disk's: one of the lines cannot be stored. It must not hold up the others for ever.
            if len(lines) == 1:
                _LOG.exception("a line cannot be stored")
                self._count(Gap(lines[0].name, 1, len(lines[0].text), lines[0].at, lines[0].at, UNSTORABLE))
                return
            for line in lines:
                self._store([line])

    def lost(self, gap: Gap) -> None:
        """Count lines that cannot be delivered."""
        with self._lock:
            self._count(gap)
            if self._may_try():
                self._tell()

    def retry(self) -> None:
        """Write what is held, if anything is. To be called now and then."""
        if not self.is_empty:
            self.put(())

    def _may_try(self) -> bool:
        return self._failed_at is None or self._clock() - self._failed_at >= self._retry

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # whatever it is, the line is not lost by it, nor osqueryd
            if self._failed_at is None:
                _LOG.error("the spool cannot be written, lines are held in memory: %s", error)
            self._failed_at = self._clock()
            return False
        if self._failed_at is not None:
            _LOG.info("the spool can be written again")
        self._failed_at = None
        return True

    def _tell(self) -> None:
        gaps = list(self._gaps.values())
        if gaps and self._try(lambda: self._sink.lost(gaps)):
            self._gaps.clear()

    def _hold(self, line: Line) -> None:
        """Keep a line, at the expense of the oldest status lines, then of the oldest others."""
        if len(line.text) + LINE_OVERHEAD > self._most:
            self._count(Gap(line.name, 1, len(line.text), line.at, line.at, UNWRITABLE))
            return
        self._held[line.kind == "status"].append(line)
        self._bytes += len(line.text) + LINE_OVERHEAD
        while self._bytes > self._most:
            oldest = (self._held[True] or self._held[False]).popleft()
            self._bytes -= len(oldest.text) + LINE_OVERHEAD
            self._count(Gap(oldest.name, 1, len(oldest.text), oldest.at, oldest.at, UNWRITABLE))

    def _forget(self) -> None:
        for held in self._held.values():
            held.clear()
        self._bytes = 0

    def _count(self, gap: Gap) -> None:
        key = (gap.name, gap.reason)
        if key not in self._gaps and len(self._gaps) >= MOST_GAPS:
            key = (ANY_QUERY, gap.reason)
        known = self._gaps.get(key, Gap(key[0], 0, 0, gap.first_at, gap.last_at, gap.reason))
        self._gaps[key] = replace(
            known,
            lines=known.lines + gap.lines,
            bytes=known.bytes + gap.bytes,
            first_at=min(known.first_at, gap.first_at),
            last_at=max(known.last_at, gap.last_at),
        )
