"""Lines that the collector makes itself, as osquery writes its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collector.spool import Line

FILE = "collector.evidence"


@dataclass(frozen=True, slots=True)
class Machine:
    """What osqueryd says of the device and of itself."""

    host: str = ""
    uuid: str = ""
    serial: str = ""
    version: str = ""
    process: str = ""
    """Which process osqueryd is: another one after it, or the worker that its watchdog minds, was started again."""
    since: int = 0
    """Unix time at which it began."""


MACHINE = (
    "SELECT s.hostname, s.uuid, s.hardware_serial, i.version, i.pid, i.start_time"
    " FROM osquery_info AS i LEFT JOIN system_info AS s"
)


def machine_of(rows: Sequence[Mapping[str, str]]) -> Machine:
    """Read the row of ``MACHINE``."""
    row = rows[0] if rows else {}
    return Machine(
        host=row.get("hostname", ""),
        uuid=row.get("uuid", ""),
        serial=row.get("hardware_serial", ""),
        version=row.get("version", ""),
        process=f"{row.get('pid', '')} {row.get('start_time', '')}",
        since=int(row["start_time"]) if row.get("start_time", "").isdecimal() else 0,
    )


def snapshot(machine: Machine, name: str, at: int, rows: Sequence[Mapping[str, str]]) -> Line:
    """A query's rows at an instant: the whole truth, also where there are none."""
    said: dict[str, object] = {"snapshot": rows, "action": "snapshot", "name": name}
    said |= _origin(machine, at) | {"epoch": 0, "counter": 0, "numerics": False, "decorations": _decorations(machine)}
    return Line("snapshot", name, at, _json(said))


def failure(machine: Machine, name: str, at: int, reason: str) -> Line:
    """What osquery says of a scheduled query that failed, which the server takes for an error of that query."""
    said = _origin(machine, at) | {
        "severity": 2,
        "filename": FILE,
        "line": 0,
        "message": f"Error executing scheduled query {name}: {reason}",
        "version": machine.version,
        "decorations": _decorations(machine),
    }
    return Line("status", "", at, _json(said))


def _origin(machine: Machine, at: int) -> dict[str, object]:
    return {
        "hostIdentifier": machine.host,
        "calendarTime": f"{time.asctime(time.gmtime(at))} UTC",
        "unixTime": at,
    }


def _decorations(machine: Machine) -> dict[str, str]:
    return {"muster_uuid": machine.uuid, "muster_serial": machine.serial}


def _json(said: Mapping[str, object]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
