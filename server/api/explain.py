"""``GET /api/v1/explain``: why a device has its verdict of a control on a day."""

from __future__ import annotations

from aiohttp import web

from server.api.keys import STORE
from server.api.shapes import json_answer, number_asked
from server.evaluate.explain import MOST_ROWS, ROWS, explain
from server.evaluate.explain_subject import Question
from server.evaluate.explained import ExplainError
from server.report.explanation_json import as_json

MOST_OFFSET = 10**9


async def show(request: web.Request) -> web.Response:
    """``?device=&control=``, and ``day``, ``limit`` and ``offset`` (of the deciding rows) where they are given."""
    asked = Question(
        request.query.get("device", ""), request.query.get("control", ""), request.query.get("day") or None
    )
    if not asked.device.strip() or not asked.control:
        raise web.HTTPBadRequest(reason="explain needs ?device=&control=, and takes day=YYYY-MM-DD, limit and offset")
    limit, offset = (
        number_asked(request, "limit", ROWS, 1, MOST_ROWS),
        number_asked(request, "offset", 0, 0, MOST_OFFSET),
    )
    try:
        found = await explain(request.app[STORE], asked, limit=limit, offset=offset)
    except ExplainError as error:
        told = {"error": str(error), "candidates": list(error.candidates)}
        return json_answer(told, status=404 if error.unknown else 400)
    return json_answer(as_json(found))
