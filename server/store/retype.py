"""Giving a column of a query's table another type, in small steps, without losing what is in it.

The column of the new type is filled beside the one in use, so that other processes go on writing; the last step takes
the rest, and changes names and views in one transaction. The old column stays where it is, as it was: a value that the
new type writes otherwise (``007`` as 7) is there again when the type is changed back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson

from server.normalize.rows import Column
from server.normalize.values import TEXT, MisfitError, Value, fit
from server.store.driver import StoreError, TableBusyError, Transaction, Work
from server.store.names import internal_name, quoted
from server.store.registry import Registry, changed
from server.store.tables import SQL_TYPES, QueryTable

log = logging.getLogger(__name__)

ROWS_A_STEP = 5000
"""Rows a transaction converts, about: others wait no longer than that takes."""
MOST_DEVICES_A_STEP = 1000
PATIENCE_SECONDS = 300
"""How long a starting server waits for somebody who reads a table that has to change."""

Result = TypeVar("Result")


class Write(Protocol):
    """Running work in a transaction of its own, as ``Driver.write`` does."""

    def __call__(self, work: Work[Result], /) -> Awaitable[Result]:
        """Run ``work`` and return what it returned once that is durable."""


async def retype(write: Write, registry: Registry, query: str, column: str, kind: str) -> None:
    """Make a query's ``column`` of type ``kind``. What does not fit it becomes null and goes to ``_misfit``.

    The digests of the rows stay those of their old values, so the next answer ends every row and begins it anew: a new
    type is a new version of the query. A change that was begun and not finished is gone on with; of two processes that
    make the same change one finishes it.
    """
    change = _Change(registry, query, column, kind)
    last = await patiently(write, change.begin)
    if last is None:
        return
    low, step, converted = 0, 1, 0
    while low < last:
        began = time.monotonic()
        done = await write(partial(change.fill, low, low + step))
        if done is None:
            return
        converted += done
        low += step
        # As long as it took, the database is others': a writer that comes back at once leaves them waiting for ever.
        await asyncio.sleep(time.monotonic() - began)
        step = min(MOST_DEVICES_A_STEP, 2 * step, max(1, step * ROWS_A_STEP // max(done, 1)))
    converted += await patiently(write, change.finish)
    log.info("column %s of query %s is %s now, %d value(s) converted", column, query, kind, converted)


async def patiently(write: Write, work: Work[Result]) -> Result:
    """Run ``work`` that changes tables; where a reader holds one of them, give the others their turn and try again."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await write(work)
        except TableBusyError as error:
            if time.monotonic() > until:
                raise
            log.warning("waiting to change the tables of queries: %s", error)
        await pause()


async def pause() -> None:
    """Between two tries."""
    await asyncio.sleep(2)


# The rows of a table by the index they are found in.
_OPEN = "valid_to IS NULL AND muster_superseded_seq IS NULL"
_TAKEN_BACK = "valid_to IS NULL AND muster_superseded_seq IS NOT NULL"
_ENDED = "valid_to IS NOT NULL"
_OTHER_KIND = "FROM muster_other_kinds WHERE table_name = ? AND sql_name = ? AND kind = ?"


@dataclass(frozen=True, slots=True)
class _Filling:
    """The columns of a change under way, as this transaction finds them."""

    table: QueryTable
    column: Column
    kind: str
    into: str
    begun_seq: int

    @property
    def key(self) -> tuple[str, str]:
        """The column in the store's own tables."""
        return self.table.name, self.column.sql_name


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of type; each method is the work of one transaction."""

    registry: Registry
    query: str
    column: str
    kind: str

    async def begin(self, tx: Transaction) -> int | None:
        """Make the column that is filled, unless it is there; returns the last device, None where nothing is to do."""
        found = await self._found(tx)
        if found is None:
            return None
        table, column = found
        key = (table.name, column.sql_name, self.kind)
        kept = await tx.row(f"SELECT begun_seq {_OTHER_KIND}", key)
        if kept is None:
            into = internal_name(self.kind, column.sql_name, {other.sql_name for other in table.columns})
            await tx.run(f"ALTER TABLE {table.rows_name} ADD COLUMN {quoted(into)} {SQL_TYPES[self.kind]}")
            await tx.run(
                "INSERT INTO muster_other_kinds (table_name, sql_name, kind, kept_in) VALUES (?, ?, ?, ?)", (*key, into)
            )
        if kept is None or kept[0] is None:
            await tx.run(
                "UPDATE muster_other_kinds SET begun_seq = ? WHERE table_name = ? AND sql_name = ? AND kind = ?",
                (await tx.seq(), *key),
            )
        last = await tx.row("SELECT COALESCE(MAX(device_no), 0) FROM muster_devices")
        return int(last[0]) if last else 0

    async def fill(self, low: int, high: int, tx: Transaction) -> int | None:
        """Convert the rows of the devices above ``low`` up to ``high``; None where another process has finished."""
        filling = await self._filling(tx)
        if filling is None:
            return None
        parts = (_ENDED,) if filling.table.mode == "events" else (_OPEN, _ENDED, _TAKEN_BACK)
        done = 0
        for part in parts:
            done += await _convert(tx, filling, f"device_no > ? AND device_no <= ? AND {part}", (low, high))
        return done

    async def finish(self, tx: Transaction) -> int:
        """Convert what came while the rest was, and put the new column in the place of the old one."""
        filling = await self._filling(tx)
        if filling is None:
            return 0
        done = await _convert(tx, filling, "opened_seq >= ?", (filling.begun_seq,))
        table, column = filling.table, filling.column
        aside = internal_name(column.kind, column.sql_name, {filling.into, *(c.sql_name for c in table.columns)})
        for statement in table.drop_views():
            await tx.run(statement)
        for old, new in ((column.sql_name, aside), (filling.into, column.sql_name)):
            await tx.run(f"ALTER TABLE {table.rows_name} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
        for statement in table.create_views():
            await tx.run(statement)
        await tx.run(f"DELETE {_OTHER_KIND}", (*filling.key, self.kind))
        await tx.run(
            "INSERT INTO muster_other_kinds (table_name, sql_name, kind, kept_in) VALUES (?, ?, ?, ?)",
            (*filling.key, column.kind, aside),
        )
        await tx.run(
            "UPDATE muster_columns SET kind = ? WHERE table_name = ? AND sql_name = ?", (self.kind, *filling.key)
        )
        await changed(tx)
        self.registry.forget()
        return done

    async def _found(self, tx: Transaction) -> tuple[QueryTable, Column] | None:
        """The table and the column as it is; None where it is of the wanted type already."""
        table = await self.registry.find(tx, self.query)
        column = next((c for c in table.columns if c.name == self.column), None) if table else None
        if table is None or column is None:
            raise StoreError(f"Query {self.query!r} has no column {self.column!r}.")
        return None if column.kind == self.kind else (table, column)

    async def _filling(self, tx: Transaction) -> _Filling | None:
        found = await self._found(tx)
        if found is None:
            return None
        table, column = found
        into = await tx.row(f"SELECT kept_in, begun_seq {_OTHER_KIND}", (table.name, column.sql_name, self.kind))
        return _Filling(table, column, self.kind, *into) if into else None


async def _convert(tx: Transaction, filling: _Filling, where: str, parameters: tuple[int, ...]) -> int:
    """Fill the new column of the rows that ``where`` picks and that need it; returns how many."""
    table, old, new = filling.table, quoted(filling.column.sql_name), quoted(filling.into)
    # A volatile value may have moved on since it was kept; any other is what it was.
    needed = (
        f"({old} IS NOT NULL OR {new} IS NOT NULL"
        if filling.column.volatile
        else f"({old} IS NOT NULL AND {new} IS NULL"
    )
    found = await tx.rows(
        "SELECT device_no, muster_digest, muster_ordinal, valid_from, opened_seq, valid_to, muster_superseded_seq,"
        f" {old}, {new}, _misfit FROM {table.rows_name} WHERE {where} AND {needed} OR _misfit IS NOT NULL)",
        parameters,
    )
    updates: dict[str, list[tuple[Any, ...]]] = {_OPEN: [], _TAKEN_BACK: [], _ENDED: []}
    for *row, valid_to, superseded, value, kept, misfit in found:
        if filling.column.volatile:
            kept = None
        new_value, new_misfit = _converted(value, kept, misfit, filling.column.sql_name, filling.kind)
        part = _ENDED if valid_to is not None else _OPEN if superseded is None else _TAKEN_BACK
        updates[part].append((new_value, new_misfit, *row, *([valid_to] if valid_to is not None else [])))
    for part, rows in updates.items():
        if rows:
            await tx.many(
                f"UPDATE {table.rows_name} SET {new} = ?, _misfit = ? WHERE device_no = ? AND muster_digest = ?"
                " AND muster_ordinal = ? AND valid_from = ? AND opened_seq = ?"
                f"{' AND valid_to = ?' if part is _ENDED else ''} AND {part}",
                rows,
            )
    return len(found)


def _converted(old: Value, kept: Value, misfit: str | None, name: str, kind: str) -> tuple[Value, str | None]:
    """The value as the new type, and the row's misfits with it.

    A former misfit may fit now; and what was ``kept`` of the time when the column had this type before is the original.
    """
    misfits: dict[str, Any] = orjson.loads(misfit) if misfit else {}
    value = kept
    if value is None:
        try:
            value = fit(misfits.get(name, old), kind)
        except MisfitError:
            misfits.setdefault(name, fit(old, TEXT))
            return None, orjson.dumps(misfits, option=orjson.OPT_SORT_KEYS).decode()
    misfits.pop(name, None)
    return value, (orjson.dumps(misfits, option=orjson.OPT_SORT_KEYS).decode() if misfits else None)
