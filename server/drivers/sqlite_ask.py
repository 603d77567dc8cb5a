"""Running a user's SQL on a SQLite file: in a process of its own."""

from __future__ import annotations

from pathlib import Path

from server.drivers import sqlite_child
from server.drivers.ask_process import answered
from server.store.ask import SqlAnswer, SqlRefusedError


class SqliteAsker:
    """Asks one database file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, sql: str, *, limit: int, seconds: float) -> SqlAnswer:
        """See ``Asker.ask``."""
        request = {"path": str(self._path.resolve()), "sql": sql, "limit": limit, "seconds": seconds}
        answer = await answered(sqlite_child.__file__, request, flags=("-I", "-S"))
        if "refused" in answer:
            raise SqlRefusedError(answer["refused"])
        return SqlAnswer(answer["columns"], answer["rows"], answer["truncated"])
