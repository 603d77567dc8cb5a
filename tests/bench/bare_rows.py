"""The limit of writing: typed rows into the same table with the same indexes, by the database's own fastest way."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

import asyncpg

from server.store.tables import QueryTable
from tests.bench.measure import Sample
from tests.bench.places import Place

Rows = Sequence[tuple[Any, ...]]
SCHEMA = "bare"


class SqliteRows:
    """``executemany`` by one connection with the server's own settings, into a database file beside the server's."""

    def __init__(self, place: Place, table: QueryTable) -> None:
        self._table = table
        self._connection = sqlite3.connect(place.directory / "bare.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -65536"):
            self._connection.execute(statement)
        for statement in _tables_of(table):
            self._connection.execute(statement)

    def write(self, groups: Sequence[Rows]) -> Sample:
        """Write groups of rows, a commit each."""
        worked, began = time.process_time(), time.perf_counter()
        for group in groups:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(self._table.insert, group)
            self._connection.execute("COMMIT")
        return _sample(groups, time.perf_counter() - began, time.process_time() - worked)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgresRows:
    """``COPY`` by one connection, into a table of the same name in another schema of the server's database."""

    def __init__(self, place: Place, table: QueryTable) -> None:
        self._table = table
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection = self._runner.run(asyncpg.connect(place.url))
        for statement in (f"CREATE SCHEMA {SCHEMA}", f"SET search_path TO {SCHEMA}", *_tables_of(table)):
            self._runner.run(self._connection.execute(statement))

    def write(self, groups: Sequence[Rows]) -> Sample:
        """Write groups of rows, a commit each."""
        began = time.perf_counter()
        self._runner.run(self._copy(groups))
        return _sample(groups, time.perf_counter() - began, None)

    async def _copy(self, groups: Sequence[Rows]) -> None:
        name = self._table.rows_name.strip('"')
        head = self._table.insert.partition("(")[2].partition(")")[0]
        columns = [column.strip().strip('"') for column in head.split(",")]
        for group in groups:
            await self._connection.copy_records_to_table(name, schema_name=SCHEMA, columns=columns, records=group)

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._connection.close())
        self._runner.close()


def bare_rows(place: Place, table: QueryTable) -> SqliteRows | PostgresRows:
    """The bare writer of a place's database."""
    return PostgresRows(place, table) if place.kind == "postgres" else SqliteRows(place, table)


def _tables_of(table: QueryTable) -> list[str]:
    """The statements of the table and its indexes, without the views."""
    return [statement for statement in table.create() if not statement.startswith("CREATE VIEW")]


def _sample(groups: Sequence[Rows], seconds: float, worked: float | None) -> Sample:
    count = sum(1 for _ in chain.from_iterable(groups))
    return Sample(count / seconds, None if worked is None else worked * 1e6 / count)
