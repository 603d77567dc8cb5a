"""Posture for people and their scripts: the verdicts of a day, its numbers or a period's, and failures."""

from __future__ import annotations

from aiohttp import web

from server.api.keys import STORE
from server.api.shapes import json_answer, number_asked
from server.report.asked import AskedError, among, asked
from server.report.posture import posture, refuse_unknown
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.pages import SORTS, failures_of, verdicts_of

PAGE, LARGEST_PAGE = 100, 1000


def routes() -> list[web.RouteDef]:
    """The routes of posture."""
    return [web.get("/api/v1/posture", show), web.get("/api/v1/failures", failures)]


async def show(request: web.Request) -> web.Response:
    """With ``by`` the numbers of a day or a period, else a page of the verdicts of a day."""
    store = request.app[STORE]
    limit, offset = _page(request)
    numbers = "by" in request.query or "from" in request.query or "to" in request.query

    async def read(tx: Transaction) -> dict[str, object]:
        today = (await read_calendar(tx)).today(store.clock())
        what = asked(request.query, store.catalog, today)
        if numbers:
            return (await posture(tx, store.catalog, what)).as_dict()
        await refuse_unknown(tx, store.catalog, what.among)
        rows, more = await verdicts_of(tx, what.first, what.among, what.status, limit, offset)
        return {"posture": rows, "next_offset": offset + limit if more else None}

    try:
        return json_answer(await store.read(read))
    except AskedError as error:
        raise web.HTTPBadRequest(reason=str(error)) from error


async def failures(request: web.Request) -> web.Response:
    """A page of failure episodes, with ``open=1`` of those alone that go on; ``sort`` is age or severity."""
    store = request.app[STORE]
    limit, offset = _page(request)
    only_open, sort = request.query.get("open", ""), request.query.get("sort", "age")
    if only_open not in ("", "0", "1"):
        raise web.HTTPBadRequest(reason="open is 1 or 0")
    if sort not in SORTS:
        raise web.HTTPBadRequest(reason=f"sort is one of {', '.join(SORTS)}")

    async def read(tx: Transaction) -> dict[str, object]:
        which = among(request.query, store.catalog)
        await refuse_unknown(tx, store.catalog, which)
        rows, more = await failures_of(tx, which, only_open == "1", sort, limit, offset)
        return {"failures": rows, "next_offset": offset + limit if more else None}

    try:
        return json_answer(await store.read(read))
    except AskedError as error:
        raise web.HTTPBadRequest(reason=str(error)) from error


def _page(request: web.Request) -> tuple[int, int]:
    return number_asked(request, "limit", PAGE, 1, LARGEST_PAGE), number_asked(request, "offset", 0, 0, 10**9)
