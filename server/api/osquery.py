"""osquery's TLS API. Only the body of an answer counts; ``wire.answers`` has every form it may take."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from aiohttp import web

from server.api.bodies import admitted, apart, read_body
from server.api.keys import ARRIVING, CLONES, GATE, PRESENCE, STORE
from server.normalize.devices import facts_of
from server.store.devices import Device
from server.store.driver import DatabaseUnavailableError
from server.store.store import Store
from server.wire import answers
from server.wire.body import BadBodyError, node_keys_in
from server.wire.distributed import parse_answers
from server.wire.log import parse_log
from server.wire.messages import BadLine, LogBody
from server.wire.requests import node_key_of, node_key_of_header, parse_enrollment, parse_object

log = logging.getLogger(__name__)

PREFIXES = ("/api/osquery", "/api/v1/osquery")
"""The second is where many fleets have their agents pointed already: they move over by a change of host name."""

STRANGERS_BYTES = 64 * 1024
"""A body so large is read only if it bears a key that is in use."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> list[web.RouteDef]:
    """The routes of both prefixes."""
    handlers = {
        "enroll": enroll,
        "config": config,
        "log": log_lines,
        "distributed/read": distributed_read,
        "distributed/write": distributed_write,
        "carve/begin": carve_begin,
        "carve/block": carve_block,
    }
    return [web.post(f"{prefix}/{path}", handler) for prefix in PREFIXES for path, handler in handlers.items()]


async def enroll(request: web.Request) -> web.Response:
    """Give a device that knows the secret its node key."""
    enrollment = parse_enrollment(await read_body(request, "enroll"))
    facts = facts_of(enrollment)
    node_key = await request.app[STORE].enroll(enrollment.secret, facts, enrollment.host_identifier)
    if node_key is None:
        log.warning("enrolment of %r from %s refused: wrong secret", facts.hostname, request.remote)
        return _json(answers.error("enrolment refused"), status=401)
    return _json(answers.enrolled(node_key))


async def config(request: web.Request) -> web.Response:
    """Serve the device the config of the packs that are for it."""
    device = await _device(request, "config")
    if device is None:
        return _unknown()
    number, config = request.app[STORE].in_force.config_of(device)
    request.app[PRESENCE].serve(device.device_no, number, config.hash)
    return _json(config.body)


async def log_lines(request: web.Request) -> web.Response:
    """Store a body of log lines; answered when they are durable, or late with an error that makes osquery keep them."""
    store = request.app[STORE]
    header_key = node_key_of_header(request.headers.get("Authorization", ""))
    try:
        async with admitted(request, "log", request.app[ARRIVING], request.app[GATE]) as raw:
            if len(raw) > STRANGERS_BYTES and not await _known(store, {header_key, *node_keys_in(raw)}):
                return _unknown()
            body = await apart(len(raw), partial(parse_log, raw, header_key, store.familiar))
            del raw
            return await _stored(request, body)
    except BadBodyError as error:
        # Refused, it would come again for ever and hold up all that follows; so it is set aside.
        device = await store.device_of(header_key)
        if device is None:
            raise
        await store.reject(device, [BadLine(reason=str(error), sample="")])
        return _json(answers.OK)


async def _known(store: Store, keys: Iterable[str]) -> bool:
    """Whether any of these keys is in use: what strangers send is not worth reading."""
    for key in keys:
        if key and await store.device_of(key) is not None:
            return True
    return False


async def _stored(request: web.Request, body: LogBody) -> web.Response:
    store = request.app[STORE]
    device = await store.device_of(body.node_key)
    if device is None or not await request.app[CLONES].accept(device, body):
        return _unknown()
    done = await store.ingest(device, body)
    if done.rejected:
        log.info("device %s: %d line(s) set aside: %s", device.device_id, len(done.rejected), done.rejected[0].reason)
    return _json(answers.OK)


async def distributed_read(request: web.Request) -> web.Response:
    """Ask a device what is due: the time, and what its schedule left unanswered or somebody wants to know."""
    device, key, _ = await _sender(request, "distributed/read")
    if device is None:
        return _unknown()
    queries = await request.app[STORE].questions.due(device, key)
    return _json(answers.questions(queries) if queries else answers.NO_QUERIES)


async def distributed_write(request: web.Request) -> web.Response:
    """Take what a device answers; answers to what nobody asked are thrown away, so that osquery drops them too."""
    store = request.app[STORE]
    authorization = request.headers.get("Authorization", "")
    async with admitted(request, "distributed/write", request.app[ARRIVING], request.app[GATE]) as raw:
        if len(raw) > STRANGERS_BYTES and not await _known(
            store, {node_key_of_header(authorization), *node_keys_in(raw)}
        ):
            return _unknown()
        body = await apart(len(raw), partial(parse_object, raw))
        del raw
        device = await store.device_of(node_key_of(authorization, body))
        if device is None:
            return _unknown()
        request.app[PRESENCE].device_nos.add(device.device_no)
        await store.questions.answered(device, parse_answers(body))
        return _json(answers.OK)


async def carve_begin(request: web.Request) -> web.Response:
    """Files are never collected; osquery ends the carve when it gets no session."""
    device = await _device(request, "carve/begin")
    return _unknown() if device is None else _json(answers.error("files are not collected here"))


async def carve_block(request: web.Request) -> web.Response:
    """A block of a carve that another server began: osquery hardly looks at the answer."""
    await read_body(request, "carve/block")
    return _json(answers.OK)


async def _device(request: web.Request, endpoint: str) -> Device | None:
    return (await _sender(request, endpoint))[0]


async def _sender(request: web.Request, endpoint: str) -> tuple[Device | None, str, dict[str, Any]]:
    """The device a request is from, noted as present, or None for a key that is not in use; the key; and the body."""
    body = parse_object(await read_body(request, endpoint))
    key = node_key_of(request.headers.get("Authorization", ""), body)
    device = await request.app[STORE].device_of(key)
    if device is not None:
        request.app[PRESENCE].device_nos.add(device.device_no)
    return device, key, body


@web.middleware
async def osquery_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure on osquery's paths into an answer that makes it keep its data and come again."""
    if not request.path.startswith(PREFIXES):
        return await handler(request)
    try:
        return await handler(request)
    except BadBodyError as error:
        return _json(answers.error(str(error)), status=400)
    except DatabaseUnavailableError as error:
        log.error("database unavailable: %s", error)
        return _json(answers.error("the database cannot be reached or written now"), status=503)
    except web.HTTPException as error:
        return _json(answers.error(error.reason), status=error.status)
    except Exception:
        log.exception("request to %s failed", request.path)
        return _json(answers.error("internal error"), status=500)


def _unknown() -> web.Response:
    return _json(answers.NODE_INVALID, status=401)


def _json(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
