"""Running a user's SQL on Postgres: as a role that may read the public views only, on a connection of its own."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from server.drivers import postgres_child
from server.drivers.ask_process import answered
from server.drivers.postgres_role import credentials, grant, lacks, make_role
from server.store.ask import SqlAnswer, SqlRefusedError
from server.store.driver import DatabaseUnavailableError, Driver, NotReadyError

AT_A_TIME = 4
"""Statements that one process runs at a time; the others wait their turn."""
_ENVIRONMENT = frozenset(
    ["HOME", "PGHOST", "PGPORT", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCRL", "PGPASSFILE"]
)
_NOT_LET_IN, _NOT_GRANTED = "28P01", "42501"


class PostgresAsker:
    """Asks one database as a role that it makes; or, with ``reader_url``, as one that an administrator has made.

    That URL may lead to a replica. ``driver`` is where grants are given.
    """

    def __init__(self, driver: Driver, url: str, reader_url: str | None = None) -> None:
        self._driver = driver
        self._url = reader_url or url
        self._reader = user_of(reader_url) if reader_url else None
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def ask(self, sql: str, *, limit: int, seconds: float) -> SqlAnswer:
        """See ``Asker.ask``."""
        if "\0" in sql:
            raise SqlRefusedError("the statement is not valid text")
        async with self._turns:
            user, password = await self._login()
            answer = await self._run(user, password, sql, limit, seconds)
            if await self._mended(answer, user, password):
                user, password = await self._login()
                answer = await self._run(user, password, sql, limit, seconds)
        if "refused" not in answer:
            return SqlAnswer(answer["columns"], answer["rows"], answer["truncated"])
        if answer["stage"] == "connect":
            raise DatabaseUnavailableError(f"the database does not let the role of users' SQL in: {answer['refused']}")
        if answer["stage"] == "unsafe":
            raise NotReadyError(
                f"Users' SQL is not run as {user}, which could do more than read the public views:"
                f" {answer['refused']}. Give --sql-database the URL of a role that was granted nothing."
            )
        raise SqlRefusedError(answer["refused"])

    async def _run(self, user: str, password: str | None, sql: str, limit: int, seconds: float) -> dict[str, Any]:
        request = {"url": self._url, "user": user, "password": password, "sql": sql, "limit": limit, "seconds": seconds}
        env = {name: value for name, value in os.environ.items() if name in _ENVIRONMENT}
        return await answered(postgres_child.__file__, request, env=env)

    async def _login(self) -> tuple[str, str | None]:
        """A role that can read every public view, and its password if that is ours."""
        if self._reader is not None:
            user, password = self._reader, None
        else:
            user, password = await self._driver.read(credentials)
            if password is None:
                await self._driver.write(lambda tx: make_role(tx, None))
                user, password = await self._driver.read(credentials)
        if await self._driver.read(lambda tx: lacks(tx, user)):
            await self._driver.write(lambda tx: grant(tx, user))
        return user, password

    async def _mended(self, answer: dict[str, Any], user: str, password: str | None) -> bool:
        """Whether what stopped a statement may be over: a view was just made anew, or the role has a new password."""
        code = answer.get("code")
        if code == _NOT_LET_IN and self._reader is None:
            await self._driver.write(lambda tx: make_role(tx, password))
            return True
        return code == _NOT_GRANTED and bool(await self._driver.read(lambda tx: lacks(tx, user)))


def user_of(url: str) -> str:
    """The role that a URL of Postgres names. Raises ``ValueError``."""
    parts = urlsplit(url)
    user = unquote(parts.username or "") or parse_qs(parts.query).get("user", [""])[0]
    if not user:
        raise ValueError("the URL names no role: postgresql://ROLE:PASSWORD@HOST/NAME")
    return user
