"""Occasions to take evidence: the machine woke, somebody logged in, the clock was set, a day began."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LOG_INS = (Path("/run/utmp"), Path("/var/run/utmp"), Path("/var/run/utmpx"), Path("/run/systemd/sessions"))
"""What changes when somebody logs in; a system has some of them."""
JUMP_SECONDS = 30.0
"""By how much the wall clock may go on otherwise than the monotonic one, which stands still in sleep."""


def log_ins() -> tuple[int, ...]:
    """What is another after somebody logged in or out."""
    marks = []
    for path in LOG_INS:
        try:
            marks.append(os.stat(path).st_mtime_ns)
        except OSError:
            marks.append(0)
    return tuple(marks)


class Occasions:
    """Notices them by looking now and then, without asking osqueryd."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        marks: Callable[[], tuple[int, ...]] = log_ins,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._marks = marks
        self._before = (wall(), monotonic())
        self._known = marks()

    def look(self) -> str:
        """What happened since the last look; empty if nothing did."""
        wall, monotonic = self._wall(), self._monotonic()
        was_wall, was_monotonic = self._before
        self._before = wall, monotonic
        known, self._known = self._known, self._marks()
        jump = (wall - was_wall) - (monotonic - was_monotonic)
        if jump > JUMP_SECONDS:
            return "woke"
        if jump < -JUMP_SECONDS:
            return "clock set back"
        return "log-in" if self._known != known else ""
