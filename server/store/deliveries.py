"""Bodies on their way into the store, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.store.asked import Settled
from server.store.batches import Fate
from server.store.devices import Device
from server.wire.messages import Backlog, BadLine, BatchMark, LogBody


@dataclass(frozen=True, slots=True)
class Delivery:
    """A body, and the device whose node key it came with.

    One that ``settled`` questions came by distributed query: its lines bear our own times already. One with a ``batch``
    came from a collector.
    """

    device: Device
    body: LogBody
    settled: Sequence[Settled] = ()
    batch: BatchMark | None = None
    backlog: Backlog | None = None


@dataclass(slots=True)
class Ingested:
    """What became of a body."""

    answers: int = 0
    statuses: int = 0
    rejected: list[BadLine] = field(default_factory=list)
    doubtful: bool = False
    """Whether lines were dated by their arrival, since their own times were absurd."""
    gaps: int = 0
    fate: Fate = Fate.NEW
    """Only what is new was stored."""
    lost: int = 0
    """Lines that the device says to have lost."""


@dataclass(slots=True)
class Taken:
    """What became of all bodies since this process began."""

    bodies: int = 0
    answers: int = 0
    statuses: int = 0
    rejected: int = 0
    batches: int = 0
    known: int = 0
    diverged: int = 0
    gaps: int = 0
    lost: int = 0

    def count_batch(self, done: Ingested) -> None:
        """Count a collector's batch that is durable, or was before."""
        if done.fate is Fate.NEW:
            self.count(done)
            self.batches += 1
            self.gaps += done.gaps
            self.lost += done.lost
        elif done.fate is Fate.KNOWN:
            self.known += 1
        else:
            self.diverged += 1

    def count(self, done: Ingested) -> None:
        """Count a body that is durable."""
        self.bodies += 1
        self.answers += done.answers
        self.statuses += done.statuses
        self.rejected += len(done.rejected)
