"""A user's SQL: what an answer to it is, and how it can be refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """Rows of a user's statement; ``truncated`` says that there were more."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool


class SqlRefusedError(Exception):
    """The statement was not run, or was stopped; the message is for its author."""


class Asker(Protocol):
    """Runs one read-only statement of a user over the public tables, within limits of rows, time and memory."""

    async def ask(self, sql: str, *, limit: int, seconds: float) -> SqlAnswer:
        """Run a statement.

        Raises ``SqlRefusedError``; ``StoreError`` where the database, and not the statement, is what has to be mended.
        """
