"""Giving a column of a query's table another type, without losing what is in it."""

from __future__ import annotations

from typing import Any

import orjson

from server.normalize.rows import Column
from server.normalize.values import MisfitError, Value, fit
from server.store.driver import Transaction
from server.store.names import quoted
from server.store.tables import SQL_TYPES, QueryTable

_OLD = quoted("muster_retyped")


async def retype(tx: Transaction, table: QueryTable, column: Column, kind: str) -> None:
    """Make ``column`` of type ``kind``. A value that does not fit it becomes null and goes to ``_misfit``.

    The digests of the rows stay those of their old values, so the next answer ends every row and begins it anew: a new
    type is a new version of the query.
    """
    name = quoted(column.sql_name)
    for statement in table.drop_views():
        await tx.run(statement)
    await tx.run(f"ALTER TABLE {table.rows_name} RENAME COLUMN {name} TO {_OLD}")
    await tx.run(f"ALTER TABLE {table.rows_name} ADD COLUMN {name} {SQL_TYPES[kind]}")
    for old, misfit in await tx.rows(f"SELECT DISTINCT {_OLD}, _misfit FROM {table.rows_name}"):
        value, misfits = _converted(old, misfit, column.sql_name, kind)
        where = f"{name} IS NULL AND {_OLD} = ?" if old is not None else f"{name} IS NULL AND {_OLD} IS NULL"
        where += " AND _misfit = ?" if misfit is not None else " AND _misfit IS NULL"
        found = [part for part in (old, misfit) if part is not None]
        await tx.run(
            f"UPDATE {table.rows_name} SET {name} = ?, _misfit = ? WHERE {where}",
            (value, misfits, *found),
        )
    await tx.run(f"ALTER TABLE {table.rows_name} DROP COLUMN {_OLD}")
    for statement in table.create_views():
        await tx.run(statement)
    await tx.run(
        "UPDATE muster_columns SET kind = ? WHERE table_name = ? AND sql_name = ?",
        (kind, table.name, column.sql_name),
    )


def _converted(old: Value, misfit: str | None, name: str, kind: str) -> tuple[Value, str | None]:
    """The value as the new type, and the row's misfits with it; a former misfit may fit now."""
    misfits: dict[str, Any] = orjson.loads(misfit) if misfit else {}
    try:
        value = fit(misfits.get(name, old), kind)
        misfits.pop(name, None)
    except MisfitError:
        value = None
        misfits.setdefault(name, fit(old, "text"))
    return value, (orjson.dumps(misfits).decode() if misfits else None)
