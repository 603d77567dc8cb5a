"""What the device says of itself to the server, when it connects and every minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from collector import VERSION
from collector.osqueryd import Osquery, OsqueryGoneError
from collector.spool import LANES, Spool, SpoolFullError
from collector.uplink.messages import CONFIG, POSTURE, hashes

OSQUERY_SECONDS = 600.0
"""How long what is known of osqueryd is believed: its version and flags change with a restart only."""
MOST_QUEUED = 2000
PLUGIN = "muster"
ABOUT = (
    "SELECT (SELECT version FROM osquery_info) AS version,"
    " (SELECT value FROM osquery_flags WHERE name = 'config_plugin') AS config_plugin"
)

_LOG = logging.getLogger(__name__)


class Opens(Protocol):
    """What makes a connection to osqueryd."""

    def __call__(self, seconds: float, /) -> Osquery:
        """Make one."""


class Hello:
    """Makes the message."""

    def __init__(
        self,
        spool: Spool,
        opens: Opens,
        queued: Callable[[], Awaitable[Sequence[str]]],
        policy: Callable[[], str],
    ) -> None:
        """``policy``: the device's own policy in one line; empty if there is none. It may block."""
        self._spool = spool
        self._opens = opens
        self._queued = queued
        self._policy = policy
        self._version = ""
        self._serves_config = False
        self._believed_until = 0.0

    async def message(self) -> dict[str, Any]:
        """The message as it is sent now."""
        queued: Sequence[str] = ()
        try:
            queued = await self._queued()
        except SpoolFullError as error:
            _LOG.warning("what waits is not known: %s", error)
        return await asyncio.to_thread(self._message, list(queued[:MOST_QUEUED]))

    def _message(self, queued: list[str]) -> dict[str, Any]:
        self._look()
        known: dict[str, str] = {}
        backlog: dict[str, Any] = {}
        try:
            known = hashes(self._spool)
            backlog = backlog_of(self._spool)
        except SpoolFullError as error:
            _LOG.warning("the backlog is not known: %s", error)
        return {
            "type": "hello",
            "collector": VERSION,
            "osquery": self._version,
            "config_hash": known.get(CONFIG, ""),
            "posture_hash": known.get(POSTURE, ""),
            "serves_config": self._serves_config,
            "backlog": backlog,
            "queued": queued,
            "policy": self._policy(),
        }

    def _look(self) -> None:
        if time.monotonic() < self._believed_until:
            return
        connection = self._opens(5.0)
        try:
            rows = connection.query(ABOUT).rows
        except OsqueryGoneError:
            return  # it keeps what it said last, and is asked again with the next message
        finally:
            connection.close()
        if rows:
            self._version = rows[0].get("version", "")
            self._serves_config = PLUGIN in rows[0].get("config_plugin", "").split(",")
            self._believed_until = time.monotonic() + OSQUERY_SECONDS


def backlog_of(spool: Spool) -> dict[str, Any]:
    """What waits for the server, as it is told. Blocks."""
    stats = spool.stats()
    oldest = [lane.oldest_at for lane in (stats.lanes[name] for name in LANES) if lane.oldest_at is not None]
    return {"lines": stats.lines, "bytes": stats.bytes, "oldest_at": min(oldest, default=None)}
