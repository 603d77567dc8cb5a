"""The API by which a device is asked again now, and which tells what came of that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from server.api.keys import PRINCIPAL, STORE
from server.store.ask_again import ask_again, questions
from server.store.driver import DatabaseUnavailableError, StoreError, Transaction
from server.store.erase import device_no_of

LARGEST_BODY = 4096


def routes() -> list[web.RouteDef]:
    """The routes of this API."""
    return [
        web.post("/api/v1/devices/{device_id}/ask", ask),
        web.get("/api/v1/devices/{device_id}/asked", asked),
    ]


async def ask(request: web.Request) -> web.Response:
    """Ask a device: {"control"?} gives what it is asked when it calls next. For admins."""
    if request[PRINCIPAL].role != "admin":
        raise web.HTTPForbidden(reason="asking a device takes a token of the role admin")
    control = await _control(request)
    store, named, by = request.app[STORE], _device_id(request), request[PRINCIPAL].name
    try:
        made = await store.write(lambda tx: ask_again(tx, store.in_force, named, control, by, store.clock()))
    except DatabaseUnavailableError:
        raise
    except StoreError as error:
        raise web.HTTPNotFound(reason=str(error)) from error
    return web.json_response(asdict(made), status=202, dumps=lambda value: orjson.dumps(value).decode())


async def asked(request: web.Request) -> web.Response:
    """The newest question of each query to a device, and what came of it."""
    device_id = _device_id(request)

    async def read(tx: Transaction) -> list[dict[str, Any]]:
        try:
            await device_no_of(tx, device_id)
        except StoreError as error:
            raise web.HTTPNotFound(reason=str(error)) from error
        return await questions(tx, device_id)

    found = await request.app[STORE].read(read)
    return web.json_response({"asked": found}, dumps=lambda value: orjson.dumps(value).decode())


def _device_id(request: web.Request) -> str:
    device_id = request.match_info["device_id"]
    if "\0" in device_id:
        raise web.HTTPNotFound(reason="there is no such device")
    return device_id


async def _control(request: web.Request) -> str | None:
    if (request.content_length or 0) > LARGEST_BODY:
        raise web.HTTPBadRequest(reason="the body is too large")
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(reason="the body is not JSON") from error
    control = body.get("control") if isinstance(body, dict) else body
    if not isinstance(body, dict) or body.keys() - {"control"} or not (control is None or isinstance(control, str)):
        raise web.HTTPBadRequest(reason='the body is {"control"?: text}')
    if control and "\0" in control:
        raise web.HTTPBadRequest(reason="there is no such control")
    return control
