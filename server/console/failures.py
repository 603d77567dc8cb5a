"""The page of what is open: every failure that is not remedied, the oldest or the gravest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from server.console.filters import Choices, choices, control_titles, filter_of
from server.console.keys import CONSOLE, render
from server.console.paging import Page, page_of
from server.store.driver import Transaction
from server.store.pages import SORTS, Row, failures_of


async def show(request: web.Request) -> web.Response:
    """``GET /failures``."""
    store, sort = request.app[CONSOLE].store, request.query.get("sort", "age")
    if sort not in SORTS:
        raise web.HTTPBadRequest(reason=f"Failures are sorted by {' or '.join(SORTS)}.")
    chosen, page = filter_of(request, store.catalog), page_of(request.query)
    control = request.query.get("control", "")
    among = replace(chosen.among, controls=(control,)) if control else chosen.among

    async def read(tx: Transaction) -> tuple[Sequence[Row], bool, Choices, dict[str, str]]:
        rows, more = await failures_of(tx, among, True, sort, page.size, page.offset)
        titles = await control_titles(tx)
        return rows, more, await choices(tx, store.catalog), titles

    rows, more, to_choose, titles = await store.read(read)
    kept = {**chosen.values, "control": control, "sort": "" if sort == "age" else sort}
    return render(
        request, "failures.html", failures=rows, page=Page(page.number, page.size, more), chosen=chosen,
        choices=to_choose, titles=titles, sort=sort, sorts=SORTS, control=control, kept=kept,
    )  # fmt: skip
