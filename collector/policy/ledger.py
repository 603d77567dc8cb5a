"""What this device was asked outside its schedule, and what became of it: for its owner to read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace

from collector.policy.tables import Notes

NOTE = "ledger"
KEPT_SECONDS = 30 * 86400
MOST_ENTRIES = 500
MOST_BYTES = 256 * 1024
SQL_CHARS = 2000
MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what became of it, without the answer's rows; asked again with the same end it stands once."""

    id: str
    at: int
    """Unix time at which it was answered."""
    sql: str
    """Cut where it is very long."""
    status: str
    """answered, failed, refused, denylisted or cancelled."""
    rows: int
    """How many were sent, the last time."""
    message: str = ""
    times: int = 1
    """How often it was asked with that end."""


class Ledger:
    """The entries of the last 30 days, the newest of them, kept in a note of the spool.

    Its methods block, and raise what the spool raises. One process writes it; any may read it.
    """

    def __init__(self, notes: Notes, clock: Callable[[], float] = time.time) -> None:
        self._notes = notes
        self._clock = clock
        self._lock = threading.Lock()

    def note(self, id: str, sql: str, status: str, *, rows: int = 0, message: str = "", at: int | None = None) -> None:
        """Write one down. A question that is noted again, as after a crash, stands once, as it was noted last."""
        with self._lock:
            self._notes.keep(NOTE, self.noted(id, sql, status, rows=rows, message=message, at=at))

    def noted(
        self, id: str, sql: str, status: str, *, rows: int = 0, message: str = "", at: int | None = None
    ) -> bytes:
        """The note with one more entry: for who keeps it together with the answer, under ``ledger.NOTE``."""
        return self.with_all([Asked(id, int(self._clock()) if at is None else at, sql, status, rows, message)])

    def with_all(self, asked: Sequence[Asked]) -> bytes:
        """The note with several more entries, likewise."""
        entries = self.entries()
        for one in asked:
            one = replace(one, sql=cut(one.sql, SQL_CHARS), message=cut(one.message, MESSAGE_CHARS))
            entries = [entry for entry in entries if entry.id != one.id or entry.times > 1]
            for entry in entries:
                if (entry.sql, entry.status) == (one.sql, one.status):
                    entries.remove(entry)
                    one = replace(one, times=entry.times + (entry.id != one.id))
                    break
            entries.append(one)
        return _written(entries[-MOST_ENTRIES:])

    def entries(self) -> list[Asked]:
        """Those of the last 30 days, the oldest first; a note that cannot be read is none."""
        least = int(self._clock()) - KEPT_SECONDS
        return [one for one in _read(self._notes.get(NOTE)) if one.at > least]


def _written(entries: list[Asked]) -> bytes:
    """As many of the newest as there is room for."""
    lines: list[str] = []
    size = 0
    for entry in reversed(entries):
        line = json.dumps(asdict(entry))
        size += len(line) + 1
        if size > MOST_BYTES:
            break
        lines.append(line)
    return ("[" + ",".join(reversed(lines)) + "]").encode()


def _read(note: bytes | None) -> list[Asked]:
    try:
        found = json.loads(note or b"[]")
        names = [field.name for field in fields(Asked)]
        return [Asked(**{name: one[name] for name in names if name in one}) for one in found]
    except (ValueError, TypeError, KeyError):
        return []


def cut(text: str, chars: int = SQL_CHARS) -> str:
    """A text as the ledger keeps it."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= chars else text[: chars - 1] + "…"
