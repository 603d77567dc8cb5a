"""osquery's tables as SQLite virtual tables over made-up rows, one database per platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import apsw

from server.catalog.schema import OsquerySchema, SchemaTable
from server.simulate.functions import register

Row = Mapping[str, object]
RowSource = Callable[[str], Sequence[Row]]
"""Gives the rows of a table by its name; raises ``TableFailedError`` for a table that cannot be read."""

_SQL_TYPES = {"text": "TEXT", "bigint": "BIGINT", "double": "DOUBLE"}
_NOTHING: Sequence[Row] = ()


class TableFailedError(Exception):
    """The table cannot be read on this device; the message is what osquery would say."""


class PlatformDatabase:
    """An in-memory SQLite with every table osquery has on one platform. Not for use from several threads."""

    def __init__(self, schema: OsquerySchema, platform: str) -> None:
        self.rows: RowSource = lambda _: _NOTHING
        self._used: set[str] = set()
        self._database = apsw.Connection(":memory:")
        register(self._database)
        for table in schema.on(platform):
            module = f"osquery_{table.name}"
            self._database.create_module(module, cast("apsw.VTModule", _Module(self, table)), use_bestindex_object=True)
            self._database.execute(f'CREATE VIRTUAL TABLE "{table.name}" USING "{module}"')
        self._database.authorizer = self._authorize

    def ask(self, sql: str, rows: RowSource) -> list[dict[str, str]]:
        """Run a statement over ``rows``. Values are text, NULL is "", as osquery sends them.

        Raises ``QueryFailedError`` with osquery's message.
        """
        self.rows = rows
        try:
            cursor = self._database.execute(sql)
            names = [column[0] for column in cursor.get_description()]
            return [dict(zip(names, map(_as_text, values), strict=True)) for values in cursor]
        except apsw.ExecutionCompleteError:
            return []
        except (apsw.Error, TableFailedError) as error:
            raise QueryFailedError(str(error).removeprefix("SQLError: ")) from error
        finally:
            self.rows = lambda _: _NOTHING

    def tables_of(self, sql: str) -> frozenset[str]:
        """The tables a statement reads. Raises ``QueryFailedError`` for one that cannot be prepared."""
        self._used = set()
        try:
            self._database.execute(f"EXPLAIN {sql}").fetchall()
        except apsw.Error as error:
            raise QueryFailedError(str(error).removeprefix("SQLError: ")) from error
        return frozenset(self._used)

    def _authorize(self, code: int, first: str | None, _second: str | None, *_: str | None) -> int:
        if code == apsw.SQLITE_READ and first:
            self._used.add(first)
        allowed = (apsw.SQLITE_READ, apsw.SQLITE_SELECT, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE)
        return apsw.SQLITE_OK if code in allowed else apsw.SQLITE_DENY


class QueryFailedError(Exception):
    """The query failed on the device; the message is osquery's."""


class _Module:
    """The apsw module of one table."""

    def __init__(self, owner: PlatformDatabase, table: SchemaTable) -> None:
        self._owner = owner
        self._table = table

    def Create(
        self, connection: apsw.Connection, modulename: str, databasename: str, tablename: str, *args: object
    ) -> tuple[str, apsw.VTTable]:
        columns = ", ".join(f'"{column.name}" {_SQL_TYPES[column.kind]}' for column in self._table.columns)
        return f"CREATE TABLE ignored ({columns})", cast("apsw.VTTable", _Table(self._owner, self._table))

    Connect = Create


class _Table:
    def __init__(self, owner: PlatformDatabase, table: SchemaTable) -> None:
        self.owner = owner
        self.table = table
        self.required = {at for at, column in enumerate(table.columns) if column.required}

    def BestIndexObject(self, index: apsw.IndexInfo) -> bool:
        """Any plan will do, SQLite filters; without a constraint on a required column there is none, as in osquery."""
        if not self.required:
            return True
        return any(
            index.get_aConstraint_usable(at) and index.get_aConstraint_iColumn(at) in self.required
            for at in range(index.nConstraint)
        )

    def Open(self) -> _Cursor:
        return _Cursor(self)

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _Cursor:
    def __init__(self, table: _Table) -> None:
        self._table = table
        self._rows: Sequence[tuple[object, ...]] = ()
        self._at = 0

    def Filter(self, *_plan: object) -> None:
        table = self._table.table
        self._rows = [_typed(row, table) for row in self._table.owner.rows(table.name)]
        self._at = 0

    def Eof(self) -> bool:
        return self._at >= len(self._rows)

    def Column(self, number: int) -> Any:
        return self._at if number < 0 else self._rows[self._at][number]

    def Next(self) -> None:
        self._at += 1

    def Rowid(self) -> int:
        return self._at

    def Close(self) -> None:
        self._rows = ()


def _typed(row: Row, table: SchemaTable) -> tuple[object, ...]:
    return tuple(_value(row.get(column.name), column.kind) for column in table.columns)


def _value(value: object, kind: str) -> object:
    """osquery's tables are filled with text; what a numeric column cannot hold, the empty text too, is NULL."""
    if kind == "text" or value is None:
        return None if value is None else str(value)
    try:
        return int(str(value)) if kind == "bigint" else float(str(value))
    except ValueError:
        return None


def _as_text(value: object) -> str:
    return "" if value is None else str(value)
