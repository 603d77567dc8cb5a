"""osquery's tables in SQLite, in memory: every Linux table of the schema is there, most of them empty.

Rows come from a JSON file or from the test: ``{"table": [row, …]}`` fills a table of the schema,
``{"table": {"columns": {name: type}, "rows": [row, …]}}`` makes one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.simulate.functions import FUNCTIONS
from tests.support.core.wire import Answer

SCHEMA = Path(__file__).parent.parent.parent.parent / "packs" / "schema" / "osquery.json"
Row = Mapping[str, Any]
DEFAULTS: dict[str, list[Row]] = {
    "system_info": [
        {
            "hostname": "stand-in",
            "uuid": "4c4c4544-0042-3510-8051-b4c04f4d4431",
            "cpu_type": "x86_64",
            "cpu_brand": "Made-up CPU",
            "cpu_physical_cores": 2,
            "cpu_logical_cores": 2,
            "physical_memory": 4_000_000_000,
            "hardware_vendor": "Made-up",
            "hardware_model": "Stand-in",
            "hardware_serial": "STANDIN1",
            "computer_name": "stand-in",
            "local_hostname": "stand-in",
        }
    ],
    "os_version": [
        {
            "name": "Debian GNU/Linux",
            "version": "12 (bookworm)",
            "major": 12,
            "minor": 0,
            "patch": 0,
            "platform": "debian",
            "platform_like": "",
            "codename": "bookworm",
            "arch": "x86_64",
        }
    ],
    "platform_info": [{"vendor": "Made-up", "version": "1", "date": "01/01/2024", "revision": "1", "extra": ""}],
    "users": [
        {"uid": 0, "gid": 0, "username": "root", "description": "root", "directory": "/root", "shell": "/bin/bash"},
        {"uid": 1000, "gid": 1000, "username": "ada", "description": "", "directory": "/home/ada", "shell": "/bin/sh"},
    ],
    "uptime": [{"days": 0, "hours": 1, "minutes": 0, "seconds": 0, "total_seconds": 3600}],
}
_LISTS = """
CREATE TEMP VIEW listed_tables AS SELECT type, name, tbl_name,
  'CREATE VIRTUAL TABLE ' || name || ' USING ' || name AS sql
FROM main.sqlite_master WHERE type = 'table';
CREATE TEMP VIEW listed_views AS SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE type = 'view';
"""
"""osquery's tables are virtual and temporary, and SQLite lists them as such."""
_READS_ONLY = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}


class Tables:
    """Answers SQL. ``live`` are tables whose rows are asked for when a statement names them."""

    def __init__(self, live: Mapping[str, Callable[[], Sequence[Row]]]) -> None:
        self._live = live
        self._lock = threading.RLock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        for name, function in FUNCTIONS.items():
            self._database.create_function(name, -1, function)
        self._slow: dict[str, float] = {}
        for table in json.loads(SCHEMA.read_text(encoding="utf-8"))["tables"]:
            if "linux" in table["platforms"]:
                self._create(table["name"], {column["name"]: column["type"] for column in table["columns"]})
        for name, rows in DEFAULTS.items():
            self.fill(name, rows)
        self._database.executescript(_LISTS)

    def load(self, path: Path) -> None:
        """Read a JSON file of tables."""
        for name, content in json.loads(path.read_text(encoding="utf-8")).items():
            self.put(name, content)

    def put(self, name: str, content: Any) -> None:
        """Fill a table of the schema with a list of rows, or make one of ``columns`` and ``rows``."""
        with self._lock:
            if isinstance(content, dict):
                self._create(name, content["columns"])
                content = content["rows"]
            self.fill(name, content)

    def fill(self, name: str, rows: Sequence[Row]) -> None:
        """Replace what is in a table."""
        with self._lock:
            self._database.execute(f'DELETE FROM "{name}"')
            for row in rows:
                names = ", ".join(f'"{column}"' for column in row)
                marks = ", ".join("CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in row.values())
                values = [
                    value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
                    for value in row.values()
                ]
                self._database.execute(f'INSERT INTO "{name}" ({names}) VALUES ({marks})', values)

    def slow(self, contains: str, seconds: float) -> None:
        """Let statements that contain a text take long."""
        self._slow[contains] = seconds

    def names(self) -> list[str]:
        with self._lock:
            found = self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            return [str(name) for (name,) in found]

    def answer(self, sql: str) -> Answer:
        """The rows, all values text; or code 1 and SQLite's message."""
        for contains, seconds in list(self._slow.items()):
            if contains in sql:
                time.sleep(seconds)
        with self._lock:
            self._refresh(sql)
            self._database.execute("BEGIN")
            self._database.set_authorizer(_authorize)
            try:
                cursor = self._database.execute(
                    sql.replace("sqlite_temp_master", "listed_tables").replace("sqlite_master", "listed_views")
                )
                names = [column[0] for column in cursor.description or []]
                rows = [dict(zip(names, map(_text, row), strict=True)) for row in cursor]
            except sqlite3.Error as error:
                several = "one statement at a time" in str(error)
                return Answer(1, "map::at" if several else str(error), [])
            finally:
                self._database.set_authorizer(None)
                self._database.execute("ROLLBACK")
        return Answer(0, "OK", rows)

    def columns(self, sql: str) -> Answer:
        """The columns of a statement with their declared types, one row each."""
        with self._lock:
            self._database.execute("BEGIN")
            try:
                self._database.execute(f"CREATE TEMP VIEW asked_columns AS {sql.rstrip().rstrip(';')}")
                found = self._database.execute("PRAGMA temp.table_info(asked_columns)").fetchall()
            except sqlite3.Error as error:
                return Answer(1, str(error), [])
            finally:
                self._database.execute("ROLLBACK")
        return Answer(0, "OK", [{str(row[1]): str(row[2]) or "TEXT"} for row in found])

    def _create(self, name: str, columns: Mapping[str, str]) -> None:
        body = ", ".join(f'"{column}" {kind.upper().replace("_", " ")}' for column, kind in columns.items())
        self._database.execute(f'DROP TABLE IF EXISTS "{name}"')
        self._database.execute(f'CREATE TABLE "{name}" ({body})')

    def _refresh(self, sql: str) -> None:
        for name, rows in self._live.items():
            if name in sql:
                self.fill(name, rows())


def _authorize(action: int, first: str | None, _second: object, _database: object, _trigger: object) -> int:
    if action == sqlite3.SQLITE_ATTACH or (action in _READS_ONLY and not (first or "").startswith("sqlite_")):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _text(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    return str(value)
