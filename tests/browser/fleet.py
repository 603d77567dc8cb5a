"""A fleet made by hand. What its devices answer are the rows of the controls' own cases, so it follows the packs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.catalog.catalog import Catalog
from server.normalize.names import scheduled_name
from tests.support.server import Server, snapshot_line

_MASKS = {"linux": "9", "darwin": "21", "windows": "2"}
_SYSTEMS = {
    "linux": {"name": "Ubuntu", "version": "24.04.3 LTS (Noble Numbat)", "platform": "ubuntu"},
    "darwin": {"name": "macOS", "version": "26.1", "platform": "darwin"},
    "windows": {"name": "Microsoft Windows 11 Enterprise", "version": "10.0.26200", "platform": "windows"},
}


@dataclass(frozen=True)
class Machine:
    """A device to be played: its name, its platform, and the node key it is given."""

    hostname: str
    platform: str = "linux"
    failing: Collection[str] = field(default_factory=tuple)

    @property
    def serial(self) -> str:
        return f"C02{uuid.uuid5(uuid.NAMESPACE_DNS, self.hostname).hex[:8].upper()}"

    def enroll(self, server: Server, secret: str) -> str:
        """Enrol, and return the node key."""
        details = {
            "os_version": _SYSTEMS[self.platform],
            "osquery_info": {"version": "5.23.0"},
            "system_info": {
                "hostname": self.hostname,
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.hostname)),
                "hardware_serial": self.serial,
            },
        }
        body = {
            "enroll_secret": secret,
            "host_identifier": self.hostname,
            "platform_type": _MASKS[self.platform],
            "host_details": details,
        }
        return str(server.post("enroll", json.dumps(body).encode())["node_key"])


def answers(catalog: Catalog, platform: str, failing: Collection[str], at: int) -> list[dict[str, Any]]:
    """What a device of a platform says at an instant: every judged query's rows, breaking the ``failing`` controls."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for loaded in catalog.judged():
        rule = loaded.control.rule(platform)
        if rule is None or rule.confidence == "draft":
            continue
        wanted = "fail" if loaded.control_id in failing else "pass"
        cases = [case for case in loaded.cases if case.platform == platform and case.status == wanted]
        case = max(cases, key=lambda one: not one.empty)
        for name, given in case.answers(rule).items():
            held = rows.setdefault(name, [])
            held += [row for row in given if row not in held]
    return [
        snapshot_line(scheduled_name(query, catalog.queries[query, platform].version), at, held)
        for query, held in sorted(rows.items())
    ]


def send(server: Server, node_key: str, lines: Sequence[dict[str, Any]], log_type: str = "result") -> None:
    """Log lines as a device does."""
    for start in range(0, len(lines), 200):
        body = {"node_key": node_key, "log_type": log_type, "data": lines[start : start + 200]}
        server.post("log", json.dumps(body).encode())


def query_failed(query: str, version: str, at: int, message: str) -> dict[str, Any]:
    """The status line in which osquery says that a scheduled query failed."""
    return {
        "hostIdentifier": "made-up",
        "calendarTime": "Mon Jan  1 00:00:00 2024 UTC",
        "unixTime": str(at),
        "severity": "1",
        "filename": "scheduler.cpp",
        "line": "120",
        "message": f"Error executing scheduled query {scheduled_name(query, version)}: {message}",
        "version": "5.23.0",
    }
