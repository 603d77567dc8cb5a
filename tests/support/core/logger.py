"""Lines to the loggers. Core keeps nothing: a last line that a logger does not take ends it with code 78."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.support.core.lines import calendar
from tests.support.core.wire import Answer

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon

BUILT_IN = frozenset({"filesystem", "stdout", "syslog", "tls"})
"""They take every line and do nothing with it; ``filesystem`` writes files where ``--logger_path`` is given."""
FILES = {"string": "osqueryd.results.log", "snapshot": "osqueryd.snapshots.log"}
WANTS_STATUS = 1


class Loggers:
    """The loggers of ``--logger_plugin``, in their order."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._run = threading.Lock()
        self._want_status: set[str] = set()

    def missing(self) -> str:
        """A logger that nobody offers."""
        for name in self._daemon.flags.loggers:
            if name not in BUILT_IN and self._daemon.extensions.offering("logger", name) is None:
                return name
        return ""

    def start(self) -> None:
        """Tell each that logging begins, and what it was told before goes to those that want statuses."""
        for name in self._external():
            self._daemon.extensions.call("logger", name, {"init": "osqueryd"})
            features = self._daemon.extensions.call("logger", name, {"action": "features"})
            # A mask in place of a code; a call that failed has code 1 as well, and is taken for it.
            if features.code & WANTS_STATUS:
                self._want_status.add(name)
        self.relay()

    def note(self, severity: int, file: str, line: int, message: str) -> None:
        """A status of core's own; it goes out with the next relay."""
        unix = int(time.time())
        status = {"s": severity, "f": file, "i": line, "m": message}
        with self._lock:
            self._waiting.append({**status, "h": self._daemon.host, "c": calendar(unix), "u": unix})

    def relay(self) -> list[Answer]:
        """Hand the statuses over; a logger that does not take them does no harm."""
        with self._lock:
            statuses, self._waiting = self._waiting, []
        if not statuses:
            return []
        text = json.dumps(statuses, ensure_ascii=False, separators=(",", ":"))
        return self.status(text)

    def status(self, text: str) -> list[Answer]:
        """Hand over a JSON list of statuses as it is."""
        request = {"log": text, "status": "true"}
        return [self._daemon.extensions.call("logger", name, request) for name in sorted(self._want_status)]

    def log(self, query: str, lines: Sequence[Mapping[str, str]]) -> list[Answer]:
        """The lines of one run of a query, each ``{"string": …}`` or ``{"snapshot": …}``.

        What the last logger said of the last line decides, whatever was said of those before it.
        """
        with self._run:
            answers = [self._log_line(line) for line in lines]
        if answers and answers[-1].code != 0:
            why = f"Error logging the results of query: {query}: {answers[-1].message}"
            self._daemon.end(78, why)
        return answers

    def _log_line(self, line: Mapping[str, str]) -> Answer:
        ((kind, text),) = line.items()
        request = {"snapshot": text} if kind == "snapshot" else {"category": "event", "string": text}
        answer = Answer(0, "OK", [])
        for name in self._daemon.flags.loggers:
            if name in BUILT_IN:
                self._to_file(name, kind, text)
                answer = Answer(0, "OK", [])
            else:
                answer = self._daemon.extensions.call("logger", name, request)
        return answer

    def _to_file(self, name: str, kind: str, text: str) -> None:
        folder = self._daemon.flags.path("logger_path")
        if name == "filesystem" and folder is not None:
            with (folder / FILES[kind]).open("ab") as file:
                file.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def _external(self) -> list[str]:
        return [name for name in self._daemon.flags.loggers if name not in BUILT_IN]
