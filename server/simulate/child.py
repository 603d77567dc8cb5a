"""A real ``muster serve`` in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class ServerFailedError(Exception):
    """The server ended, or did not say in time where it listens. What it said is on standard error."""


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[str]:
    """Start a server with these options and give its address; stop it at the end, by its own process.

    It gets a session of its own, so that Ctrl-C on the terminal reaches it only after the fleet has said its last.
    """
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli.main", "serve", *options),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield await _address_of(server)
    finally:
        if server.returncode is None:
            server.terminate()
        try:
            await asyncio.wait_for(server.wait(), STOP_SECONDS)
        except TimeoutError:
            server.kill()
            await server.wait()


async def _address_of(server: asyncio.subprocess.Process) -> str:
    assert server.stdout is not None
    try:
        line = (await asyncio.wait_for(server.stdout.readline(), START_SECONDS)).decode()
    except TimeoutError:
        line = ""
    if not line.startswith("Muster listens on "):
        raise ServerFailedError("the server did not start")
    return line.split()[-1]
