"""The tables of this device's osqueryd: what a statement is compiled against."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)

NOTE = "tables"
"""The spool's note that keeps the tables for when osqueryd cannot be asked."""

# One statement, so that one look is one moment. Only virtual tables named as their module are osquery's; what somebody
# made in osqueryd's memory may hold anything. No LIKE: a question may have changed how osqueryd compares.
STATEMENT = """
SELECT 'version' AS kind, '' AS name, version AS text FROM osquery_info
UNION ALL
SELECT 'table', m.name, group_concat(c.name, char(10)) FROM sqlite_temp_master AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type = 'table' AND m.sql = 'CREATE VIRTUAL TABLE ' || m.name || ' USING ' || m.name GROUP BY m.name
UNION ALL SELECT 'made', name, '' FROM sqlite_master WHERE type = 'table'
UNION ALL SELECT 'view', name, sql FROM sqlite_master WHERE type = 'view'
UNION ALL SELECT 'view', name, sql FROM sqlite_temp_master WHERE type = 'view'
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """Every table by its name with all its columns, hidden ones too, and the views' own statements.

    ``made`` are the names of tables in osqueryd's memory that are none of osquery's.
    """

    version: str
    columns: Mapping[str, tuple[str, ...]]
    views: Mapping[str, str] = field(default_factory=dict)
    made: frozenset[str] = frozenset()

    def to_bytes(self) -> bytes:
        """As the note keeps it."""
        made = sorted(self.made)
        return json.dumps(
            {"version": self.version, "columns": self.columns, "views": self.views, "made": made}
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Tables:
        """Read a note. Raises ``ValueError``."""
        try:
            found = json.loads(data)
            columns = {str(name): tuple(str(one) for one in of) for name, of in found["columns"].items()}
            views = {str(name): str(sql) for name, sql in found["views"].items()}
            return cls(str(found["version"]), columns, views, frozenset(str(name) for name in found["made"]))
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a note of tables: {error!r}") from error

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, str]]) -> Tables:
        """Read the answer to ``STATEMENT``. Raises ``ValueError`` if it names no table."""
        version, columns, views, made = "", {}, {}, set()
        for row in rows:
            match row:
                case {"kind": "version", "text": text}:
                    version = text
                case {"kind": "table", "name": name, "text": text}:
                    columns[name] = tuple(text.split("\n"))
                case {"kind": "view", "name": name, "text": text}:
                    views[name] = text
                case {"kind": "made", "name": name}:
                    made.add(name.lower())
        if not columns:
            raise ValueError("osqueryd named no tables")
        return cls(version, columns, views, frozenset(made))


class TableSource(Protocol):
    """Says which tables osqueryd has."""

    def tables(self) -> Tables | None:
        """As they are now, or were at the last look; None if osqueryd was never asked."""
        ...


class Notes(Protocol):
    """What is needed of the spool."""

    def get(self, key: str) -> bytes | None:
        """A note."""
        ...

    def keep(self, key: str, value: bytes) -> None:
        """Keep a note."""
        ...


class Answer(Protocol):
    """What is needed of an answer of osqueryd."""

    @property
    def code(self) -> int:
        """0 is good."""
        ...

    @property
    def message(self) -> str:
        """What osqueryd says where it is not."""
        ...

    @property
    def rows(self) -> Sequence[Mapping[str, str]]:
        """Its rows."""
        ...


Ask = Callable[[str], Answer]
"""Runs one statement on osqueryd; what goes wrong is raised."""


class DeviceTables:
    """The tables of the osqueryd of this device.

    With ``ask`` osqueryd is asked at every call, in one short statement, so that a table or view that came meanwhile
    is known; where it does not answer, and without ``ask``, the note of the last look is used.
    """

    def __init__(self, notes: Notes, ask: Ask | None = None) -> None:
        self._notes = notes
        self._ask = ask
        self._lock = threading.Lock()

    def tables(self) -> Tables | None:
        """As they are now, or were at the last look; None if osqueryd was never asked."""
        with self._lock:
            return self._asked() or self._noted()

    def refresh(self) -> bool:
        """Ask osqueryd and keep what it says, for the processes that do not ask; whether it answered."""
        with self._lock:
            return self._asked() is not None

    def _asked(self) -> Tables | None:
        if self._ask is None:
            return None
        try:
            answer = self._ask(STATEMENT)
            if answer.code != 0:
                raise ValueError(answer.message)
            found = Tables.from_rows(answer.rows)
        except Exception as error:  # whatever it is, the note stands in
            log.warning("osqueryd did not say which tables it has: %s", error)
            return None
        self._keep(found.to_bytes())
        return found

    def _noted(self) -> Tables | None:
        data = self._notes.get(NOTE)
        if data is None:
            return None
        try:
            return Tables.from_bytes(data)
        except ValueError:
            log.exception("the note of osqueryd's tables cannot be read")
            return None

    def _keep(self, data: bytes) -> None:
        try:
            if self._notes.get(NOTE) != data:
                self._notes.keep(NOTE, data)
        except Exception:  # a full disk must not keep a question from being judged
            log.exception("the note of osqueryd's tables cannot be kept")


class GivenTables:
    """Tables that are known already."""

    def __init__(self, tables: Tables | None) -> None:
        self._tables = tables

    def tables(self) -> Tables | None:
        """Those given."""
        return self._tables


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
