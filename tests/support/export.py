"""Everything a database tells its users, as bytes: the same on SQLite and Postgres for the same history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from server.store.driver import Transaction
from server.store.store import Store

FIXED_VIEWS = (
    "devices devices_history coverage days exemptions rejects status_logs posture posture_runs posture_totals".split()
)

Exported = Mapping[str, list[bytes]]
"""By public name: its rows as canonical JSON, in their bytes' order."""


async def export(store: Store) -> dict[str, list[bytes]]:
    """The rows of every public table and view."""

    async def read(tx: Transaction) -> dict[str, list[bytes]]:
        queries = [table.name for table in (await store.tables(tx)).values()]
        names = [*FIXED_VIEWS, *queries, *(f"{name}_history" for name in queries)]
        return {name: await _rows(tx, name) for name in sorted(names)}

    return await store.read(read)


def as_bytes(exported: Exported) -> bytes:
    """JSON lines, each a row with the name it stands under."""
    return b"\n".join(
        b'{"table":"%s","row":%s}' % (name.encode(), row) for name, rows in exported.items() for row in rows
    )


def canonical(rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Rows as JSON with sorted keys, in their bytes' order; a whole number and a float never look alike."""
    return sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)


async def _rows(tx: Transaction, name: str) -> list[bytes]:
    columns, rows = await tx.select(f'SELECT * FROM "{name}"')
    return canonical(dict(zip(columns, row, strict=True)) for row in rows)
