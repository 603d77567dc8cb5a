"""What the handlers share, under typed keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from server.api.gate import Gate
from server.store.access import Principal
from server.store.ask import Asker
from server.store.clones import Clones
from server.store.store import Store


@dataclass(slots=True)
class Presence:
    """The devices heard of since they were last written down, and the configs (application, hash) they were served."""

    device_nos: set[int] = field(default_factory=set)
    served: dict[int, tuple[int, str]] = field(default_factory=dict)
    _last: dict[int, tuple[int, str]] = field(default_factory=dict)

    def serve(self, device_no: int, number: int, digest: str) -> None:
        """Note that a device is served a config; only a change has to be written down."""
        now = (number, digest)
        if self._last.get(device_no) != now:
            self._last[device_no] = self.served[device_no] = now

    def forget_served(self) -> None:
        """Have every config written down once more: another server may have served a device another one since."""
        self._last.clear()


STORE = web.AppKey("store", Store)
ASKER = web.AppKey("asker", Asker)
CLONES = web.AppKey("clones", Clones)
GATE = web.AppKey("gate", Gate)
ARRIVING = web.AppKey("arriving", Gate)
PRINCIPAL = web.RequestKey("principal", Principal)
PRESENCE = web.AppKey("presence", Presence)
