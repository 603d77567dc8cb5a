"""Running a user's SQL on Postgres."""

from __future__ import annotations

from server.store.ask import SqlAnswer, SqlRefusedError


class PostgresAsker:
    """Asks one database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, sql: str, *, limit: int, seconds: float) -> SqlAnswer:
        """See ``Asker.ask``."""
        raise SqlRefusedError("users' SQL on Postgres is not there yet")
