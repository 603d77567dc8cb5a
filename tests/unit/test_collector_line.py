"""What people read of a device's collector in one line."""

from __future__ import annotations

from typing import Any

import pytest

from server.report.collectors import collector_line

PLAIN: dict[str, Any] = {
    "version": "0.1.0",
    "connected": 0,
    "backlog_lines": None,
    "gaps": 0,
    "lost_lines": None,
    "lost_at": None,
    "lost_reason": None,
    "policy": "",
}
LOST = {"gaps": 2, "lost_at": "2026-11-22T22:34:11Z", "lost_reason": "full"}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({}, "0.1.0"),
        ({"version": ""}, "of an unknown version"),
        ({"connected": 1, "backlog_lines": 0}, "0.1.0, connected"),
        ({"backlog_lines": 1200}, "0.1.0, 1,200 lines not delivered yet"),
        ({**LOST, "lost_lines": 1}, "0.1.0, 1 line lost, last of 22 Nov 2026, 22:34 UTC (full)"),
        (LOST, "0.1.0, lines lost, last of 22 Nov 2026, 22:34 UTC (full)"),
        ({"policy": "denies live questions"}, "0.1.0, policy: denies live questions"),
    ],
)
def test_a_collector_in_one_line(told: dict[str, Any], line: str) -> None:
    assert collector_line({**PLAIN, **told}) == line
