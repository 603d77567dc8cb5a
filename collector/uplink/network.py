"""Whether the way to the server may have changed: the device slept, or is reached by another address.

A connection that died in sleep looks alive for a long time: nothing comes, and nothing is missed. Both signs cost a few
microseconds, without a packet sent.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

TICK_SECONDS = 5.0
SLEPT_SECONDS = 10.0
"""By how much the clock of the day gets ahead of the loop's, which stands still in sleep, until it counts as slept."""

_LOG = logging.getLogger(__name__)


class Network:
    """Watches, and tells whoever asked to be told. A clock that was put forward looks like sleep, and does no harm."""

    name = "network watch"

    def __init__(
        self,
        tick: float = TICK_SECONDS,
        clock: Callable[[], float] = time.time,
        address: Callable[[tuple[str, int]], str] | None = None,
    ) -> None:
        self._tick = tick
        self._clock = clock
        self._address = address or own_address
        self._told: list[Callable[[str], None]] = []
        self._peer: tuple[str, int] | None = None
        self._own = ""

    def tell(self, told: Callable[[str], None]) -> None:
        """Call this with the reason whenever the way may have changed."""
        self._told.append(told)

    def reached(self, peer: tuple[str, int]) -> None:
        """The address (and port) that was connected to last, of the server or of the proxy before it."""
        self._peer = peer
        self._own = self._address(peer)

    async def run(self) -> None:
        """Watch, until cancelled."""
        ahead = self._clock() - time.monotonic()
        while True:
            await asyncio.sleep(self._tick)
            now = self._clock() - time.monotonic()
            if now - ahead > SLEPT_SECONDS:
                self._say(f"the device slept for about {now - ahead:.0f} s")
            ahead = now
            if self._peer is not None:
                own = self._address(self._peer)
                if own and own != self._own:
                    self._say("the device's address changed" if self._own else "the network is back")
                self._own = own

    def _say(self, reason: str) -> None:
        _LOG.info("%s", reason)
        for told in self._told:
            told(reason)


def own_address(peer: tuple[str, int]) -> str:
    """The address from which a peer would be reached now; empty if it cannot be."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(peer)  # sends nothing: it only looks up the route
            return str(probe.getsockname()[0])
    except OSError:
        return ""
