"""The logger plugin: whatever osqueryd says is taken, and answered with success. Anything else would end osqueryd."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any

import orjson

from collector.extension.holding import Holding
from collector.osqueryd import Answer
from collector.spool import Gap, Line
from collector.spool.model import REFUSED

WANTS_STATUS = 1
"""osqueryd takes the code of the answer to ``features`` as a bit mask: this bit asks for its status lines."""
NO_OBJECT = f"{REFUSED}: it is not a JSON object"
MOST_MESSAGE = 16 * 1024
"""Characters of a status line's message that are kept: osqueryd puts whole statements and outputs into some."""
STATUS_KEYS = {
    "h": "hostIdentifier",
    "c": "calendarTime",
    "u": "unixTime",
    "s": "severity",
    "f": "filename",
    "i": "line",
    "m": "message",
}
"""Status lines have short keys in a plugin's calls; the server is told the long ones of osqueryd's own logger."""

_NAME = re.compile(r'"name":"((?:[^"\\]|\\.){1,1000})","hostIdentifier":')
_LOG = logging.getLogger(__name__)


class Logger:
    """Takes calls of osqueryd and puts their lines into the spool; a plugin as ``osqueryd.Plugin`` wants it.

    The lines of a call are on the disk when it is answered, or in memory while the disk cannot be written.
    """

    def __init__(self, holding: Holding, clock: Callable[[], float] = time.time) -> None:
        self._holding = holding
        self._clock = clock
        self.version = ""
        """osqueryd's version, once it is known: status lines bear it."""

    def __call__(self, request: dict[str, str]) -> Answer:
        """Answer one call."""
        if request.get("action") == "features":
            return WANTS_STATUS, []
        try:
            self._take(request)
        except Exception:
            _LOG.exception("a call of osqueryd's logger was not understood")
            text = max(request.values(), key=len, default="")
            self._lose("", text, "not understood")
        return 0, []

    def _take(self, request: dict[str, str]) -> None:
        if "string" in request:
            self._put(request["string"])
        elif "snapshot" in request:
            self._put(request["snapshot"])
        elif "log" in request:
            self._put_status(request["log"])
        elif "init" not in request and "health" not in request:
            _LOG.debug("osqueryd's logger call with %s means nothing here", sorted(request))

    def _put(self, text: str) -> None:
        taken = read_object(text)
        if taken is None:
            self._lose("", text, NO_OBJECT)
            return
        line, found = taken
        kind = "snapshot" if isinstance(found.get("snapshot"), list) else "result"
        name = found.get("name")
        self._holding.put([Line(kind, name if isinstance(name, str) else "", self._at(found.get("unixTime")), line)])

    def _put_status(self, text: str) -> None:
        taken = read_value(text)
        listed = taken[1] if taken is not None else None
        if not isinstance(listed, list):
            self._lose("", text, f"{REFUSED}: it is not a list of status lines")
            return
        lines = [self._status(entry) for entry in listed if isinstance(entry, dict)]
        if len(lines) < len(listed):
            self._lose("", text, NO_OBJECT)
        if lines:
            self._holding.put(lines)

    def _status(self, entry: dict[str, Any]) -> Line:
        line = {long: entry[short] for short, long in STATUS_KEYS.items() if short in entry}
        message = line.get("message")
        if isinstance(message, str) and len(message) > MOST_MESSAGE:
            line["message"] = f"{message[:MOST_MESSAGE]} … ({len(message)} characters)"
        if self.version:
            line["version"] = self.version
        return Line("status", "", self._at(entry.get("u")), dumped(line))

    def _lose(self, name: str, text: str, reason: str) -> None:
        found = None if name else _NAME.search(text, max(0, len(text) - 5000))
        now = int(self._clock())
        size = len(text.encode("utf-8", "replace"))
        self._holding.lost(Gap(found.group(1) if found else name, 1, size, now, now, reason))

    def _at(self, unix: object) -> int:
        """The time of observation; osqueryd writes it as a number, older ones as text."""
        try:
            at = int(unix)  # type: ignore[call-overload]  # whatever it is, it is tried
        except (TypeError, ValueError, OverflowError):
            return int(self._clock())
        return at if 0 <= at < 2**40 else int(self._clock())


def read_object(text: str) -> tuple[bytes, dict[str, Any]] | None:
    """A JSON object as it is to be sent and what is in it; None for anything else."""
    taken = read_value(text)
    return (taken[0], taken[1]) if taken is not None and isinstance(taken[1], dict) else None


def read_value(text: str) -> tuple[bytes, Any] | None:
    """Any JSON value, leniently: what strict JSON refuses (bare control characters, half surrogates) is mended."""
    line = text.encode("utf-8", "replace")
    try:
        return line, orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(text, strict=False, parse_constant=lambda constant: None)
        line = dumped(value)
        return line, orjson.loads(line)  # only what any reader takes
    except (ValueError, RecursionError):
        return None


def dumped(value: Any) -> bytes:
    """A value as JSON in UTF-8; half surrogates become question marks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
