"""Which table a query's answers are in, made and widened as answers come."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from server.normalize.rows import Column
from server.normalize.times import iso
from server.normalize.values import BIGINT, DOUBLE, TEXT, kind_of
from server.store.driver import StoreError, Transaction
from server.store.meta import keep_value, value_of
from server.store.names import column_name, quoted, table_name
from server.store.shipped import Shapes
from server.store.tables import QueryTable
from server.wire.messages import Row

UNMANAGED_QUERIES = 500
"""Tables Muster makes for queries it did not ship; more of them are a mistake or an attack."""
COLUMNS_A_TABLE = 200
QUERY_NAME_CHARS = 512
"""A longer name is no query's; a name is a key, and databases take no keys of any length."""


class TooManyError(ValueError):
    """A cap on foreign queries or columns is reached; the message is the reject's reason."""


class Registry:
    """The stored map from queries to tables, cached between transactions."""

    def __init__(self, shipped: Shapes) -> None:
        self._shipped = shipped
        self._tables: dict[str, QueryTable] | None = None

    def forget(self) -> None:
        """Read the map again at the next use: another process may have changed it, or a transaction failed."""
        self._tables = None

    async def all(self, tx: Transaction) -> dict[str, QueryTable]:
        """Every table, by query."""
        if self._tables is None:
            self._tables = await read_tables(tx)
        return self._tables

    async def find(self, tx: Transaction, query: str) -> QueryTable | None:
        """The table of a query that has one."""
        return (await self.all(tx)).get(query)

    async def table_for(self, tx: Transaction, query: str, rows: Sequence[Row], now: float) -> QueryTable:
        """The table of a query, made or widened so that every column of ``rows`` has a place.

        A shipped query's own columns come from the catalog; any other column takes text, or the type of the first
        number sent for it. Raises ``TooManyError`` when a cap is reached.
        """
        tables = await self.all(tx)
        table = tables.get(query)
        if table is None:
            if len(query) > QUERY_NAME_CHARS:
                raise TooManyError(f"the name of the query has more than {QUERY_NAME_CHARS} characters")
            table = await self._create(tx, query, tables, now)
        sent = _new_columns({column.name for column in table.columns}, rows)
        if sent and len(table.columns) + len(sent) > COLUMNS_A_TABLE:
            raise TooManyError(f"table {table.name} would have more than {COLUMNS_A_TABLE} columns")
        return await self._widen(tx, table, [Column(name, "", sent[name]) for name in sorted(sent)]) if sent else table

    async def ship(self, tx: Transaction, now: float) -> list[tuple[str, str, str]]:
        """Make or widen the tables of every shipped query, so that they can be asked before any device answered.

        Returns the columns (query, column, type) that are still of another type. A column that the query no longer
        gives stays, with its history, and is null in new rows.
        """
        retyped: list[tuple[str, str, str]] = []
        for query, (mode, columns) in self._shipped.items():
            table = await self.find(tx, query)
            if table is None:
                await self._create(tx, query, await self.all(tx), now)
                continue
            if table.mode != mode:
                raise StoreError(
                    f"Query {query!r} is of mode {mode} now, but its table holds answers of mode {table.mode}: "
                    "give the query a new name."
                )
            here = {column.name: column for column in table.columns}
            retyped += [(query, c.name, c.kind) for c in columns if c.name in here and here[c.name].kind != c.kind]
            missing = [column for column in columns if column.name not in here]
            if missing:
                table = await self._make_way(tx, table, missing, {column.name for column in columns})
                await self._widen(tx, table, missing)
            await tx.run("UPDATE muster_queries SET managed = 1 WHERE query = ? AND managed = 0", (query,))
            await tx.many(
                "UPDATE muster_columns SET volatile = ? WHERE table_name = ? AND name = ? AND volatile <> ?",
                [(int(c.volatile), table.name, c.name, int(c.volatile)) for c in columns],
            )
            self.forget()
            shown = {column.name: column.volatile for column in table.columns}
            if any(shown.get(column.name, column.volatile) != column.volatile for column in columns):
                await self._show_anew(tx, query)
        await self._index_taken(tx)
        return retyped

    async def _make_way(
        self, tx: Transaction, table: QueryTable, missing: Sequence[Column], shipped: Set[str]
    ) -> QueryTable:
        """Rename the columns of strangers that bear the SQL name of a shipped one: rules go by that name."""
        wanted = {column.sql_name for column in missing}
        taken = wanted | {column.sql_name for column in table.columns}
        columns: list[Column] = []
        renamed: list[tuple[str, str]] = []
        for column in table.columns:
            if column.sql_name in wanted and column.name not in shipped:
                new = column_name(column.name, taken)
                taken.add(new)
                renamed.append((column.sql_name, new))
                column = column._replace(sql_name=new)
            columns.append(column)
        if not renamed:
            return table
        for statement in table.drop_views():
            await tx.run(statement)
        for old, new in renamed:
            await tx.run(f"ALTER TABLE {table.rows_name} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
            for kept in ("muster_columns", "muster_other_kinds"):
                await tx.run(
                    f"UPDATE {kept} SET sql_name = ? WHERE table_name = ? AND sql_name = ?", (new, table.name, old)
                )
        table = replace(table, columns=tuple(columns))
        for statement in table.create_views():
            await tx.run(statement)
        await changed(tx)
        return table

    async def _index_taken(self, tx: Transaction) -> None:
        """Give tables of before there was such an index theirs, once."""
        if await value_of(tx, "taken_indexed"):
            return
        for table in (await self.all(tx)).values():
            if table.mode != "events":
                await tx.run(table.create_taken_index())
        await keep_value(tx, "taken_indexed", "1")

    async def _show_anew(self, tx: Transaction, query: str) -> None:
        """Make the views of a query again: they show the past of a column only if it is not volatile."""
        table = (await self.all(tx))[query]
        for statement in (*table.drop_views(), *table.create_views()):
            await tx.run(statement)
        await changed(tx)

    async def _create(self, tx: Transaction, query: str, tables: dict[str, QueryTable], now: float) -> QueryTable:
        shipped = self._shipped.get(query)
        if shipped is None and sum(not table.managed for table in tables.values()) >= UNMANAGED_QUERIES:
            raise TooManyError(f"{UNMANAGED_QUERIES} queries that Muster did not ship have tables already")
        name = table_name(query, {table.name for table in tables.values()})
        mode, columns = shipped or ("state", ())
        table = QueryTable(query, name, shipped is not None, mode, columns)
        for statement in table.create():
            await tx.run(statement)
        await tx.run(
            "INSERT INTO muster_queries (query, table_name, managed, mode, created_at) VALUES (?, ?, ?, ?, ?)",
            (query, name, int(table.managed), mode, iso(now)),
        )
        await self._record(tx, table, 0)
        await changed(tx)
        tables[query] = table
        return table

    async def _widen(self, tx: Transaction, table: QueryTable, missing: Sequence[Column]) -> QueryTable:
        """Add columns; each keeps its SQL name if it has one that is free."""
        taken = {column.sql_name for column in table.columns}
        added: list[Column] = []
        for column in missing:
            sql_name = column.sql_name
            if not sql_name or sql_name in taken:
                sql_name = column_name(column.name, taken)
            taken.add(sql_name)
            added.append(column._replace(sql_name=sql_name))
        for statement in table.add(tuple(added)):
            await tx.run(statement)
        wider = table.with_columns(tuple(added))
        await self._record(tx, wider, len(table.columns))
        await changed(tx)
        (await self.all(tx))[table.query] = wider
        return wider

    async def _record(self, tx: Transaction, table: QueryTable, start: int) -> None:
        await tx.many(
            "INSERT INTO muster_columns (table_name, position, name, sql_name, kind, volatile)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (table.name, position, column.name, column.sql_name, column.kind, int(column.volatile))
                for position, column in enumerate(table.columns[start:], start)
            ],
        )


async def read_tables(tx: Transaction) -> dict[str, QueryTable]:
    """Every table there is, by query, as it is stored."""
    columns: dict[str, list[Column]] = {}
    for table, name, sql_name, kind, volatile in await tx.rows(
        "SELECT table_name, name, sql_name, kind, volatile FROM muster_columns ORDER BY table_name, position"
    ):
        columns.setdefault(table, []).append(Column(name, sql_name, kind, bool(volatile)))
    return {
        query: QueryTable(query, name, bool(managed), mode, tuple(columns.get(name, ())))
        for query, name, managed, mode in await tx.rows("SELECT query, table_name, managed, mode FROM muster_queries")
    }


async def changed(tx: Transaction) -> None:
    """Note that the map or a table has changed, so that other processes read it again."""
    await keep_value(tx, "tables", str(await tx.seq()))


def _new_columns(known: Set[str], rows: Sequence[Row]) -> dict[str, str]:
    """The columns of ``rows`` that are not known yet, each of the kind that holds every value sent for it."""
    if set[str]().union(*rows) <= known:
        return {}
    kinds: dict[str, set[str]] = {}
    for row in rows:
        if row.keys() <= known:
            continue
        for name in row.keys() - known:
            seen = kinds.setdefault(name, set())
            if row[name] not in ("", None):
                seen.add(kind_of(row[name]))
    return {name: _widest(seen) for name, seen in kinds.items()}


def _widest(kinds: Set[str]) -> str:
    if not kinds or TEXT in kinds:
        return TEXT
    return DOUBLE if DOUBLE in kinds else BIGINT
