"""Before and after every page: who asks, from where, what a browser may do with the answer, what errors show."""

from __future__ import annotations

import logging
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from server.console.keys import CONSOLE, VIEWER, Viewer, render
from server.console.requests import came_by_tls, same_site
from server.console.sessions import holder_of
from server.store.access import hash_of
from server.store.driver import StoreError

log = logging.getLogger(__name__)

COOKIE = "muster_session"
CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Under no-referrer a browser sends our own forms with "Origin: null", which could not be told from a stranger's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OPEN = ("/sign-in", "/sign-out")
_READING = ("GET", "HEAD")


def guard(apart_from: tuple[str, ...]) -> Middleware:
    """The middleware for every path, known or not, that does not begin with one of ``apart_from``."""

    @web.middleware
    async def console_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(apart_from):
            return await handler(request)
        try:
            response = await _answer(request, handler)
        except web.HTTPException as error:  # a redirection: every other one is a page by now
            _harden(error.headers)
            raise
        _harden(response.headers)
        return response

    return console_guard


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        if request.method not in _READING and not same_site(request.headers):
            raise web.HTTPForbidden(reason="This form was not sent from a page of this console.")
        if request.path not in _OPEN and not request.path.startswith("/static/"):
            viewer = await _viewer(request)
            if viewer is None:
                return _sign_in(request)
            request[VIEWER] = viewer
        # Postgres cannot even be asked for it; of what people search for it is left out.
        if "\0" in request.path or any("\0" in value for name, value in request.query.items() if name != "q"):
            raise web.HTTPNotFound(reason="There is no such page.")
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        return _error(request, error.status, error.reason)
    except StoreError as error:
        log.error("%s cannot be shown: %s", request.path, error)
        return _error(request, 503, "The database cannot be read just now. Try again in a moment.")
    except Exception:
        log.exception("showing %s failed", request.path)
        return _error(request, 500, "Something went wrong here. It is in the server's log.")


async def _viewer(request: web.Request) -> Viewer | None:
    """Whose session, or whose bearer token, it is; a token revoked a moment ago is nobody's."""
    console = request.app[CONSOLE]
    session_id = request.cookies.get(COOKIE, "")
    token_hash = console.sessions.token_hash_of(session_id) if session_id else None
    if token_hash is None:
        session_id = ""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token_hash = hash_of(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
    if token_hash is None:
        return None
    known = token_hash
    holder = await console.store.read(lambda tx: holder_of(tx, known))
    if holder is None:
        console.sessions.close(session_id)
        return None
    return Viewer(*holder, session_id)


def _sign_in(request: web.Request) -> web.Response:
    """Send a stranger to sign in, and back to the page afterwards."""
    if request.method not in _READING:
        raise web.HTTPSeeOther("/sign-in")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A strict cookie stays at home when a link elsewhere is followed; coming again from our own page brings it.
        return render(request, "arriving.html", target=request.path_qs)
    raise web.HTTPSeeOther("/sign-in" if request.path_qs == "/" else f"/sign-in?next={quote(request.path_qs)}")


def _error(request: web.Request, status: int, message: str) -> web.Response:
    return render(request, "error.html", http_status=status, code=status, message=message)


def _harden(headers: CIMultiDict[str]) -> None:
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")


def keep_session(request: web.Request, response: web.StreamResponse, session_id: str) -> None:
    """Give the browser its session, for as long as it runs."""
    secure = came_by_tls(request.secure, request.headers)
    response.set_cookie(COOKIE, session_id, path="/", httponly=True, samesite="Strict", secure=secure)
