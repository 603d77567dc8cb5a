"""A TCP relay between a device and its server that can be trouble: it drops, delays, hangs and cuts in mid-body."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 16 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing resets the connection."""


class Relay:
    """Listens on a port that stays the same wherever the server goes.

    Attributes:
        port: where the device connects to.
        target: the server's port.
        trouble: the share of connections that meet with some, 0 to 1; those under way meet it, too.
        down: nobody gets through, and those that were are cut off.
        fates: how often each kind of trouble was met.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target = target
        self.trouble = 0.0
        self.fates: dict[str, int] = {}
        self._down = False
        self._chance = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="relay")
        self._thread.start()

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        if down:
            self.cut()

    def cut(self) -> None:
        """End every connection at once, whatever is under way."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    def close(self) -> None:
        async def end() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            self._cut()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._relay, sock=self._listener))
        self._loop.run_forever()
        server.close()
        self._loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        theirs: asyncio.StreamWriter | None = None
        try:
            if self._down or self._meets("dropped"):
                return
            their_reader, theirs = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(theirs)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pipe(reader, theirs, "request"))
                both.create_task(self._pipe(their_reader, writer, "answer"))
        except* (OSError, EOFError):
            pass
        finally:
            for end in filter(None, (writer, theirs)):
                self._open.discard(end)
                _reset(end)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str) -> None:
        while chunk := await reader.read(CHUNK):
            if self._meets("delayed"):
                await asyncio.sleep(self._chance.uniform(0, 0.5))
            if self._meets(f"hung in the {what}"):
                await asyncio.sleep(self._chance.uniform(1, 3))
                raise EOFError
            if self._meets(f"cut in the {what}"):
                writer.write(chunk[: self._chance.randrange(len(chunk))])
                await writer.drain()
                raise EOFError
            writer.write(chunk)
            await writer.drain()
        raise EOFError

    def _meets(self, fate: str) -> bool:
        met = self._chance.random() < self.trouble / 4
        if met:
            self.fates[fate] = self.fates.get(fate, 0) + 1
        return met


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextmanager
def relay(target: int, seed: int = 0) -> Iterator[Relay]:
    made = Relay(target, seed)
    try:
        yield made
    finally:
        made.close()
