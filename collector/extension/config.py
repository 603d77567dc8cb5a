"""The config plugin: what the server last said, without what this device's policy refuses."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import orjson

from collector.extension.logger import dumped
from collector.osqueryd import Answer
from collector.spool import Line

SOURCE = "muster"
"""The name under which osqueryd keeps what it gets here, apart from other sources."""
NOTE = "config"
"""The spool's note with the server's message: its ``config`` is the text for osqueryd."""
TOLD_NOTE = "config_refused"
"""The spool's note of the refusals told today."""
NO_CONFIG = "{}"
"""Given while none is known: osqueryd starts with an empty schedule. An error would end it at its start."""

_LOG = logging.getLogger(__name__)


class Notes(Protocol):
    """What of the spool is used here."""

    def get(self, key: str) -> bytes | None:
        """A note, or None."""

    def keep(self, key: str, value: bytes) -> None:
        """Keep a note."""


class Permitted(Protocol):
    """A config without what the policy refuses, and the refused names with the reasons."""

    @property
    def text(self) -> str:
        """The config."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Scheduled names, or keys of the config, and why."""


class Config:
    """Answers osqueryd's config calls; a plugin as ``osqueryd.Plugin`` wants it.

    The same message under the same policy is the same text byte by byte: osqueryd applies a text that changed.

    Args:
        notes: The spool.
        permit: Takes out of a config's text what may not run.
        tell: Takes the status lines of what was refused.
        clock: Unix time.
    """

    def __init__(
        self,
        notes: Notes,
        permit: Callable[[str], Permitted],
        tell: Callable[[Iterable[Line]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = notes
        self._permit = permit
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._last = ""
        self.given = ""
        """The text given last; empty before the first."""

    def __call__(self, request: dict[str, str]) -> Answer:
        """Answer one call."""
        if request.get("action") == "genConfig":
            return 0, [{SOURCE: self.text()}]
        if request.get("action") == "genPack":
            # A pack named by a reference: the server's stand in the config itself, so there is nothing to refer to.
            _LOG.warning("the pack %s is not in the config but refers elsewhere: it is left out", request.get("name"))
            return 0, [{request.get("name", ""): "{}"}]
        return 1, []

    def text(self) -> str:
        """The config as osqueryd is to have it now; never raises."""
        with self._lock:
            try:
                self._last = self._current() or self._last
            except Exception as error:
                # What osqueryd has is better than nothing, which it would take for an empty schedule.
                _LOG.error("the config cannot be read, osqueryd is given the last one: %s", error)
            self.given = self._last or NO_CONFIG
            return self.given

    def _current(self) -> str:
        noted = self._notes.get(NOTE)
        if noted is None:
            return ""
        text = orjson.loads(noted)["config"]
        permitted = self._permit(text)
        if not isinstance(orjson.loads(permitted.text), dict):
            raise ValueError("it is not a JSON object")
        self._tell_refused(permitted.refused)
        return permitted.text

    def _tell_refused(self, refused: Mapping[str, str]) -> None:
        """Say of each refused query, once a day, that it failed: so it is an error there, not a silence."""
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        told = self._told(day)
        fresh = {name: reason for name, reason in refused.items() if told.get(name) != reason}
        if not fresh:
            return
        self._tell([self._line(name, reason) for name, reason in fresh.items()])
        self._notes.keep(TOLD_NOTE, json.dumps({"day": day, "told": told | fresh}).encode())

    def _told(self, day: str) -> dict[str, str]:
        try:
            noted = orjson.loads(self._notes.get(TOLD_NOTE) or b"{}")
            return dict(noted["told"]) if noted["day"] == day else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def _line(self, name: str, reason: str) -> Line:
        now = int(self._clock())
        return Line(
            "status",
            "",
            now,
            dumped(
                {
                    "hostIdentifier": os.uname().nodename if hasattr(os, "uname") else "",
                    "calendarTime": time.strftime("%a %b %d %H:%M:%S %Y UTC", time.gmtime(now)),
                    "unixTime": now,
                    "severity": 2,
                    "filename": "policy",
                    "line": 0,
                    "message": f"Error executing scheduled query {name}: refused by the device's policy: {reason}",
                }
            ),
        )
