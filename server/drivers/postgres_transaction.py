"""Statements inside one Postgres transaction, in the words of ``store.driver.Transaction``."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from server.drivers.postgres_connect import is_the_databases
from server.drivers.sequence import Sequenced
from server.store.driver import DatabaseUnavailableError, TableBusyError
from server.store.names import quoted

Result = TypeVar("Result")

DDL_LOCK_MS = 1000
"""How long a change of a table waits for readers of it; then only whoever needs the change is turned away."""
DDL_PAUSE_SECONDS = 20.0
"""How long after that no other change is tried, so that many who need one do not stop those who need none."""
_DDL = re.compile(r"""(CREATE|ALTER|DROP) (?:UNIQUE )?[A-Z]+ (?:IF (?:NOT )?EXISTS )?("(?:[^"]|"")*"|\w+)""")
# A text, a quoted name, or a parameter's mark.
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\?""")
_ARRAYS = {int: "bigint[]", float: "double precision[]", str: "text[]"}


@dataclass(slots=True)
class Patience:
    """Until when a connection does not wait for readers of a table again."""

    none_until: float = 0.0


class PostgresTransaction(Sequenced):
    """See ``store.driver.Transaction``; every statement is a round trip, so sets of rows are sent whole."""

    def __init__(self, connection: asyncpg.Connection, patience: Patience) -> None:
        super().__init__()
        self._connection = connection
        self._patience = patience
        self._made: set[str] = set()

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See ``Transaction.rows``."""
        return [tuple(record) for record in await self._connection.fetch(_numbered(sql), *parameters)]

    async def select(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """See ``Transaction.select``."""
        statement = await self._connection.prepare(_numbered(sql))
        columns = [attribute.name for attribute in statement.get_attributes()]
        return columns, [tuple(record) for record in await statement.fetch(*parameters)]

    async def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """See ``Transaction.row``."""
        found = await self._connection.fetchrow(_numbered(sql), *parameters)
        return None if found is None else tuple(found)

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See ``Transaction.run``."""
        change = _DDL.match(sql)
        if change:
            return await self._change(sql, *change.groups())
        status = await self._connection.execute(_numbered(sql), *parameters)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def _change(self, ddl: str, verb: str, name: str) -> int:
        now = time.monotonic()
        if verb == "CREATE":
            self._made.add(name)  # nobody can read it yet
        elif self._patience.none_until > now and name not in self._made:
            raise TableBusyError("a table has to change that its readers held a moment ago")
        try:
            await self._connection.execute(f"SET LOCAL lock_timeout = {DDL_LOCK_MS}; {ddl}; SET LOCAL lock_timeout = 0")
        except asyncpg.LockNotAvailableError as error:
            self._patience.none_until = now + DDL_PAUSE_SECONDS
            raise TableBusyError("a table has to change, and its readers hold it") from error
        if verb == "ALTER":
            await self.forget_statements()
        return 0

    async def forget_statements(self) -> None:
        """Prepare every statement anew: one that was prepared for a column's former type would be refused."""
        await self._connection.reload_schema_state()

    async def many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """See ``Transaction.many``."""
        rows = list(parameters)
        if rows:
            await self._connection.executemany(_numbered(sql), rows)

    async def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[list[tuple[Any, ...]]]:
        """See ``Transaction.each``."""
        found: list[list[tuple[Any, ...]]] = [[] for _ in rows]
        if rows:
            columns = list(zip(*rows, strict=True))
            statement = _lateral(sql, tuple(map(_array, columns)))
            for record in await self._connection.fetch(statement, range(len(rows)), *columns):
                found[record[0]].append(tuple(record)[1:])
        return found

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See ``Transaction.insert``."""
        if rows:
            await self._connection.copy_records_to_table(table, records=rows, columns=columns)

    async def attempt(self, work: Awaitable[Result]) -> Result | Exception:
        """See ``Transaction.attempt``."""
        return await self._behind(
            "attempt", work, lambda error: isinstance(error, DatabaseUnavailableError) or is_the_databases(error)
        )

    async def behind_savepoint(self, work: Awaitable[Result]) -> Result | Exception:
        """As ``attempt``, and a table that its readers do not let go of costs only this work its turn."""
        return await self._behind("job", work, is_the_databases)

    async def _behind(
        self, savepoint: str, work: Awaitable[Result], is_raised: Callable[[Exception], bool]
    ) -> Result | Exception:
        # Of two savepoints of one name only the inner can be reached; what raises through an attempt leaves its own.
        await self._connection.execute(f"SAVEPOINT {savepoint}")
        try:
            result = await work
        except Exception as error:
            if is_raised(error):
                raise
            await self._connection.execute(f"ROLLBACK TO {savepoint}; RELEASE {savepoint}")
            self.forget_seq()
            return error
        await self._connection.execute(f"RELEASE {savepoint}")
        return result

    async def table_exists(self, name: str) -> bool:
        """See ``Transaction.table_exists``."""
        return await self.row("SELECT 1 WHERE to_regclass(CAST(? AS TEXT)) IS NOT NULL", (quoted(name),)) is not None

    async def begin(self, *, migrated: bool) -> str | None:
        """Read where the last transaction left off; returns what changes with every change of a query's table.

        None where there is no schema yet.
        """
        if not migrated and not await self.table_exists("muster_meta"):
            return None
        meta = dict(await self.rows("SELECT key, value FROM muster_meta WHERE key IN ('seq', 'tables')"))
        self.last_seq = int(meta.get("seq", 0))
        return str(meta.get("tables", ""))


@lru_cache(maxsize=4096)
def _numbered(sql: str) -> str:
    """``?`` in order as ``$1``, ``$2``, …"""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match.group() != "?":
            return match.group()
        count += 1
        return f"${count}"

    return _TOKEN.sub(number, sql)


@lru_cache(maxsize=1024)
def _lateral(sql: str, types: tuple[str, ...]) -> str:
    """The statement once for each row of arrays, the first of which are the rows' numbers.

    OFFSET 0 keeps the planner from turning this into another join: a table that is new has no statistics, and it would
    read the whole of it.
    """
    names = [f"c{position}" for position in range(1, len(types) + 1)]
    wanted = iter(names)
    inner = _TOKEN.sub(lambda match: f"muster_k.{next(wanted)}" if match.group() == "?" else match.group(), sql)
    arrays = ", ".join(f"${position}::{kind}" for position, kind in enumerate(("bigint[]", *types), 1))
    return (
        f"SELECT muster_k.n, muster_q.* FROM unnest({arrays}) AS muster_k(n, {', '.join(names)})"
        f" CROSS JOIN LATERAL (SELECT * FROM ({inner}) muster_i OFFSET 0) muster_q"
    )


def _array(values: Sequence[Any]) -> str:
    """The Postgres array that holds a column of parameters; of nothing but nulls, text."""
    return next((_ARRAYS[type(value)] for value in values if value is not None), "text[]")
