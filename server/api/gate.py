"""A gate in front of what costs memory: only so many bytes of bodies are read and stored at a time.

Whoever comes while it is full waits outside, with the body still in the network's buffers, and is turned away only when
the wait has taken as long as osquery bears: an error silences a device for minutes, a late answer does not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from server.store.driver import DatabaseUnavailableError

ARRIVING_BYTES = 32 * 2**20
"""Bytes of bodies that have come in part, as they come: compressed mostly."""
IN_FLIGHT_BYTES = 64 * 2**20
"""Bytes of bodies under way at once. Read and taken apart they take about ten times as much memory."""
WAIT_SECONDS = 5.0
"""How long a body waits outside; the store may take nine more seconds, and osquery waits sixteen."""


class BusyError(DatabaseUnavailableError):
    """There was no place in time; the same request may succeed later."""


class Gate:
    """Lets bodies in, in the order they came, as long as their bytes fit."""

    def __init__(self, capacity: int = IN_FLIGHT_BYTES, seconds: float = WAIT_SECONDS) -> None:
        self.capacity = capacity
        self._free = capacity
        self._seconds = seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def place(self, size: int) -> Place:
        """A place for a body of ``size`` bytes; one larger than the gate takes all of it."""
        return Place(self, min(size, self.capacity))

    def growing(self) -> GrowingPlace:
        """A place that begins with nothing, for what grows while it comes."""
        return GrowingPlace(self)

    async def enter(self, size: int) -> None:
        """Take ``size`` bytes; raises ``BusyError`` when they do not come free in time."""
        if size <= self._free and not self._waiting:
            self._free -= size
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, admitted))
        # Only what has to wait pays for a timer. Of a wait that ends, the place goes to the next in line.
        try:
            await asyncio.wait((admitted,), timeout=self._seconds)
        except asyncio.CancelledError:
            if not admitted.cancel():
                self.leave(size)
            raise
        if admitted.cancel():
            self._admit()
            raise BusyError("more is coming in than can be stored now")

    def leave(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, admitted = self._waiting.popleft()
            if not admitted.done():
                self._free -= size
                admitted.set_result(None)


class Place:
    """A body's place behind the gate, for ``async with``."""

    __slots__ = ("_gate", "_size")

    def __init__(self, gate: Gate, size: int) -> None:
        self._gate = gate
        self._size = size

    async def __aenter__(self) -> None:
        await self._gate.enter(self._size)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self._size)


class GrowingPlace:
    """A place that is taken bit by bit and given back as a whole, for ``async with``."""

    __slots__ = ("_gate", "_size")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._size = 0

    async def grow(self, size: int) -> None:
        """Take more, up to all that the gate has. Raises ``BusyError``."""
        size = min(size, self._gate.capacity - self._size)
        if size > 0:
            await self._gate.enter(size)
            self._size += size

    def leave(self) -> None:
        """Give back what was taken."""
        size, self._size = self._size, 0
        if size:
            self._gate.leave(size)

    async def __aenter__(self) -> GrowingPlace:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
