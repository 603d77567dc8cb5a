"""The button by which a device is asked again now."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from server.console.keys import CONSOLE, admin
from server.store.ask_again import NotAskedError, ask_again


async def ask(request: web.Request) -> web.Response:
    """``POST /devices/{device_id}/ask``: ask, and go back to what is asked."""
    store, device_id = request.app[CONSOLE].store, request.match_info["device_id"]
    viewer = admin(request, "Asking a device")
    try:
        await store.write(lambda tx: ask_again(tx, store.in_force, device_id, None, viewer.name, store.clock()))
    except NotAskedError as error:
        raise web.HTTPNotFound(reason=str(error)) from error
    store.questions.changed()
    raise web.HTTPSeeOther(f"/devices/{quote(device_id, safe='')}#asked")
