"""What handlers for people share: numbers in a query string, and JSON bodies."""

from __future__ import annotations

import orjson
from aiohttp import web


def number_asked(request: web.Request, name: str, default: int, least: int, largest: int) -> int:
    """A number of the query string. Raises ``HTTPBadRequest`` for one out of bounds, or none."""
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not text.isascii() or len(text) > 12 or not least <= int(text) <= largest:
        raise web.HTTPBadRequest(reason=f"{name} is a number from {least} to {largest}")
    return int(text)


def json_answer(value: object, *, status: int = 200) -> web.Response:
    """An answer of JSON."""
    return web.Response(body=orjson.dumps(value, default=str), status=status, content_type="application/json")
