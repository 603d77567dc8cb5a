"""Telling people what is new: alerts become messages, and messages are sent until they arrive."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson

from server.normalize.times import iso
from server.notify.channels import Channel, NotDeliveredError
from server.report.alerts import message_of
from server.store.alert_messages import Delivery, add_message, due, note_delivered, note_failed
from server.store.alerts import NOBODY, Alert, Limits, begin, begun, find_new, put_into, record, waiting
from server.store.driver import Transaction
from server.store.store import Store

log = logging.getLogger(__name__)

GROUP_SECONDS = 120.0
"""How long alerts wait for others, so that one cause makes one message."""
LISTENED_SECONDS = 3600.0
"""For so long a server has to have run before devices it did not hear of are silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Whom to tell, of what, and how long alerts wait for others."""

    channels: Sequence[Channel] = ()
    limits: Limits = field(default_factory=Limits)
    group_seconds: float = GROUP_SECONDS


async def tell(store: Store, telling: Telling, listening_since: float) -> None:
    """Raise what is new, make a message of what has waited long enough, and send what is due."""
    now = store.clock()
    if not await store.read(begun):
        await store.write(lambda tx: begin(tx, now))
    listened = now - listening_since >= LISTENED_SECONDS
    new = await store.read(lambda tx: find_new(tx, telling.limits, now, listened=listened))
    if new:
        await store.write(lambda tx: record(tx, new, now))
    if await store.read(partial(_waiting, telling, now)):
        await store.write(partial(_make_message, telling, now))
    by_name = {channel.name: channel for channel in telling.channels}
    for delivery in await store.read(lambda tx: due(tx, now)):
        await _deliver(store, delivery, by_name.get(delivery.channel))


async def _waiting(telling: Telling, now: float, tx: Transaction) -> list[Alert]:
    return await waiting(tx, iso(now - telling.group_seconds) if telling.channels else iso(now))


async def _make_message(telling: Telling, now: float, tx: Transaction) -> None:
    alerts = await _waiting(telling, now, tx)
    number = NOBODY
    if telling.channels:
        body = orjson.dumps(message_of(alerts)).decode()
        names = [channel.name for channel in telling.channels]
        number = await add_message(tx, f"msg_{secrets.token_hex(12)}", body, len(alerts), names, now)
    await put_into(tx, alerts, number)


async def _deliver(store: Store, delivery: Delivery, channel: Channel | None) -> None:
    try:
        if channel is None:
            raise NotDeliveredError("there is no such channel any more", for_good=True)
        await channel.send(delivery.message_id, orjson.loads(delivery.body))
    except NotDeliveredError as error:
        failed = partial(note_failed, delivery=delivery, error=str(error), now=store.clock(), for_good=error.for_good)
        given_up = await store.write(failed)
        log.log(
            logging.ERROR if given_up else logging.WARNING,
            "%s did not take message %s (%s): %s",
            delivery.channel,
            delivery.message_id,
            "given up" if given_up else "it will be tried again",
            error,
        )
        return
    await store.write(lambda tx: note_delivered(tx, delivery, store.clock()))
