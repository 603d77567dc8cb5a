"""Telling people what is new: alerts become messages, and messages are sent until they arrive."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
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
_ROUND_SECONDS = 20.0
"""After so long a channel begins no other message before the next look, so that a slow one holds up nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Whom to tell, of what, and how long alerts wait for others."""

    channels: Sequence[Channel] = ()
    limits: Limits = field(default_factory=Limits)
    group_seconds: float = GROUP_SECONDS


async def tell(store: Store, telling: Telling, listening_since: float) -> None:
    """Raise what is new, make a message of what has waited long enough, and send what is due."""
    await look(store, telling, listening_since)
    by_name = {channel.name: channel for channel in telling.channels}
    due_now = await store.read(lambda tx: due(tx, store.clock()))
    await asyncio.gather(*(_deliver_all(store, found, by_name.get(name)) for name, found in due_now.items()))


async def look(store: Store, telling: Telling, listening_since: float) -> None:
    """Raise what is new, and make a message of what has waited long enough; nothing is sent."""
    now = store.clock()
    if not await store.read(lambda tx: begun(tx, now)):
        await store.write(lambda tx: begin(tx, now))
    listened = now - listening_since >= LISTENED_SECONDS
    new = await store.read(lambda tx: find_new(tx, telling.limits, now, listened=listened))
    if new:
        await store.write(lambda tx: record(tx, new, now))
    if await store.read(partial(_waiting, telling, now)):
        await store.write(partial(_make_message, telling, now))


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


async def _deliver_all(store: Store, deliveries: Sequence[Delivery], channel: Channel | None) -> None:
    """Try what is due over one channel; one that fails is not tried with more."""
    until = time.monotonic() + _ROUND_SECONDS
    for delivery in deliveries:
        if not await _deliver(store, delivery, channel) or time.monotonic() > until:
            return


async def _deliver(store: Store, delivery: Delivery, channel: Channel | None) -> bool:
    """Try a delivery; returns whether it is settled, delivered or given up."""
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
        return given_up
    await store.write(lambda tx: note_delivered(tx, delivery, store.clock()))
    return True
