"""A device's collector in one line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.report.words import moment, plural


def collector_line(collector: Mapping[str, Any]) -> str:
    """What is known of a collector, as ``store.collectors.collector_of`` tells it."""
    parts = [collector["version"] or "of an unknown version"]
    if collector["connected"]:
        parts.append("connected")
    waiting = collector["backlog_lines"]
    if waiting:
        parts.append(f"{plural(waiting, 'line')} not delivered yet")
    if collector["gaps"]:
        lost = plural(collector["lost_lines"], "line") if collector["lost_lines"] else "lines"
        parts.append(f"{lost} lost, last of {moment(collector['lost_at'])} ({collector['lost_reason']})")
    if collector["policy"]:
        parts.append(f"policy: {collector['policy']}")
    return ", ".join(parts)
