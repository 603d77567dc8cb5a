"""Log lines as osquery writes them, and the buffer they wait in until they are delivered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

RESULT, STATUS = "result", "status"
BUFFERED_LOG_MAX = 1_000_000


class Line(NamedTuple):
    """A line under the key that osquery's own database sorts it by, as text."""

    key: str
    json: bytes


class Buffer:
    """Lines that are not delivered yet. A POST takes the first by text key, results before statuses."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Line]] = {RESULT: [], STATUS: []}
        self._sorted = True
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, kind: str, unix_time: int, line: bytes) -> None:
        """Keep a line; the oldest goes when there are too many."""
        self._count += 1
        waiting = self._waiting[kind]
        waiting.append(Line(f"tls_{kind[0]}_{unix_time}_{self._count}", line))
        self._sorted = False
        if len(waiting) > BUFFERED_LOG_MAX:
            self._sort()
            del waiting[0]

    def batch(self, kind: str, most: int) -> list[Line]:
        """The lines of a kind among the first ``most`` of all: no status is sent while results fill the POST."""
        self._sort()
        room = most if kind == RESULT else max(0, most - len(self._waiting[RESULT]))
        return self._waiting[kind][:room]

    def delivered(self, kind: str, lines: Sequence[Line]) -> None:
        """Forget lines that arrived; those that came meanwhile stay."""
        gone = {line.key for line in lines}
        self._waiting[kind] = [line for line in self._waiting[kind] if line.key not in gone]

    def _sort(self) -> None:
        if not self._sorted:
            for waiting in self._waiting.values():
                waiting.sort()
            self._sorted = True


def snapshot_line(name: str, host: str, unix_time: int, rows: bytes, decorations: bytes) -> bytes:
    """A snapshot, also an empty one."""
    return b'{"snapshot":' + rows + b',"action":"snapshot",' + _rest(name, host, unix_time, 0, decorations)


def difference_line(
    name: str,
    host: str,
    unix_time: int,
    counter: int,
    added: Sequence[Mapping[str, str]],
    removed: Sequence[Mapping[str, str]],
    decorations: bytes,
) -> bytes:
    """A run of a differential, as one line (logger_event_type=false)."""
    difference = orjson.dumps({"removed": removed, "added": added}, option=orjson.OPT_SORT_KEYS)
    return b'{"diffResults":' + difference + b"," + _rest(name, host, unix_time, counter, decorations)


def status_line(host: str, unix_time: int, severity: int, message: str, version: str) -> bytes:
    """One of osquery's own log lines; severity 0 is info, 1 warning, 2 error."""
    return orjson.dumps(
        {
            "hostIdentifier": host,
            "calendarTime": calendar_time(unix_time),
            "unixTime": unix_time,
            "severity": severity,
            "filename": "scheduler.cpp",
            "line": 141,
            "message": message,
            "version": version,
        }
    )


def calendar_time(unix_time: int) -> str:
    """``Sun Nov 22 22:11:46 2026 UTC``."""
    return f"{time.asctime(time.gmtime(unix_time))} UTC"


def _rest(name: str, host: str, unix_time: int, counter: int, decorations: bytes) -> bytes:
    return (
        f'"name":"{name}","hostIdentifier":"{host}","calendarTime":"{calendar_time(unix_time)}",'
        f'"unixTime":{unix_time},"epoch":0,"counter":{counter},"numerics":false,"decorations":'.encode()
        + decorations
        + b"}"
    )
