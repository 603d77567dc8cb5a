"""The control socket: any user of the device may ask; none gets rows, a key or a secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from collector.openness.disclosure import disclosure
from collector.openness.peer import peer_uid
from collector.openness.protocol import DEEDS, MOST_WAIT, REQUEST_BYTES
from collector.openness.sources import Sources
from collector.openness.status import status
from collector.openness.sync import Doing, sync

MOST_CONNECTIONS = 8
"""Of one user at once."""
MOST_OF_ALL = 32
"""Of all users but root, who is not kept out by others."""
REQUEST_SECONDS = 5.0
WRITE_SECONDS = 10.0
FRESH_SECONDS = 1.0
"""An answer so old is given again, so that nobody keeps osqueryd busy by asking."""
SYNC_SECONDS = 60.0
"""Between two syncs that others than root may ask for."""

log = logging.getLogger("uplink.control")


class _RefusedError(Exception):
    """The request is not done; the message says why."""


class Control:
    """The component that answers the owner's commands."""

    name = "control"

    def __init__(
        self, sources: Sources, doing: Doing, *, peer: Callable[[socket.socket], int | None] = peer_uid
    ) -> None:
        self._sources = sources
        self._doing = doing
        self._peer = peer
        self._path = sources.settings.control_socket
        # A thread of its own: what osqueryd keeps waiting here is not to keep the sender from the spool.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="control")
        self._connections: Counter[int | None] = Counter()
        self._answers: dict[str, tuple[float, dict[str, Any]]] = {}
        self._asking = asyncio.Lock()
        self._syncing = asyncio.Lock()
        self._synced_at: float | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        new = self._path.with_name(f"{self._path.name}.new")
        bound = _bound(new)  # not in a thread: whoever is cancelled meanwhile could not close it
        try:
            server = await asyncio.start_unix_server(self._connected, sock=bound, limit=REQUEST_BYTES)
        except BaseException:
            bound.close()
            raise
        new.replace(self._path)  # it is there when it listens; one that was left behind gives way
        try:
            async with server:
                await server.serve_forever()
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = self._peer(writer.get_extra_info("socket"))
        busy = self._is_busy(uid)
        self._connections[uid] += 1
        try:
            if busy:
                await _write(writer, {"error": "too many ask at once; try again in a moment"})
                return
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readline()
            await self._answer(line, writer)
        except (TimeoutError, ConnectionError, ValueError):  # ValueError: a line beyond the limit
            log.debug("a request broke off")
        finally:
            self._connections[uid] -= 1
            self._connections += Counter()  # without those that have none left
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _is_busy(self, uid: int | None) -> bool:
        """Whether one more of a user would be too many. Nobody keeps others out by connections that say nothing."""
        others = self._connections.total() - self._connections[0]
        return self._connections[uid] >= MOST_CONNECTIONS or (uid != 0 and others >= MOST_OF_ALL)

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            deed, wait = _request(line)
            if deed == "sync":
                answer = await self._sync(writer, wait)
            else:
                answer = await self._asked(deed)
        except _RefusedError as error:
            await _write(writer, {"error": str(error)})
        except ConnectionError:
            raise
        except Exception:
            log.exception("a request could not be answered:")
            await _write(writer, {"error": "the collector failed over it; its log says how"})
        else:
            await _write(writer, {"answer": answer})

    async def _asked(self, deed: str) -> dict[str, Any]:
        work = {"status": status, "disclose": disclosure}[deed]
        async with self._asking:
            at, answer = self._answers.get(deed, (0.0, {}))
            if not answer or time.monotonic() - at > FRESH_SECONDS:
                answer = await asyncio.get_running_loop().run_in_executor(self._thread, work, self._sources)
                self._answers = {deed: (time.monotonic(), answer)}
            return answer

    async def _sync(self, writer: asyncio.StreamWriter, wait: float) -> dict[str, Any]:
        uid = self._peer(writer.get_extra_info("socket"))
        if self._syncing.locked():
            raise _RefusedError("a sync is under way already")
        if uid != 0 and self._synced_at is not None:
            left = self._synced_at + SYNC_SECONDS - time.monotonic()
            if left > 0:
                raise _RefusedError(f"a sync was asked for a moment ago; again in {left:.0f} s, or as root")
        async with self._syncing:
            self._synced_at = time.monotonic()
            self._answers.clear()

            async def say(text: str) -> None:
                with contextlib.suppress(ConnectionError, TimeoutError):  # it goes on though nobody listens
                    await _write(writer, {"progress": text})

            return await sync(self._sources, self._doing, say, wait)


def _request(line: bytes) -> tuple[str, float]:
    try:
        asked = json.loads(line)
        deed, wait = asked["do"], asked.get("wait", MOST_WAIT)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _RefusedError('a request is one line: {"do": …}') from None
    if deed not in DEEDS:
        raise _RefusedError(f"there are {', '.join(DEEDS)}")
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= MOST_WAIT:
        raise _RefusedError(f"wait is a number of seconds, {MOST_WAIT:.0f} at most")
    return deed, float(wait)


async def _write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()


def _bound(path: Path) -> socket.socket:
    """A socket that everybody may connect to."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = path.parent.stat()
    shared = folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX
    if hasattr(os, "getuid") and (shared or folder.st_uid not in (0, os.getuid())):
        # A link put in the socket's place would have its mode changed below, whatever it leads to.
        raise PermissionError(f"others may put files into {path.parent}: no control socket is made there")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o666)
    except OSError:
        bound.close()
        raise
    return bound
