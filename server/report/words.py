"""How Muster puts things to people: statuses, reasons, days, values, and how long ago something was. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from server.evaluate.verdicts import REASONS
from server.normalize.times import FORMAT, unix

LABELS = {
    "pass": "Pass",
    "fail": "Fail",
    "stale": "Stale",
    "no_data": "No data",
    "error": "Error",
    "not_applicable": "Not applicable",
    "exempt": "Exempt",
}
MEANINGS = {
    "pass": "seen on that day, and the rule holds",
    "fail": "seen on that day, and the rule does not hold",
    "stale": "answered once, but not recently enough for this day",
    "no_data": "never answered",
    "error": "the query failed on the device, or its answer does not decide",
    "not_applicable": "the control is not for this device, or it was not in scope yet",
    "exempt": "an exemption is in force",
}
PLATFORMS = {"darwin": "macOS", "windows": "Windows", "linux": "Linux"}
COVERAGE = {
    "ok": "Answered",
    "error": "The query failed",
    "incomplete": "A part is missing",
    "denylisted": "Denylisted by osquery",
}
PHASES = {
    "requested": "To be decided",
    "lapsed": "Never decided",
    "rejected": "Rejected",
    "upcoming": "Not begun",
    "active": "In force",
    "ended": "Ended",
    "revoked": "Revoked",
}
OUTCOMES = {
    "answered": "Answered",
    "failed": "The query failed",
    "denylisted": "Denylisted by osquery",
    "refused": "Refused by the device's policy",
    "stopped": "Never told, not asked again",
    "unanswered": "Not answered",
    "not_picked_up": "Never picked up",
    "not_needed": "Answered by schedule",
    "withdrawn": "Withdrawn",
}
"""What came of questions put to a device."""
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def reason_text(reason: str | None) -> str:
    """A verdict's reason as a sentence; one this version does not know is shown as it is stored."""
    text = REASONS.get(reason, reason) if reason else ""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def platform_name(platform: str) -> str:
    """What people call a platform."""
    return PLATFORMS.get(platform, platform or "Unknown platform")


def long_day(day: str) -> str:
    """``2026-11-22`` as ``Sunday 22 November 2026``."""
    value = date.fromisoformat(day)
    return f"{value:%A} {value.day} {value:%B %Y}"


def short_day(day: str) -> str:
    """``2026-11-22`` as ``22 Nov``."""
    value = date.fromisoformat(day)
    return f"{value.day} {value:%b}"


def dated(day: str) -> str:
    """``2026-11-22`` as ``22 Nov 2026``, for days that may be of another year."""
    return f"{short_day(day)} {day[:4]}"


def moment(text: str) -> str:
    """A stored time for people, still in UTC: ``22 Nov 2026, 22:34 UTC``; an empty text is never."""
    if not text:
        return "never"
    value = datetime.strptime(text, FORMAT).replace(tzinfo=UTC)
    return f"{value.day} {value:%b %Y, %H:%M} UTC"


def ago(text: str, now: float) -> str:
    """How long ago a stored time was, in its largest unit; an empty text is never."""
    if not text:
        return "never"
    seconds = now - unix(text)
    for name, size in _UNITS:
        if seconds >= size:
            return f"{plural(int(seconds // size), name)} ago"
    return "just now"


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def printable(value: object) -> str:
    """A stored value as a terminal may show it: what could steer it, or hide, is written as an escape."""
    if value is None:
        return "null"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def cost_text(told: Mapping[str, Any]) -> str:
    """What an answer of ``posture_asked`` cost its device: ``12 ms, 3.4 MB``; empty if that is not told."""
    wall, memory = told.get("wall_time_ms"), told.get("memory")
    parts = [] if wall is None else [f"{wall:,} ms"]
    return ", ".join(parts if memory is None else [*parts, f"{memory / 1_000_000:,.1f} MB"])


def days_between(first: str, last: str) -> int:
    """How many days a day is after another."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days
