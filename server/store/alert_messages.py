"""Messages of alerts on their way: each is tried over every channel until it is delivered or given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from server.normalize.times import DAY, iso, unix
from server.store.driver import Transaction, dicts

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
"""Seconds between attempts: each pause is twice the one before."""
GIVE_UP_SECONDS = 3.0 * DAY
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way over a channel, and how often it was tried."""

    message_no: int
    message_id: str
    made_at: str
    body: str
    channel: str
    attempts: int


async def add_message(
    tx: Transaction, message_id: str, body: str, alerts: int, channels: Sequence[str], now: float
) -> int:
    """Write down a message that is to go over these channels; returns its number."""
    top = await tx.row("SELECT COALESCE(MAX(message_no), 0) + 1 FROM muster_alert_messages")
    number = int(top[0]) if top else 1
    await tx.run(
        "INSERT INTO muster_alert_messages (message_no, message_id, made_at, alerts, body) VALUES (?, ?, ?, ?, ?)",
        (number, message_id, iso(now), alerts, body),
    )
    await tx.insert(
        "muster_alert_deliveries",
        ("message_no", "channel", "attempts", "next_at", "error"),
        [(number, channel, 0, iso(now), "") for channel in channels],
    )
    return number


async def due(tx: Transaction, now: float) -> dict[str, list[Delivery]]:
    """The deliveries that are to be tried now by channel, the oldest first; some of each, if there are many.

    A time that no pause reaches is that of a clock that was ahead.
    """
    which = "d.delivered_at IS NULL AND d.given_up_at IS NULL AND (d.next_at <= ? OR d.next_at > ?)"
    at = (iso(now), iso(now + LONGEST_PAUSE))
    found = {}
    for (channel,) in await tx.rows(f"SELECT DISTINCT d.channel FROM muster_alert_deliveries d WHERE {which}", at):
        rows = await tx.rows(
            "SELECT d.message_no, m.message_id, m.made_at, m.body, d.channel, d.attempts"
            " FROM muster_alert_deliveries d JOIN muster_alert_messages m ON m.message_no = d.message_no"
            f" WHERE {which} AND d.channel = ? ORDER BY d.message_no LIMIT ?",
            (*at, channel, _AT_ONCE),
        )
        found[channel] = [Delivery(*row) for row in rows]
    return found


async def note_delivered(tx: Transaction, delivery: Delivery, now: float) -> None:
    """A message has arrived."""
    await tx.run(
        "UPDATE muster_alert_deliveries SET attempts = ?, delivered_at = ?, error = '' WHERE message_no = ?"
        " AND channel = ?",
        (delivery.attempts + 1, iso(now), delivery.message_no, delivery.channel),
    )
    await _forget_sent(tx, delivery.message_no)


async def note_failed(tx: Transaction, delivery: Delivery, error: str, now: float, *, for_good: bool) -> bool:
    """An attempt failed; returns whether the delivery is given up: ``for_good``, or since it was tried for too long."""
    over = for_good or now - unix(delivery.made_at) > GIVE_UP_SECONDS
    pause = min(FIRST_PAUSE * 2.0**delivery.attempts, LONGEST_PAUSE)
    await tx.run(
        "UPDATE muster_alert_deliveries SET attempts = ?, next_at = ?, given_up_at = ?, error = ? WHERE message_no = ?"
        " AND channel = ?",
        (delivery.attempts + 1, iso(now + pause), iso(now) if over else None, error[:500], delivery.message_no,
         delivery.channel),
    )  # fmt: skip
    if over:
        await _forget_sent(tx, delivery.message_no)
    return over


async def _forget_sent(tx: Transaction, message_no: int) -> None:
    """Keep no names of devices in a message that nobody sends any more; its alerts stay."""
    await tx.run(
        "UPDATE muster_alert_messages SET body = '' WHERE message_no = ? AND NOT EXISTS ("
        "SELECT 1 FROM muster_alert_deliveries d WHERE d.message_no = muster_alert_messages.message_no"
        " AND d.delivered_at IS NULL AND d.given_up_at IS NULL)",
        (message_no,),
    )


async def blank_messages(tx: Transaction, of: str, blank: str) -> None:
    """Blank what messages on their way say of a device, by its id, or of what an alert's detail begins with."""
    marked = orjson.dumps(of).decode()[1:-1]
    for number, body in await tx.rows("SELECT message_no, body FROM muster_alert_messages WHERE body <> ''"):
        if marked not in body:
            continue
        message = orjson.loads(body)
        for group in message["groups"]:
            for alert in group["alerts"]:
                if alert["device_id"] == of or alert["detail"].startswith(of):
                    alert["hostname"] = alert["hostname"] and blank
                    alert["detail"] = blank if group["kind"] == "exemption_expiring" else alert["detail"]
        changed = (orjson.dumps(message).decode(), number)
        await tx.run("UPDATE muster_alert_messages SET body = ? WHERE message_no = ?", changed)


async def list_deliveries(tx: Transaction, limit: int, *, undelivered: bool = False) -> list[dict[str, object]]:
    """The newest deliveries, or those of them that have not arrived; as the command and the API show them."""
    only = "WHERE d.delivered_at IS NULL" if undelivered else ""
    return await dicts(
        tx,
        "SELECT m.message_id, m.made_at, m.alerts, d.channel, d.attempts, d.delivered_at, d.given_up_at, d.error"
        " FROM muster_alert_deliveries d JOIN muster_alert_messages m ON m.message_no = d.message_no"
        f" {only} ORDER BY m.message_no DESC, d.channel LIMIT ?",
        (limit,),
    )
