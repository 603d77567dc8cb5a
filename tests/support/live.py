"""The live queue of one device on a stand-in osqueryd, in the test's process or in one of its own that can be killed.

As a module it is that process: each line on standard input is a burst, as JSON messages of the channel.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from collector.live.queue import LiveQueue
from collector.live.running import Limits
from collector.osqueryd import Osquery
from collector.spool import Spool
from collector.turns import Turns
from collector.uplink.messages import Messages

BUDGET = 256 * 2**20
SECONDS = 20.0


def allowed(_sql: str) -> str | None:
    return None


class Device:
    """A queue that runs, and the answers it gave."""

    def __init__(
        self, path: Path, socket: Path, check: Any = allowed, limits: Limits | None = None, turns: Turns | None = None
    ) -> None:
        self._path = path
        self.spool = Spool(path, BUDGET)
        self.woken = asyncio.Event()
        self.queue = LiveQueue(
            self.spool, lambda seconds: Osquery(socket, seconds), check, turns or Turns(), self.woken.set, limits
        )
        self.messages = Messages(self.spool, self.queue)

    async def ask(self, *asks: tuple[str, str]) -> None:
        await self.messages.messages([{"type": "ask", "id": name, "sql": sql} for name, sql in asks])

    async def cancel(self, name: str) -> None:
        await self.messages.messages([{"type": "cancel", "id": name}])

    def answers(self) -> list[dict[str, Any]]:
        """Those in the spool, in the order they were given."""
        return answers_in(self._path)

    async def answered(self, count: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Wait until there are so many answers."""
        async with asyncio.timeout(seconds):
            while True:
                self.woken.clear()
                names = await asyncio.to_thread(self.spool.answers)
                if len(names) >= count:
                    assert len(names) == count, names
                    return await asyncio.to_thread(self.answers)
                await self.woken.wait()

    async def started(self, name: str, seconds: float = SECONDS) -> None:
        """Wait until a question is noted as running."""
        await until(lambda: noted_running(self.spool) == name, seconds)


def answers_in(path: Path) -> list[dict[str, Any]]:
    """Read beside the spool: a batch that was asked for stays what it was."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT text FROM lines WHERE kind = 'answer' ORDER BY seq").fetchall()
    return [json.loads(text) for (text,) in rows]


def noted_running(spool: Spool) -> str | None:
    note = json.loads(spool.get("live") or b"{}")
    return note["running"]["id"] if note.get("running") else None


async def until(met: Any, seconds: float = SECONDS) -> None:
    """Look again and again whether something is so; for what nothing tells of."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(met):  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)


@asynccontextmanager
async def device(path: Path, socket: Path, **options: Any) -> AsyncIterator[Device]:
    """A queue on a spool that runs until the end."""
    made = Device(path, socket, **options)
    running = asyncio.create_task(made.queue.run())
    try:
        yield made
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        made.spool.close()


class Process:
    """The queue in a process of its own."""

    def __init__(self, path: Path, socket: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.live", str(path), str(socket)], stdin=subprocess.PIPE
        )

    def burst(self, messages: Sequence[dict[str, Any]]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(messages).encode() + b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


async def main(path: Path, socket: Path) -> None:
    made = Device(path, socket)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(made.messages.messages(json.loads(line)), loop).result()

    threading.Thread(target=read, daemon=True).start()
    await made.queue.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
