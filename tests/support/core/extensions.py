"""Who is registered, what they offer, and calls to them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.core import wire
from tests.support.core.wire import Answer

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon

Routes = Mapping[str, Mapping[str, list[dict[str, str]]]]
SOCKET_SECONDS = 3.0
"""How long a call waits for the socket of an extension that has just registered."""


@dataclass(frozen=True, slots=True)
class Registered:
    """An extension as it registered; plugins by registry and name, with their routes."""

    uuid: int
    name: str
    version: str
    sdk_version: str
    min_sdk_version: str
    plugins: Routes
    path: str
    since: float


class Extensions:
    """The extensions that core knows. A dead one stays until a ping finds it gone."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._known: dict[int, Registered] = {}
        self._seen: set[str] = set()
        self._listened: set[int] = set()
        self._changed = threading.Condition()

    def register(
        self, name: str, version: str, sdk_version: str, min_sdk_version: str, plugins: Routes
    ) -> tuple[int, str, int]:
        """Code, message and UUID; a name may be there once only."""
        with self._changed:
            if any(one.name == name for one in self._known.values()):
                self._daemon.journal.write("refused", name=name, message="Duplicate extension registered")
                self._daemon.say(2, "interface.cpp", 114, f"Refusing to register duplicate extension {name}")
                return 1, "Duplicate extension registered", 0
            uuid = random.randint(1, 65535)
            while uuid in self._known:
                uuid = random.randint(1, 65535)
            path = f"{self._daemon.flags.socket}.{uuid}"
            self._known[uuid] = Registered(
                uuid, name, version, sdk_version, min_sdk_version, plugins or {}, path, time.monotonic()
            )
            names = {registry: sorted(items) for registry, items in (plugins or {}).items()}
            self._daemon.journal.write("registered", name=name, uuid=uuid, plugins=names)
            said = f"Registering extension ({name}, {uuid}, version={version}, sdk={sdk_version})"
            self._daemon.say(0, "interface.cpp", 137, said)
            self._changed.notify_all()
            return 0, "OK", uuid

    def deregister(self, uuid: int) -> bool:
        with self._changed:
            gone = self._known.pop(uuid, None)
            self._changed.notify_all()
        if gone:
            self._daemon.journal.write("deregistered", name=gone.name, uuid=uuid)
        return gone is not None

    def registered(self) -> list[Registered]:
        with self._changed:
            return sorted(self._known.values(), key=lambda one: one.uuid)

    def offering(self, registry: str, item: str) -> Registered | None:
        """The extension that has a plugin."""
        return next((one for one in self.registered() if item in one.plugins.get(registry, {})), None)

    def wait_for(self, name: str, seconds: float) -> bool:
        """Wait until an extension of this name is registered and listens."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self._changed:
                found = [one for one in self._known.values() if one.name == name]
                if not found:
                    self._changed.wait(max(0.0, until - time.monotonic()))
                    continue
            if wire.listens(found[0].path):
                self._listened.add(found[0].uuid)
                return True
            time.sleep(0.01)
        return False

    def ping(self) -> list[str]:
        """Ping each; those that do not answer in time are forgotten. Returns their names."""
        gone = []
        for one in self.registered():
            self._wait_for_socket(one)
            if wire.ping(one.path, self._daemon.flags.thrift_timeout):
                continue
            if self.deregister(one.uuid):
                self._daemon.say(0, "extensions.cpp", 348, f"Extension UUID {one.uuid} has gone away")
                gone.append(one.name)
        return gone

    def call(self, registry: str, item: str, request: Mapping[str, str]) -> Answer:
        """Call a plugin of an extension; what it did not answer is an answer with code 1."""
        extension = self.offering(registry, item)
        if extension is None:
            return Answer(1, f"Cannot call registry item: {item}", [], answered=False)
        self._wait_for_socket(extension)
        self._daemon.journal.write("sending", registry=registry, item=item, request=dict(request))
        began = time.monotonic()
        answer = wire.call(extension.path, self._daemon.flags.thrift_timeout, registry, item, request)
        if not answer.answered and self.offering(registry, item) is None:
            answer = Answer(1, f"Cannot call registry item: {item}", [], answered=False)
        self._daemon.journal.write(
            "call",
            uuid=extension.uuid,
            registry=registry,
            item=item,
            request=dict(request),
            response={"code": answer.code, "message": answer.message, "response": answer.rows},
            answered=answer.answered,
            took_ms=round((time.monotonic() - began) * 1000),
        )
        with self._changed:
            self._seen.add(f"{registry}/{item}")
            self._changed.notify_all()
        return answer

    def wait_for_call(self, plugin: str, seconds: float) -> bool:
        """Wait until a plugin, as in ``logger/muster``, has been called since the start."""
        with self._changed:
            return self._changed.wait_for(lambda: plugin in self._seen, seconds)

    def shut_down(self) -> None:
        """Tell each to end, as core does when it ends itself."""
        for one in self.registered():
            wire.shutdown(one.path, 1.0)

    def _wait_for_socket(self, one: Registered) -> None:
        """An extension listens only after it has its UUID; an older one that does not listen is dead."""
        if one.uuid in self._listened:
            return
        while time.monotonic() < one.since + SOCKET_SECONDS and not wire.listens(one.path):
            time.sleep(0.01)
        self._listened.add(one.uuid)
