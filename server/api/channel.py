"""The collector's channel, a websocket that stays open, and the poll that carries the same messages without one."""

from __future__ import annotations

import logging
import time

from aiohttp import WSCloseCode, WSMsgType, web

from server.api.bodies import read_body
from server.api.channels import CHANNELS, Channel, Channels
from server.api.collector import PREFIX, device_of, json_bytes, node_invalid, retry_seconds
from server.api.outbox import Outbox
from server.store.driver import DatabaseUnavailableError
from server.store.questions import Caller
from server.wire import collector_messages as messages
from server.wire.body import BadBodyError
from server.wire.limits import MESSAGE_BYTES
from server.wire.requests import node_key_of_header, parse_object

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
HELLO_SECONDS = 30.0
"""How soon a channel's first message has to come."""
MESSAGES_A_MINUTE = 30
"""A collector says hello once a minute, and once more where its network changed."""
CLOSE_SECONDS = 2.0


def routes() -> list[web.RouteDef]:
    """The routes of both."""
    return [web.get(f"{PREFIX}channel", channel), web.post(f"{PREFIX}poll", poll)]


async def poll(request: web.Request) -> web.Response:
    """Answer {"hello": {…}} with the messages that a channel would carry now."""
    device = await device_of(request)
    if device is None:
        return node_invalid()
    body = parse_object(await read_body(request, "collector/poll"))
    caller = Caller(device, _key_of(request))
    said = await request.app[CHANNELS].poll(caller, messages.hello_of(body.get("hello")))
    return json_bytes(messages.polled(said))


async def channel(request: web.Request) -> web.StreamResponse:
    """Keep a collector's channel until it is closed."""
    device = await device_of(request)
    if device is None:
        return node_invalid()
    # Without compression: its state would cost more memory than all else of an idle channel.
    socket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        heartbeat=HEARTBEAT_SECONDS,
        compress=False,
        max_msg_size=MESSAGE_BYTES,
        decode_text=False,
    )
    await socket.prepare(request)
    channels = request.app[CHANNELS]
    held = Channel(socket, Outbox(socket, lambda: _abort(request)), Caller(device, _key_of(request)))
    channels.open(held)
    try:
        code, why = await _held(channels, held)
        await held.close(code, why)
    except Exception:  # the answer is under way: nothing else can be said any more
        log.exception("a channel of device %s failed", device.device_id)
        await held.close(WSCloseCode.INTERNAL_ERROR, "internal error")
    finally:
        channels.leave(held)
    return socket


async def _held(channels: Channels, held: Channel) -> tuple[WSCloseCode, str]:
    """Take messages until the channel ends; returns how it is to be closed, if it is not."""
    minute, count = time.monotonic(), 0
    while True:
        first = held.peer.hello is None
        try:
            message = await held.socket.receive(timeout=HELLO_SECONDS if first else None)
        except TimeoutError:
            return WSCloseCode.POLICY_VIOLATION, "no hello came"
        if message.type is WSMsgType.BINARY:
            return WSCloseCode.UNSUPPORTED_DATA, "messages are text"
        if message.type is not WSMsgType.TEXT:
            return WSCloseCode.OK, ""  # closed, or an error for which it is closed already
        if time.monotonic() - minute >= 60:
            minute, count = time.monotonic(), 0
        count += 1
        if count > MESSAGES_A_MINUTE:
            return WSCloseCode.POLICY_VIOLATION, "too many messages"
        try:
            hello = messages.parse_message(message.data)
            if hello is not None:
                await channels.hello(held, hello)
        except BadBodyError as error:
            return WSCloseCode.INVALID_TEXT, str(error)[:100]
        except DatabaseUnavailableError as error:
            log.error("a collector is sent away: %s", error)
            held.outbox.put(messages.busy(retry_seconds()))
            return WSCloseCode.TRY_AGAIN_LATER, "the database cannot be reached now"


def _key_of(request: web.Request) -> str:
    return node_key_of_header(request.headers.get("Authorization", ""))


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
