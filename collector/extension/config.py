"""The config plugin: what the server last said, without what this device's policy refuses."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from zlib import crc32

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
UNKNOWN = 1
"""The code of the answer while no config is known. osqueryd goes on with what it has, its backup at a start, and asks
again soon; an empty config would count as a config, and end every query.
"""

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
        policy: Something that changes when what is permitted may have changed.
        clock: Unix time.
    """

    def __init__(
        self,
        notes: Notes,
        permit: Callable[[str], Permitted],
        tell: Callable[[Iterable[Line]], None],
        policy: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = notes
        self._permit = permit
        self._tell = tell
        self._policy = policy
        self._clock = clock
        self._lock = threading.Lock()
        self._last = ""
        self._last_of: object = None

    def __call__(self, request: dict[str, str]) -> Answer:
        """Answer one call."""
        if request.get("action") == "genConfig":
            text = self.text()
            return (0, [{SOURCE: text}]) if text else (UNKNOWN, [])
        if request.get("action") == "genPack":
            # A pack named by a reference: the server's stand in the config itself, so there is nothing to refer to.
            _LOG.warning("the pack %s is not in the config but refers elsewhere: it is left out", request.get("name"))
            return 0, [{request.get("name", ""): "{}"}]
        return 1, []

    def text(self) -> str:
        """The config as osqueryd is to have it now, empty if none is known; never raises."""
        with self._lock:
            try:
                noted = self._notes.get(NOTE)
                if noted is not None:
                    self._last_of = self._state(noted)
                    self._last = self._permitted(noted)
            except Exception as error:
                # What osqueryd had is better than nothing, which it would take for an empty schedule.
                _LOG.error("the config cannot be read, osqueryd goes on with the last one: %s", error)
            return self._last

    def news(self) -> str:
        """The config if it, or what the policy lets through of it, changed since it was given; else empty."""
        with self._lock:
            noted = self._notes.get(NOTE)
            if noted is None or self._state(noted) == self._last_of:
                return ""
            before = self._last
        text = self.text()
        return text if text != before else ""

    def _state(self, noted: bytes) -> object:
        return crc32(noted), self._policy()

    def _permitted(self, noted: bytes) -> str:
        permitted = self._permit(orjson.loads(noted)["config"])
        text = permitted.text
        if not isinstance(orjson.loads(text), dict):
            raise ValueError("it is not a JSON object")
        self._tell_refused(permitted.refused)
        return text

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
