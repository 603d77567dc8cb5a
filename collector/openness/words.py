"""Times, sizes and paragraphs as a person reads them."""

from __future__ import annotations

import textwrap
import time
from datetime import date

WIDTH = 96
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 line``, ``2 lines``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """In the largest unit that fits, rounded down."""
    for size, name in _UNITS:
        if seconds >= size:
            return count(int(seconds // size), name)
    return "a moment"


def every(seconds: int) -> str:
    """How often, for an interval: ``every hour``, ``every 15 minutes``."""
    if seconds <= 0:
        return "at times"
    for size, name in _UNITS:
        if seconds % size == 0:
            return f"every {name}" if seconds == size else f"every {seconds // size} {name}s"
    return f"every {seconds} seconds"


def ago(now: float, then: float | None) -> str:
    """How long ago; ``never`` for None. A clock that was moved makes no negative times."""
    if then is None:
        return "never"
    seconds = now - then
    return "just now" if seconds < 2 else f"{duration(seconds)} ago"


def moment(then: float) -> str:
    """Day and time where the device is: ``24 Nov 2026 17:05``."""
    return time.strftime("%d %b %Y %H:%M", time.localtime(then)).lstrip("0")


def day_of(text: str) -> str:
    """A day of the fleet's calendar: ``24 Nov 2026``; as it stands if it is none."""
    try:
        return date.fromisoformat(text).strftime("%d %b %Y").lstrip("0")
    except ValueError:
        return text


def days_since(day: str, since: str) -> int | None:
    """Days from one day to another, counted as a person does: a failure of today is in its first day."""
    try:
        return (date.fromisoformat(day) - date.fromisoformat(since)).days + 1
    except ValueError:
        return None


def size(number: int) -> str:
    """Bytes."""
    for unit, name in _SIZES:
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return count(number, "byte")


def paragraph(text: str, indent: str = "", first: str | None = None) -> str:
    """Wrapped text; the first line may begin otherwise."""
    text = " ".join(printable(text).split())
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def heading(text: str) -> str:
    """A line over a section."""
    return f"{text}\n{'-' * len(text)}"


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)
