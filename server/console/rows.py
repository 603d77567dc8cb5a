"""The rows of one query that are true now for one device, as the public view of the query has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.console.device import identity_of
from server.console.keys import CONSOLE, render
from server.console.paging import Page, page_of
from server.normalize.values import TEXT
from server.store.driver import Transaction
from server.store.names import quoted
from server.store.tables import QueryTable


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of rows, with where they came from."""

    identity: dict[str, Any]
    table: QueryTable
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    count: int
    page: Page
    last_at: str | None
    status: str | None

    @property
    def numeric(self) -> set[str]:
        """The columns that hold numbers."""
        return {column.sql_name for column in self.table.columns if column.kind != TEXT}


async def show(request: web.Request) -> web.Response:
    """``GET /devices/{device_id}/{query}``."""
    device_id, query = request.match_info["device_id"], request.match_info["query"]
    store, asked = request.app[CONSOLE].store, page_of(request.query)

    async def read(tx: Transaction) -> Rows:
        identity = await identity_of(tx, device_id)
        table = (await store.tables(tx)).get(query)
        if table is None:
            raise web.HTTPNotFound(reason=f"No device was ever asked a query {query!r}.")
        return await _rows(tx, identity, table, asked)

    found = await store.read(read)
    queries = store.in_force.part_of(found.identity["device_no"]).catalog.queries
    return render(request, "rows.html", found=found, shipped=queries.get((query, found.identity["platform"])))


async def _rows(tx: Transaction, identity: dict[str, Any], table: QueryTable, page: Page) -> Rows:
    events = table.mode == "events"
    names = [quoted(column.sql_name) for column in table.columns]
    shown = ["valid_from", *names] if events else names
    view = quoted(f"{table.name}_history" if events else table.name)
    order = ", ".join(["valid_from DESC", *names] if events else names or ["device_id"])
    selected = ", ".join([*shown, "_misfit"])
    device_id = identity["device_id"]
    columns, rows = await tx.select(
        f"SELECT {selected} FROM {view} WHERE device_id = ? ORDER BY {order} LIMIT ? OFFSET ?",
        (device_id, page.size + 1, page.offset),
    )
    if all(row[-1] is None for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    page, cut = page.cut(rows)
    counted = await tx.row(f"SELECT COUNT(*) FROM {view} WHERE device_id = ?", (device_id,))
    answered = await tx.row(
        "SELECT last_at, status FROM coverage WHERE device_id = ? AND query = ? ORDER BY first_at DESC LIMIT 1",
        (device_id, table.query),
    )
    return Rows(
        identity=identity,
        table=table,
        columns=columns,
        rows=cut,
        count=int(counted[0]) if counted else 0,
        page=page,
        last_at=answered[0] if answered else None,
        status=answered[1] if answered else None,
    )
