"""The commit sequence of a transaction, the same on every database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class Sequenced:
    """The part of a transaction that gives its commit sequence: microseconds since 1970, growing with every one."""

    def __init__(self) -> None:
        self._seq: int | None = None
        self.last_seq: int | None = None

    async def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, or None."""
        raise NotImplementedError

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it touched."""
        raise NotImplementedError

    async def seq(self) -> int:
        """See ``Transaction.seq``."""
        if self._seq is None:
            if self.last_seq is None:
                found = await self.row("SELECT value FROM muster_meta WHERE key = 'seq'")
                self.last_seq = int(found[0]) if found else 0
            self._seq = self.last_seq = max(time.time_ns() // 1000, self.last_seq + 1)
            await self.run(
                "INSERT INTO muster_meta (key, value) VALUES ('seq', ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (str(self._seq),),
            )
        return self._seq

    def forget_seq(self) -> None:
        """A savepoint was undone, and with it perhaps the record of the sequence: the next work takes a new one."""
        self._seq = None
