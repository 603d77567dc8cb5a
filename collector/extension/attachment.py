"""Being registered with osqueryd, for as long as there is one, and again with the next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector import VERSION
from collector.extension.keeping import Keeper, Kept
from collector.extension.listening import Listening, answers
from collector.osqueryd import Osquery, OsqueryGoneError, Plugins, Server

NAME = "muster"
"""The extension's name, which ``--extensions_require`` of osqueryd asks for; its plugins have it, too."""
CALL_SECONDS = 10.0
"""How long osqueryd may take to answer what every attached extension asks."""
TRIES = 3
DRAIN_SECONDS = 5.0
"""How long calls under way may take when this extension ends or is relieved."""

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """Where osqueryd knows this extension."""

    uuid: int
    listening: Listening
    server: Server


class Attachment:
    """Keeps the plugins registered.

    Args:
        socket: osqueryd's extension socket.
        plugins: What to register, all under the extension's name.
        interval: Seconds between looks at osqueryd, and between attempts to reach it.
        keeper: Holds our socket should this process die.
        goes_on: Asked before each attempt whether there is still somebody to attach to.
        looked: Called with our uuid after each registration and at each look, for what else is to be done with
            osqueryd now and then.
    """

    def __init__(
        self,
        socket: Path,
        plugins: Plugins,
        *,
        interval: float,
        keeper: Keeper,
        goes_on: Callable[[], bool] = lambda: True,
        looked: Callable[[Osquery, int], None] = lambda osquery, uuid: None,
    ) -> None:
        self._socket = socket
        self._plugins = plugins
        self._interval = interval
        self._keeper = keeper
        self._goes_on = goes_on
        self._looked = looked
        self._ended = threading.Event()  # by us
        self._hurry = threading.Event()  # something happened: look now
        self._said_goodbye = False
        self._may_relieve = False
        self._last_said = ""

    def end(self) -> None:
        """Leave osqueryd and return from :meth:`run`. May be called from a signal handler or any thread."""
        self._ended.set()
        self._hurry.set()

    def run(self, kept: Kept | None = None, *, relieve: bool = False) -> None:
        """Stay attached until :meth:`end`, or until nothing goes on.

        Args:
            kept: The place of a process of ours that died.
            relieve: At first take the place of another process of this name that lives: one that lost its parent.
        """
        self._may_relieve = relieve
        place = self._adopted(kept) if kept else None
        while not self._ended.is_set():
            if place is None and self._goes_on():
                place = self._attach()
            if place is None:
                if not self._goes_on():
                    break
                self._wait()
                continue
            self._may_relieve = False
            self._stay(place)
            self._leave(place)
            place = None

    def _attach(self) -> _Place | None:
        """Register, or take over the place of one that died; None if neither can be done now."""
        with Osquery(self._socket, CALL_SECONDS) as osquery:
            try:
                for _ in range(TRIES):
                    found = self._listed(osquery)
                    if found and not self._may_relieve and answers(self._path(found)):
                        self._say("another process is attached as 'muster'")
                        return None
                    uuid, reason = (found, "") if found else osquery.register(NAME, VERSION, self._plugins)
                    if not uuid:
                        self._say(f"osqueryd does not register this extension: {reason}")
                        continue
                    place = self._serve(uuid, Listening.at(self._path(uuid)))
                    if not found or self._listed(osquery) == uuid:
                        how = " in the place of one that ended" if found else ""
                        self._say(f"attached to osqueryd at {self._socket}{how}")
                        return place
                    self._leave(place)  # it was cleared away just before we took it: now there is room
            except OsqueryGoneError as error:
                self._say(f"osqueryd cannot be reached: {error}")
            except OSError as error:
                self._say(f"the socket for osqueryd's calls cannot be made: {error}")
        return None

    def _adopted(self, kept: Kept) -> _Place | None:
        """The place of our process that died: calls wait there already, so they are answered first."""
        try:
            return self._serve(kept.uuid, Listening.inherited(self._path(kept.uuid), kept.descriptor))
        except OSError as error:
            _LOG.warning("the socket of the process before this one cannot be used: %s", error)
            return None

    def _serve(self, uuid: int, listening: Listening) -> _Place:
        place = _Place(uuid, listening, Server(listening.listener, self._plugins, self._goodbye))
        self._keeper.hold(uuid, listening.listener)
        return place

    def _stay(self, place: _Place) -> None:
        """Return when the place is lost: osqueryd is gone, has forgotten us, or another process took the place."""
        with Osquery(self._socket, CALL_SECONDS) as osquery:
            while not self._ended.is_set() and not self._said_goodbye:
                try:
                    if self._listed(osquery) != place.uuid:
                        return self._say("osqueryd does not list this extension any more")
                    self._look(osquery, place.uuid)
                except OsqueryGoneError as error:
                    if not error.timed_out:  # busy is not gone: while it is gone nobody can connect
                        return self._say(f"osqueryd is gone: {error}")
                if not place.listening.is_ours():
                    return self._say("another process answers osqueryd's calls now")
                self._wait()
        return None

    def _look(self, osquery: Osquery, uuid: int) -> None:
        try:
            self._looked(osquery, uuid)
        except OsqueryGoneError:
            raise
        except Exception:
            _LOG.exception("what is done beside answering osqueryd failed")

    def _leave(self, place: _Place) -> None:
        # osqueryd is not told: it sees for itself within seconds, and until then the next of us takes over the place.
        place.listening.vanish()
        place.server.close(DRAIN_SECONDS)
        place.listening.close()
        self._keeper.drop()
        if self._said_goodbye:
            self._said_goodbye = False
            self._wait()  # osqueryd is about to end: it is no use to register with it again

    def _goodbye(self) -> None:
        self._said_goodbye = True
        self._hurry.set()

    def _wait(self) -> None:
        self._hurry.wait(self._interval)
        if not self._ended.is_set():
            self._hurry.clear()

    def _path(self, uuid: int) -> Path:
        return self._socket.with_name(f"{self._socket.name}.{uuid}")

    @staticmethod
    def _listed(osquery: Osquery) -> int:
        """The uuid of the extension of our name, 0 if there is none; osqueryd registers a name once only."""
        return next((listed.uuid for listed in osquery.extensions() if listed.name == NAME), 0)

    def _say(self, message: str) -> None:
        """Log what changed; the same again and again is said once."""
        if message != self._last_said:
            _LOG.info("%s", message)
        self._last_said = message
