"""The collector's enrolment and its batches. Whatever goes wrong, a JSON object says what to do."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from aiohttp import web

from server.api.bodies import BodyLateError, BodyTooLargeError, admitted, apart, read_body
from server.api.keys import ARRIVING, CLONES, GATE, PRESENCE, STORE
from server.normalize.devices import facts_of
from server.store.batches import Fate
from server.store.devices import COLLECTOR, Device
from server.store.driver import DatabaseUnavailableError
from server.wire import answers
from server.wire import collector as wire
from server.wire.body import BadBodyError
from server.wire.messages import CollectorBatch
from server.wire.requests import node_key_of_header, parse_collector_enrollment

log = logging.getLogger(__name__)

PREFIX = "/api/collector/"
BATCHES_A_DEVICE = 4
"""Under way at once: one of each lane, and one more of each whose connection broke without our notice."""
RETRY_SECONDS, RETRY_SPREAD = 5, 11
"""When a collector is to come again, at least, and over how many seconds more those of a fleet are spread."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TooManyError(Exception):
    """The device has enough batches under way."""


class UnderWay:
    """How many batches each device (by number) has under way."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    @contextmanager
    def one_of(self, device_no: int) -> Iterator[None]:
        """Count one more meanwhile. Raises ``TooManyError``."""
        count = self._counts.get(device_no, 0)
        if count >= BATCHES_A_DEVICE:
            raise TooManyError(f"{count} batches of this device are under way")
        self._counts[device_no] = count + 1
        try:
            yield
        finally:
            left = self._counts.pop(device_no) - 1
            if left:
                self._counts[device_no] = left


UNDER_WAY = web.AppKey("under_way", UnderWay)


def routes() -> list[web.RouteDef]:
    """The routes of the collector."""
    return [web.post(f"{PREFIX}enroll", enroll), web.post(f"{PREFIX}batch", batch)]


async def enroll(request: web.Request) -> web.Response:
    """Give the collector of a device that knows the secret its node key; that of osquery stays in use."""
    enrollment, version = parse_collector_enrollment(await read_body(request, "collector/enroll"))
    facts = facts_of(enrollment)
    node_key = await request.app[STORE].enroll(enrollment.secret, facts, enrollment.host_identifier, version)
    if node_key is None:
        log.warning("enrolment of the collector of %r from %s refused: wrong secret", facts.hostname, request.remote)
        return json_bytes(wire.error("enrolment refused"), status=401)
    return json_bytes(answers.enrolled(node_key))


async def batch(request: web.Request) -> web.Response:
    """Store a batch; answered when it is durable, or told what to do with it."""
    device = await device_of(request)
    if device is None:
        return node_invalid()
    with request.app[UNDER_WAY].one_of(device.device_no):
        async with admitted(request, "collector/batch", request.app[ARRIVING], request.app[GATE]) as raw:
            found = await apart(len(raw), partial(wire.parse_batch, raw, request.app[STORE].familiar))
            del raw
            return await _stored(request, device, found)


async def _stored(request: web.Request, device: Device, found: CollectorBatch) -> web.Response:
    store = request.app[STORE]
    if not await request.app[CLONES].accept(device, found.body):
        return node_invalid()
    fate = await store.take(device, found)
    if fate is Fate.DIVERGED:
        log.warning("device %s: its collector goes on from %d, which is not known", device.device_id, found.mark.after)
        return json_bytes(wire.DIVERGED, status=409)
    return json_bytes(wire.taken(found.mark.through))


async def device_of(request: web.Request) -> Device | None:
    """The device whose collector's key is in the header, noted as present; None for a key that is not in use."""
    key = node_key_of_header(request.headers.get("Authorization", ""))
    device = await request.app[STORE].device_of(key, COLLECTOR)
    if device is not None:
        request.app[PRESENCE].device_nos.add(device.device_no)
    return device


def node_invalid() -> web.Response:
    """The key is not in use: the collector enrols again and keeps what it has to send."""
    return json_bytes(answers.NODE_INVALID, status=401)


def json_bytes(body: bytes, *, status: int = 200) -> web.Response:
    """An answer of JSON that is written already."""
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def collector_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure on the collector's paths into an answer that says whether to come again with the same."""
    if not request.path.startswith(PREFIX):
        return await handler(request)
    try:
        return await handler(request)
    except BodyLateError as error:
        return json_bytes(wire.error(str(error)), status=408)
    except (BodyTooLargeError, wire.TooManyLinesError) as error:
        return _refused(request, error, 413)
    except BadBodyError as error:
        return _refused(request, error, 400)
    except TooManyError as error:
        return _later(str(error), 429)
    except DatabaseUnavailableError as error:
        log.error("not taken now: %s", error)
        return _later("the database cannot be reached or written now", 503)
    except web.HTTPException as error:
        return json_bytes(wire.error(error.reason), status=error.status)
    except Exception:
        log.exception("request to %s failed", request.path)
        return json_bytes(wire.error("internal error"), status=500)


def _refused(request: web.Request, error: Exception, status: int) -> web.Response:
    log.warning("a request of %s to %s is refused: %s", request.remote, request.path, error)
    return json_bytes(wire.error(str(error)), status=status)


def _later(message: str, status: int) -> web.Response:
    return json_bytes(wire.error(message, retry_after=retry_seconds()), status=status)


def retry_seconds() -> int:
    """When a collector is to come again that cannot be served now: not all of a fleet at the same time."""
    return RETRY_SECONDS + secrets.randbelow(RETRY_SPREAD)
