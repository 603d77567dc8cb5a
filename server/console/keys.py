"""What the console's handlers share, under typed keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from server.console.assets import Assets
from server.console.mending import Kept
from server.console.pages import Pages
from server.console.sessions import Sessions
from server.store.store import Store


@dataclass(frozen=True, slots=True)
class Console:
    """One console: what it reads, who is signed in, and how it looks."""

    store: Store
    sessions: Sessions
    pages: Pages
    assets: Assets
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking; ``session_id`` is empty for a request that brought its token along."""

    name: str
    role: str
    session_id: str


CONSOLE = web.AppKey("console", Console)
VIEWER = web.RequestKey("viewer", Viewer)


def admin(request: web.Request, doing: str) -> Viewer:
    """Who is looking, who has to be an admin. Raises ``HTTPForbidden``, which says for ``doing`` what."""
    viewer = request[VIEWER]
    if viewer.role != "admin":
        raise web.HTTPForbidden(reason=f"{doing} takes a token of the role admin.")
    return viewer


def render(request: web.Request, template: str, *, http_status: int = 200, **context: object) -> web.Response:
    """A page, with what every page shows."""
    text = request.app[CONSOLE].pages.render(
        template, viewer=request.get(VIEWER), path=request.path, now=request.app[CONSOLE].store.clock(), **context
    )
    return web.Response(text=text, status=http_status, content_type="text/html", charset="utf-8")
