"""A relay between a device and its server: always on the same port, and it can lose what is answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Relay:
    """Where it listens and sends to. With ``deaf`` set it hangs up as soon as the server answered, so many times."""

    port: int = 0
    target: int = 0
    deaf: int = 0
    lost: int = 0
    """Answers that were."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            forth = asyncio.create_task(copy(reader, server_writer))
            while chunk := await server_reader.read(65536):
                if self.deaf:
                    self.deaf -= 1
                    self.lost += 1
                    break
                writer.write(chunk)
                await writer.drain()
            forth.cancel()
            server_writer.close()
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, then close."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def relay(target: int) -> AsyncIterator[Relay]:
    """A relay that listens."""
    made = Relay(target=target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
