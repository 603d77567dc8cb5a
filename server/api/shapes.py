"""What handlers for people share: who may change something, numbers in a query string, and JSON bodies."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from server.api.keys import PRINCIPAL


def admin_of(request: web.Request, doing: str) -> str:
    """The name of the token, which has to be an admin's. Raises ``HTTPForbidden``, which says for ``doing`` what."""
    principal = request[PRINCIPAL]
    if principal.role != "admin":
        raise web.HTTPForbidden(reason=f"{doing} takes a token of the role admin")
    return principal.name


def number_asked(request: web.Request, name: str, default: int, least: int, largest: int) -> int:
    """A number of the query string. Raises ``HTTPBadRequest`` for one out of bounds, or none."""
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not text.isascii() or len(text) > 12 or not least <= int(text) <= largest:
        raise web.HTTPBadRequest(reason=f"{name} is a number from {least} to {largest}")
    return int(text)


async def object_sent(request: web.Request, largest: int) -> dict[str, Any]:
    """The object of a JSON body of so many bytes at most; no body is an empty one.

    Raises ``HTTPBadRequest`` for any other body, and ``HTTPRequestEntityTooLarge``.
    """
    raw = await request.read()
    if len(raw) > largest:
        raise web.HTTPRequestEntityTooLarge(largest, len(raw))
    try:
        sent = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(reason="the body is not JSON") from error
    if not isinstance(sent, dict):
        raise web.HTTPBadRequest(reason="the body is a JSON object")
    return sent


def json_answer(value: object, *, status: int = 200) -> web.Response:
    """An answer of JSON."""
    return web.Response(body=orjson.dumps(value, default=str), status=status, content_type="application/json")
