"""An HTTP proxy on loopback that knows CONNECT and, if it is told one, asks for a user and password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.relay import copy


@dataclass
class Proxy:
    """What it let through: host and port of each tunnel."""

    port: int = 0
    credentials: str = ""
    """USER:PASSWORD, if it asks."""
    tunnels: list[str] = field(default_factory=list)
    refused: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            wanted = "proxy-authorization: basic " + base64.b64encode(self.credentials.encode()).decode().lower()
            if self.credentials and wanted not in (line.lower() for line in head):
                self.refused += 1
                answer = "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=proxy\r\n"
                writer.write(f"HTTP/1.1 {answer}Content-Length: 0\r\n\r\n".encode())
            elif method != "CONNECT":
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            else:
                await self._tunnel(target, reader, writer)
        writer.close()

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnels.append(target)
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


@asynccontextmanager
async def proxy(credentials: str = "") -> AsyncIterator[Proxy]:
    """A proxy that listens."""
    made = Proxy(credentials=credentials)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
