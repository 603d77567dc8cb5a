"""Which address shows what."""

from __future__ import annotations

from aiohttp import web

from server.console import asking, control, device, devices, exemptions, explain, failures, overview, rows, sign_in
from server.console.assets import KEPT, Assets
from server.console.keys import CONSOLE, Console
from server.console.pages import Pages
from server.console.sessions import Sessions
from server.store.store import Store


def attach(app: web.Application, store: Store) -> None:
    """Add the console to an application; ``guard`` must be among its middlewares."""
    assets = Assets()
    app[CONSOLE] = Console(store, Sessions(), Pages(assets), assets)
    app.add_routes(
        [
            web.get("/", overview.show),
            web.get("/controls/{control}", control.show),
            web.get("/devices", devices.show),
            web.get("/devices/{device_id}", device.show),
            web.post("/devices/{device_id}/ask", asking.ask),
            web.get("/devices/{device_id}/{query}", rows.show),
            web.get("/failures", failures.show),
            web.get("/exemptions", exemptions.listing),
            web.get("/exemptions/{exemption_id}", exemptions.show),
            web.post("/exemptions/{exemption_id}/{what:" + "|".join(exemptions.DONE) + "}", exemptions.decide),
            web.get("/devices/{device_id}/controls/{control}", explain.show),
            web.get("/sign-in", sign_in.form),
            web.post("/sign-in", sign_in.sign_in),
            web.post("/sign-out", sign_in.sign_out),
            web.get("/static/{name}", static),
        ]
    )


async def static(request: web.Request) -> web.Response:
    """A file of the console's; kept for good by browsers that asked for it by its digest."""
    asset = request.app[CONSOLE].assets.find(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound(reason="There is no such file.")
    kept = KEPT if request.query.get("v") == asset.digest else "no-cache"
    return web.Response(body=asset.body, content_type=asset.content_type, headers={"Cache-Control": kept})
