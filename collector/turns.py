"""Whose turn it is on osqueryd: one statement of ours at a time, and a person who waits goes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """Shared by all of one event loop that give osqueryd statements which may take long."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._taken = False
        self._people = 0

    @property
    def people_wait(self) -> bool:
        """Whether a person's question waits or runs."""
        return self._people > 0

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """A turn for a person's question: the next that is free."""
        self._people += 1
        try:
            async with self._turn(lambda: not self._taken):
                yield
        finally:
            self._people -= 1
            async with self._changed:
                self._changed.notify_all()

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """A turn for what can wait until no person waits. To be taken for one statement, not for a row of them."""
        async with self._turn(lambda: not self._taken and not self._people):
            yield

    @asynccontextmanager
    async def _turn(self, free: Callable[[], bool]) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(free)
            self._taken = True
        try:
            yield
        finally:
            self._taken = False
            async with self._changed:
                self._changed.notify_all()
