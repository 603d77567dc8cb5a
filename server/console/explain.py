"""The page of one verdict: why a device has its status of a control on a day."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from server.console.history import asked_day
from server.console.keys import CONSOLE, render
from server.console.paging import Page, page_of
from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.evaluate.explained import ExplainError, Explanation
from server.report import explanation as words


async def show(request: web.Request) -> web.Response:
    """``GET /devices/{device_id}/controls/{control}``."""
    asked = Question(request.match_info["device_id"], request.match_info["control"], asked_day(request))
    page = page_of(request.query)
    try:
        found = await explain(request.app[CONSOLE].store, asked, limit=page.size, offset=page.offset)
    except ExplainError as error:
        if error.unknown:
            raise web.HTTPNotFound(reason=str(error)) from error
        raise web.HTTPBadRequest(reason=str(error)) from error
    return render(
        request, "explain.html", it=found, words=words, parts=list(words.parts(found)), page=_page(page, found)
    )


def _page(page: Page, found: Explanation) -> Page:
    evidence = found.evidence
    return replace(page, more=bool(evidence and evidence.offset + len(evidence.rows) < evidence.count))
