"""Time as Muster writes it: ISO-8601 text in UTC, to the second, so that text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime

DAY = 86_400
"""Seconds of a day of UTC; a day of the fleet's zone may have an hour more or less."""
FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def iso(unix_time: float) -> str:
    """``1795386851`` as ``2026-11-22T22:34:11Z``; for years 1 to 9999."""
    return datetime.fromtimestamp(int(unix_time), UTC).strftime(FORMAT)


def unix(text: str) -> int:
    """The seconds since 1970 of a time Muster wrote."""
    return int(datetime.fromisoformat(text).timestamp())
