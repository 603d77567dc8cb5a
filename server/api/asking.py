"""The API by which a device is asked again now, and which tells what came of that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from server.api.keys import STORE
from server.api.shapes import admin_of, json_answer, object_sent
from server.store.ask_again import NotAskedError, ask_again, questions
from server.store.driver import Transaction
from server.store.erase import NoDeviceError, device_no_of

LARGEST_BODY = 4096


def routes() -> list[web.RouteDef]:
    """The routes of this API."""
    return [
        web.post("/api/v1/devices/{device_id}/ask", ask),
        web.get("/api/v1/devices/{device_id}/asked", asked),
    ]


async def ask(request: web.Request) -> web.Response:
    """Ask a device: {"control"?} gives what it is asked when it calls next. For admins."""
    by, named, store = admin_of(request, "asking a device"), request.match_info["device_id"], request.app[STORE]
    control = await _control(request)
    try:
        made = await store.write(lambda tx: ask_again(tx, store.in_force, named, control, by, store.clock()))
    except NotAskedError as error:
        raise web.HTTPNotFound(reason=str(error)) from error
    store.questions.changed()
    return json_answer(asdict(made), status=202)


async def asked(request: web.Request) -> web.Response:
    """The newest question of each query to a device, and what came of it."""
    device_id = request.match_info["device_id"]

    async def read(tx: Transaction) -> list[dict[str, Any]]:
        try:
            await device_no_of(tx, device_id)
        except NoDeviceError as error:
            raise web.HTTPNotFound(reason=str(error)) from error
        return await questions(tx, device_id)

    found = await request.app[STORE].read(read)
    return json_answer({"asked": found})


async def _control(request: web.Request) -> str | None:
    body = await object_sent(request, LARGEST_BODY)
    control = body.get("control")
    if body.keys() - {"control"} or not (control is None or isinstance(control, str)):
        raise web.HTTPBadRequest(reason='the body is {"control"?: text}')
    if control and "\0" in control:
        raise web.HTTPBadRequest(reason="there is no such control")
    return control
