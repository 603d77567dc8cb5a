"""The messages that tell of alerts, grouped: as JSON for programs, as a subject and a text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from server.evaluate.verdicts import REASONS
from server.report.words import plural
from server.store.alerts import EXPIRING, FAILING, SEVERITIES, SILENT, STOPPED, Alert

MOST_DEVICES = 50
"""Devices that a message names in a group; of more the number is told."""
_HEADINGS = {
    FAILING: "newly failing",
    SILENT: "newly silent",
    EXPIRING: "exemptions that end soon",
    STOPPED: "canary stopped",
}


def message_of(alerts: Sequence[Alert]) -> dict[str, Any]:
    """A message of alerts that are sorted by kind and control.

    Gives {"type", "summary", "groups": [{"kind", "control", "title", "severity", "count", "alerts": [{"device_id",
    "hostname", "day", "detail"}]}]}; the gravest failures first.
    """
    groups = [_group(list(found)) for _, found in groupby(alerts, lambda alert: (alert.kind, alert.control))]
    groups.sort(key=_urgency)
    return {"type": "muster.alerts", "summary": _summary(groups), "groups": groups}


def text_of(message: Mapping[str, Any]) -> str:
    """A message as people read it."""
    if message["type"] == "muster.test":
        return f"{message['summary']}\n"
    return "\n".join(line for group in message["groups"] for line in _lines(group))


def _group(alerts: Sequence[Alert]) -> dict[str, Any]:
    first = alerts[0]
    return {
        "kind": first.kind,
        "control": first.control,
        "title": first.title,
        "severity": first.severity,
        "count": len(alerts),
        "alerts": [
            {"device_id": one.device_id, "hostname": one.hostname, "day": one.day, "detail": one.detail}
            for one in alerts[:MOST_DEVICES]
        ],
    }


def _urgency(group: Mapping[str, Any]) -> tuple[bool, int, str, str]:
    severity = group["severity"]
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else -1
    return (group["kind"] != FAILING, -rank, group["kind"], group["control"])


def _summary(groups: Sequence[Mapping[str, Any]]) -> str:
    failing = [group for group in groups if group["kind"] == FAILING]
    parts = []
    if failing:
        names = {one["device_id"] for group in failing for one in group["alerts"]}
        several = any(group["count"] > MOST_DEVICES for group in failing)
        devices = max(len(names), max(group["count"] for group in failing))
        parts.append(
            f"{'at least ' if several else ''}{plural(devices, 'device')} newly failing"
            f" {plural(len(failing), 'control')}"
        )
    for kind, one, many in (
        (SILENT, "device newly silent", "devices newly silent"),
        (EXPIRING, "exemption ends soon", "exemptions end soon"),
        (STOPPED, "canary stopped", "canaries stopped"),
    ):
        count = sum(group["count"] for group in groups if group["kind"] == kind)
        if count:
            parts.append(plural(count, one, many))
    return ", ".join(parts)


def _lines(group: Mapping[str, Any]) -> Iterator[str]:
    kind = group["kind"]
    heading = _HEADINGS.get(kind, kind)
    if group["control"]:
        severity = f" ({group['severity']})" if group["severity"] else ""
        yield f"{group['control']}{severity}: {heading}, {group['count']}"
        if group["title"]:
            yield f"  {group['title']}"
    else:
        yield f"{heading}, {group['count']}" if kind != STOPPED else heading
    for one in group["alerts"]:
        name = one["hostname"] or one["device_id"]
        detail = REASONS.get(one["detail"], one["detail"])
        said = f"until {one['day']}: {detail}" if kind == EXPIRING else f"{one['day']}: {detail}"
        # Host names and reasons come from elsewhere: a line of the mail is one alert.
        line = " ".join(f"{name}, {said}".split() if name else said.split())
        yield f"  - {line}"
    more = group["count"] - len(group["alerts"])
    if more:
        yield f"  - and {more} more: the console and the view posture_alerts name them"
    yield ""
