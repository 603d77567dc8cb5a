"""The JSON API for people and their scripts: every path but osquery's and health wants a bearer token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from server.api import explain
from server.api.collector import PREFIX as COLLECTOR_PREFIX
from server.api.keys import ASKER, PRINCIPAL, STORE
from server.api.osquery import PREFIXES
from server.api.shapes import json_answer, number_asked, object_sent
from server.catalog.minimise import minimised_columns
from server.store.access import Principal, principal_of
from server.store.ask import SqlRefusedError
from server.store.driver import StoreError, dicts
from server.store.rollout import Cohort, rollout
from server.store.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LISTS = {
    "devices": "SELECT * FROM devices ORDER BY device_id",
    "asked": "SELECT * FROM posture_asked ORDER BY asked_at, device_id, query",
    "coverage": "SELECT * FROM coverage ORDER BY device_id, query, first_at",
    "alerts": "SELECT * FROM posture_alerts ORDER BY raised_at DESC, kind, control, device_id, detail",
    "clocks": "SELECT * FROM clocks ORDER BY device_id, first_read_at",
    "clock_stretches": "SELECT * FROM clock_stretches ORDER BY device_id, first_at",
    "days": "SELECT * FROM days ORDER BY day",
    "rejects": "SELECT * FROM rejects ORDER BY rejected_at, device_id, query, reason, sample",
    "packs": "SELECT number, hash, origin, applied_by, applied_at, note, state, canary, replaces, restores,"
    " promoted_by, promoted_at, ended_at, stopped_by, stop_reason FROM muster_applications ORDER BY number DESC",
}
"""What can be listed, a page at a time."""
PAGE, LARGEST_PAGE = 100, 1000
ASK_SECONDS, ASK_ROWS, LARGEST_STATEMENT = 30.0, 10_000, 1_048_576

_OPEN = ("/healthz", "/readyz")
PATHS = ("/api/", "/healthz", "/readyz", "/metrics")
"""How the paths of this API begin. All others are the console's, which checks its own cookie."""


def routes() -> list[web.RouteDef]:
    """The routes of this API."""
    return [
        web.get("/healthz", health),
        web.get("/readyz", ready),
        web.get("/api/v1/controls", controls),
        web.get("/api/v1/queries", queries),
        web.get("/api/v1/explain", explain.show),
        web.get("/api/v1/{name:" + "|".join(LISTS) + "}", listing),
        web.post("/api/v1/sql", sql),
    ]


async def health(request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """The database answers too."""
    try:
        await request.app[STORE].read(lambda tx: tx.row("SELECT 1"))
    except StoreError as error:
        return web.json_response({"status": "unavailable", "error": str(error)}, status=503)
    return web.json_response({"status": "ready"})


async def controls(request: web.Request) -> web.Response:
    """The controls in force, with their rules."""
    found = [
        {"control": loaded.control_id, "area": loaded.area, **loaded.control.model_dump(mode="json")}
        for loaded in request.app[STORE].catalog.judged()
    ]
    return json_answer({"controls": found})


async def queries(request: web.Request) -> web.Response:
    """The queries of the catalog; ``minimised`` has the columns that are not stored as they come."""
    catalog = request.app[STORE].catalog
    found = [
        {
            "query": name,
            "platform": platform,
            "version": query.version,
            "mode": query.mode,
            "sql": query.sql,
            "minimised": minimised_columns(catalog.minimisation, query, platform),
        }
        for (name, platform), query in sorted(catalog.queries.items())
    ]
    return json_answer({"queries": found})


async def listing(request: web.Request) -> web.Response:
    """A page of one of ``LISTS``; beside ``packs``, which are applications, what is in force and on which devices."""
    name = request.match_info["name"]
    limit, offset = number_asked(request, "limit", PAGE, 1, LARGEST_PAGE), number_asked(request, "offset", 0, 0, 10**9)
    found = await request.app[STORE].read(lambda tx: dicts(tx, f"{LISTS[name]} LIMIT ? OFFSET ?", (limit + 1, offset)))
    following = offset + limit if len(found) > limit else None
    answer: dict[str, object] = {name: found[:limit], "next_offset": following}
    if name == "packs":
        answer |= await _in_force(request.app[STORE])
    return json_answer(answer)


async def _in_force(store: Store) -> dict[str, object]:
    """What is in force, and how many devices of each platform are proven to run it."""
    if not store.in_force.base.number:
        return {"in_force": None, "canary": None}
    found = await rollout(store.driver, store.in_force, store.clock(), costs=False)

    def counts(cohort: Cohort | None) -> dict[str, object] | None:
        if cohort is None:
            return None
        return {
            "number": cohort.application.number,
            "platforms": [asdict(on) for on in cohort.platforms],
            "errors": cohort.errors,
            "errors_before": cohort.errors_before,
        }

    return {"in_force": counts(found.base), "canary": counts(found.canary)}


async def sql(request: web.Request) -> web.Response:
    """Run one read-only statement: {"sql", "limit"?} gives {"columns", "rows", "truncated"}."""
    asked = await object_sent(request, LARGEST_STATEMENT)
    statement, limit = asked.get("sql"), asked.get("limit", ASK_ROWS)
    if not isinstance(statement, str) or not isinstance(limit, int) or not 0 < limit <= ASK_ROWS:
        raise web.HTTPBadRequest(reason=f'the body is {{"sql": text, "limit"?: 1 to {ASK_ROWS}}}')
    try:
        answer = await request.app[ASKER].ask(statement, limit=limit, seconds=ASK_SECONDS)
    except SqlRefusedError as error:
        return json_answer({"error": str(error)}, status=400)
    return json_answer({"columns": answer.columns, "rows": answer.rows, "truncated": answer.truncated})


@web.middleware
async def bearer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only holders of a token past, and shape errors as JSON."""
    if request.path.startswith((*PREFIXES, COLLECTOR_PREFIX)) or not request.path.startswith(PATHS):
        return await handler(request)
    try:
        if request.path not in _OPEN:
            request[PRINCIPAL] = await _principal(request)
        if "\0" in request.path:  # Postgres cannot even be asked for it
            raise web.HTTPNotFound(reason="there is no such address")
        if odd := next((name for name, value in request.query.items() if "\0" in value), None):
            raise web.HTTPBadRequest(reason=f"{odd[:40]!r} has a NUL in it")
        return await handler(request)
    except web.HTTPException as error:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return web.json_response({"error": error.reason}, status=error.status, headers=headers)
    except StoreError as error:
        return web.json_response({"error": str(error)}, status=503)


async def _principal(request: web.Request) -> Principal:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    principal = None
    if scheme.lower() == "bearer" and token.strip():
        principal = await request.app[STORE].read(lambda tx: principal_of(tx, token.strip()))
    if principal is None:
        raise web.HTTPUnauthorized(reason="a bearer token is needed: make one with 'muster token add'")
    return principal
