"""What the handlers share, under typed keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from server.api.gate import Gate
from server.store.ask import Asker
from server.store.clones import Clones
from server.store.store import Store


@dataclass(slots=True)
class Presence:
    """The devices heard of since they were last written down."""

    device_nos: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Configs:
    """The config bodies osquery is served, by platform; ``fallback`` for a platform that is not known."""

    bodies: dict[str, bytes]
    fallback: bytes

    def of(self, platform: str) -> bytes:
        """The config of a platform."""
        return self.bodies.get(platform, self.fallback)


STORE = web.AppKey("store", Store)
ASKER = web.AppKey("asker", Asker)
CLONES = web.AppKey("clones", Clones)
CONFIGS = web.AppKey("configs", Configs)
GATE = web.AppKey("gate", Gate)
PRESENCE = web.AppKey("presence", Presence)
