"""How devices fare, told to their collectors when it changed: each once a minute at most, and many read together."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from functools import partial

from server.api.peers import Peer
from server.report.told import newest_day, postures
from server.store.channels import verdicts_changed
from server.store.driver import Transaction
from server.store.store import Store
from server.wire.collector_messages import Hello

LOOK_SECONDS = 5.0
POSTURE_SECONDS = 60.0
"""The least between two messages of a device."""
POSTURES_A_LOOK = 250
LATE_SECONDS = 60
"""How long before its commit a transaction may have got its sequence."""


class Postures:
    """Whose verdicts may be others than was told, and what they are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due: dict[Peer, None] = {}
        self._looked_at = float("-inf")
        self._news = _News()
        self.more = False
        """Whether some were left for the next look only for their number."""

    def greet(self, peer: Peer, hello: Hello) -> bool:
        """Note what a collector that says hello has; whether it is new here."""
        lost = hello.posture_hash != peer.posture_hash and time.monotonic() - peer.posture_at > POSTURE_SECONDS
        new, peer.posture_looked = not peer.posture_looked, True
        if new or lost:
            peer.posture_hash = hello.posture_hash
            self.doubt([peer])
        return new

    def doubt(self, peers: Iterable[Peer]) -> None:
        """Look at these again: what is said of their verdicts may be another."""
        self._due |= dict.fromkeys(peers)

    def forget(self, peer: Peer) -> None:
        """Forget one that is gone."""
        self._due.pop(peer, None)

    async def changed(self) -> Collection[int] | None:
        """The devices whose verdicts changed since the last look, by their numbers; None for all."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return ()
        found = await self._store.read(partial(_read, self._news.after))
        self._looked_at = time.monotonic()
        return self._news.of(*found, time.monotonic())

    async def due(self, only: Collection[Peer] | None = None) -> list[tuple[Peer, bytes]]:
        """The messages for those whose posture is another than they have: of ``only`` some, else of a number of all."""
        last = time.monotonic() - POSTURE_SECONDS
        asked = self._due if only is None else [peer for peer in only if peer in self._due]
        ready = [peer for peer in asked if peer.posture_at <= last]
        chosen = ready[:POSTURES_A_LOOK]
        if only is None:
            self.more = len(ready) > len(chosen)
        if not chosen:
            return []
        for peer in chosen:  # before the read: what changes meanwhile is looked at again
            del self._due[peer]
        parts = [(peer.caller.device, self._store.in_force.of(peer.caller.device).catalog) for peer in chosen]
        try:
            found = await self._store.read(partial(postures, devices=parts))
        except BaseException:
            self.doubt(chosen)
            raise
        said = []
        for peer, posture in zip(chosen, found, strict=True):
            if posture is not None and posture.hash != peer.posture_hash:
                peer.posture_hash, peer.posture_at = posture.hash, time.monotonic()
                said.append((peer, posture.message))
        return said


class _News:
    """How far changes of verdicts are known. Commits may be seen later than others with a higher sequence."""

    def __init__(self) -> None:
        self.after: int | None = None
        self._day: str | None = None
        self._seen: dict[int, int] = {}
        self._newest = 0
        self._newest_at = 0.0

    def of(self, day: str | None, changed: list[tuple[int, int]], now: float) -> Collection[int] | None:
        """The devices of what was read that changed since; None for all."""
        first, another_day = self.after is None, day != self._day
        news = {number for number, seq in changed if self._seen.get(number) != seq}
        newest = max((seq for _, seq in changed), default=self._newest)
        if newest != self._newest:
            self._newest, self._newest_at = newest, now
        settled = now - self._newest_at > LATE_SECONDS
        self.after = newest if settled else max(newest - LATE_SECONDS * 1_000_000, self.after or 0)
        self._seen = {} if settled else dict(changed)
        self._day = day
        return None if first or another_day else news


async def _read(after: int | None, tx: Transaction) -> tuple[str | None, list[tuple[int, int]]]:
    return await newest_day(tx), await verdicts_changed(tx, after)
