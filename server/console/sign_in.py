"""Signing in with a bearer token, and out again."""

from __future__ import annotations

from aiohttp import web

from server.console.guard import COOKIE, keep_session
from server.console.keys import CONSOLE, render
from server.console.requests import local_path
from server.console.sessions import holder_of
from server.store.access import hash_of

LARGEST_FORM = 16_384


async def form(request: web.Request) -> web.Response:
    """Ask for a token."""
    return render(request, "sign_in.html", next=local_path(request.query.get("next", "/")), refused=False)


async def sign_in(request: web.Request) -> web.Response:
    """Open a session for the holder of a token and go on to where they meant to go."""
    if (request.content_length or 0) > LARGEST_FORM:
        raise web.HTTPBadRequest(reason="That is far more than a token.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPBadRequest(reason="That is not the form of this page.")
    console, sent = request.app[CONSOLE], await request.post()
    token, after = str(sent.get("token", "")).strip(), local_path(str(sent.get("next", "/")))
    token_hash = hash_of(token)
    holder = await console.store.read(lambda tx: holder_of(tx, token_hash)) if token else None
    if holder is None:
        return render(request, "sign_in.html", http_status=403, next=after, refused=True)
    console.sessions.close(request.cookies.get(COOKIE, ""))
    response = web.Response(status=303, headers={"Location": after})
    keep_session(request, response, console.sessions.open(token_hash))
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End the session, here and in the browser."""
    request.app[CONSOLE].sessions.close(request.cookies.get(COOKIE, ""))
    response = web.Response(status=303, headers={"Location": "/sign-in"})
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    return response
