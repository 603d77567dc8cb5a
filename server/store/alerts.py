"""What people should hear of, each thing once, and the messages that tell it until they are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from server.normalize.calendar import shifted
from server.normalize.times import DAY, iso, unix
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.meta import value_of

FAILING, SILENT, EXPIRING, STOPPED = "failing", "silent", "exemption_expiring", "canary_stopped"
SEVERITIES = ("low", "medium", "high", "critical")
NOBODY = 0
"""The message of alerts that nobody was to be told."""
_LOOK_BACK_DAYS = 30
"""A failure that began longer ago than this, and becomes known now, is history and no news."""
_SINCE = "alerts_since"

_GOOD = """COALESCE((
    SELECT MAX(g.first_day) FROM muster_verdicts g
     WHERE g.control_no = v.control_no AND g.device_no = v.device_no AND g.first_day < v.first_day
       AND g.underlying_status IN ('pass', 'not_applicable')), '')"""
"""The beginning of the last good days before a run of verdicts ``v``; empty if there were none."""
_FAILING = f"""
SELECT v.device_no, c.control, c.severity, v.first_day, COALESCE(v.reason, '')
  FROM muster_verdicts v
  JOIN muster_controls c ON c.control_no = v.control_no
  JOIN muster_devices d ON d.device_no = v.device_no
 WHERE v.first_day >= ? AND v.last_day IS NULL AND v.status = 'fail' AND d.retired_at IS NULL AND d.erased_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM muster_verdicts b
                    WHERE b.control_no = v.control_no AND b.device_no = v.device_no AND b.first_day < v.first_day
                      AND b.status = 'fail' AND b.first_day > {_GOOD})
   AND NOT EXISTS (SELECT 1 FROM muster_alerts a
                    WHERE a.kind = 'failing' AND a.device_no = v.device_no AND a.control = c.control
                      AND a.day > {_GOOD})
 ORDER BY v.device_no, c.control
"""
"""Devices that fail now and did not since they last passed; of one failure only its beginning, however it is split.

Silence within a failure does not end it. Parameter: the first day on which a failure counts as new.
"""

_SILENT = """
SELECT d.device_no, d.last_seen_at FROM muster_devices d
 WHERE d.last_seen_at < ? AND d.last_seen_at >= ? AND d.enrolled_at <> '' AND d.retired_at IS NULL
   AND d.erased_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM muster_alerts a
                    WHERE a.kind = 'silent' AND a.subject = CAST(d.device_no AS TEXT) || ' ' || d.last_seen_at)
 ORDER BY d.device_no
"""
"""Devices that were not heard of for too long. Parameters: last heard of before, and not before."""

_EXPIRING = """
SELECT e.exemption_id, COALESCE(e.device_no, 0), e.control, e.last_day,
       CASE WHEN e.scope = 'device' THEN e.reason ELSE e.scope || ' ' || e.subject || ': ' || e.reason END
  FROM muster_exemptions e
 WHERE e.state = 'approved' AND e.last_day BETWEEN ? AND ?
   AND NOT EXISTS (SELECT 1 FROM muster_alerts a
                    WHERE a.kind = 'exemption_expiring' AND a.subject = e.exemption_id || ' ' || e.last_day)
   AND NOT EXISTS (SELECT 1 FROM muster_devices d WHERE d.device_no = e.device_no AND d.erased_at IS NOT NULL)
   AND NOT EXISTS (SELECT 1 FROM muster_people p
                    WHERE e.scope = 'person' AND p.person = e.subject AND p.erased_at IS NOT NULL)
 ORDER BY e.exemption_id
"""
"""Exemptions that end soon; whoever is erased needs none. Parameters: the first and the last day of their end."""

_STOPPED = """
SELECT p.number, p.ended_at, p.stopped_by, COALESCE(p.stop_reason, '') FROM muster_applications p
 WHERE p.state = 'stopped' AND p.ended_at >= ?
   AND NOT EXISTS (SELECT 1 FROM muster_alerts a
                    WHERE a.kind = 'canary_stopped' AND a.subject = CAST(p.number AS TEXT))
 ORDER BY p.number
"""
"""Canaries that were stopped. Parameter: not before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When people are to be told: of silence, of the end of exemptions, and from which severity on of failures."""

    silent_days: int = 3
    expiring_days: int = 14
    severity: str = "low"


class Found(NamedTuple):
    """Something that people should hear of; ``subject`` tells things of one kind apart, ``device_no`` may be 0."""

    kind: str
    subject: str
    device_no: int
    control: str
    severity: str
    day: str
    detail: str


_COLUMNS = Found._fields


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is to be told; device and control are empty where it is of none."""

    kind: str
    subject: str
    control: str
    severity: str
    day: str
    detail: str
    raised_at: str
    device_id: str
    hostname: str
    title: str
    """The control's."""


async def find_new(tx: Transaction, limits: Limits, now: float, *, listened: bool) -> list[Found]:
    """What is new since the last time; what began before the first time is known already.

    ``listened`` tells whether devices could be heard of for long enough: else nobody is silent but Muster.
    """
    since, calendar = await _since(tx) or iso(now), await read_calendar(tx)
    today = calendar.today(now).isoformat()
    first = max(calendar.day_at(since).day, shifted(today, -_LOOK_BACK_DAYS))
    new = [
        Found(FAILING, f"{no} {control} {day}", no, control, severity, day, reason)
        for no, control, severity, day, reason in await tx.rows(_FAILING, (first,))
        if SEVERITIES.index(severity) >= SEVERITIES.index(limits.severity)
    ]
    if listened:
        silence = limits.silent_days * DAY
        new += [
            Found(SILENT, f"{no} {seen}", no, "", "", calendar.day_at(seen).day, f"last heard of at {seen}")
            for no, seen in await tx.rows(_SILENT, (iso(now - silence), iso(unix(since) - silence)))
        ]
    last = shifted(today, limits.expiring_days)
    new += [Found(EXPIRING, f"{one} {day}", no, control, "", day, reason)
            for one, no, control, day, reason in await tx.rows(_EXPIRING, (today, last))]  # fmt: skip
    new += [
        Found(
            STOPPED, str(number), 0, "", "", calendar.day_at(ended_at).day, f"application {number}, by {by}: {reason}"
        )
        for number, ended_at, by, reason in await tx.rows(_STOPPED, (since,))
    ]
    return new


async def begun(tx: Transaction, now: float) -> bool:
    """Whether there are alerts yet; not since a time to come, which a clock that was ahead has left."""
    since = await _since(tx)
    return since is not None and since <= iso(now)


async def begin(tx: Transaction, now: float) -> None:
    """Note that there are alerts from now on."""
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        " WHERE muster_meta.value > excluded.value",
        (_SINCE, iso(now)),
    )


async def record(tx: Transaction, new: Sequence[Found], now: float) -> None:
    """Write down what is new; no message tells of it yet."""
    await tx.insert("muster_alerts", [*_COLUMNS, "raised_at"], [(*found, iso(now)) for found in new])


async def waiting(tx: Transaction, before: str) -> list[Alert]:
    """The alerts that no message has, once the oldest of them was raised before an instant; until then none."""
    rows = await tx.rows(
        "SELECT a.kind, a.subject, a.control, a.severity, a.day, a.detail, a.raised_at, COALESCE(d.device_id, ''),"
        " COALESCE(d.hostname, ''), COALESCE(c.title, '')"
        " FROM muster_alerts a LEFT JOIN muster_devices d ON d.device_no = a.device_no"
        " LEFT JOIN muster_controls c ON c.control = a.control"
        " WHERE a.message_no IS NULL ORDER BY a.kind, a.control, d.hostname, a.subject"
    )
    found = [Alert(*row) for row in rows]
    return found if any(alert.raised_at <= before for alert in found) else []


async def put_into(tx: Transaction, alerts: Sequence[Alert], message_no: int) -> None:
    """Note which message tells of alerts."""
    await tx.many(
        "UPDATE muster_alerts SET message_no = ? WHERE kind = ? AND subject = ? AND message_no IS NULL",
        [(message_no, alert.kind, alert.subject) for alert in alerts],
    )


async def _since(tx: Transaction) -> str | None:
    """Since when there are alerts."""
    return await value_of(tx, _SINCE)
