"""Telling systemd that the uplink is up, that it is still alive, and that it ends: datagrams to its socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("uplink.systemd")


class ServiceManager:
    """systemd, where it started us and said where it listens; else nobody."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1e6 if self._address and microseconds.isdecimal() else 0.0
        """Within which it wants to hear of us; 0: never. Whom it meant is left aside: the supervisor runs us."""

    def say(self, message: str) -> None:
        """Send one message, such as ``READY=1``; that it does not arrive harms nothing."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(message.encode())
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", message.partition("\n")[0], error)


class Watchdog:
    """Says that the event loop turns, twice as often as systemd wants to hear it."""

    name = "watchdog"

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager

    async def run(self) -> None:
        """Until cancelled; done at once where nobody listens."""
        while self._manager.watchdog_seconds:
            self._manager.say("WATCHDOG=1")
            await asyncio.sleep(self._manager.watchdog_seconds / 2)
