"""What the store needs of a database: the closed list of what differs between SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


GROUP = 64
"""Writers' works that may share one commit. More of them would make the first wait for the last."""


class Transaction(Protocol):
    """Statements inside one transaction. Parameters are ``?`` in order.

    On SQLite nothing here ever suspends: the whole transaction runs in the writer's thread.
    """

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    async def select(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a statement and return the names of its columns and its rows."""

    async def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, or None."""

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it touched."""

    async def many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per parameter row."""

    async def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[list[tuple[Any, ...]]]:
        """Run a SELECT once per parameter row, in one round trip, and return the rows of each.

        Every parameter is a whole number, a float or a text, of one type down the rows.
        """

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table in bulk; names are as they are stored, not quoted."""

    async def attempt(self, work: Awaitable[Result]) -> Result | Exception:
        """Run ``work`` behind a savepoint and return its result; or undo it and return why it failed.

        What fails for the database's own reasons (a full disk, a lost connection) is raised, for it would fail again.
        """

    async def table_exists(self, name: str) -> bool:
        """Whether a table of that name is in the database."""

    async def seq(self) -> int:
        """The commit sequence of this transaction: microseconds since 1970, growing with every transaction."""


async def dicts(tx: Transaction, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Run a statement and return each of its rows by the names of its columns."""
    columns, rows = await tx.select(sql, parameters)
    return [dict(zip(columns, row, strict=True)) for row in rows]


Work = Callable[[Transaction], Awaitable[Result]]


class Driver(Protocol):
    """An opened database."""

    async def write(self, work: Work[Result]) -> Result:
        """Run ``work`` in a transaction and return what it returned once that is durable.

        Other writers' work may share the commit, each behind a savepoint of its own: if ``work`` raises, its own
        effects are undone and the error is raised here. ``work`` may run twice, so it must not touch anything else.
        """

    async def read(self, work: Work[Result]) -> Result:
        """Run ``work`` on one consistent view of the database; it must not write."""

    async def scrub(self) -> bool:
        """Take what was deleted out of the files too, as far as that can be done beside others.

        False if it could not be done now; then the next that succeeds does it.
        """

    async def close(self) -> None:
        """Finish what was accepted, then close."""

    @property
    def generation(self) -> int:
        """Grows when another process may have changed the tables of queries, or a commit failed.

        What was cached of them before may be wrong then.
        """


class StoreError(Exception):
    """The store cannot do what was asked; the message is for the person who asked."""


class DatabaseUnavailableError(StoreError):
    """The database cannot be reached or written now; the same request may succeed later."""


class TableBusyError(DatabaseUnavailableError):
    """A table has to change, and its readers do not let go of it; others' work is not concerned."""


class NotReadyError(StoreError):
    """The database is not one this version can work with: missing, older or newer than the code."""
