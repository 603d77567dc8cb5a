"""What a question cost the device.

Exact is ``wall_time_ms``: how long its asker waited for osqueryd, the way over the socket included. The rest is the
difference of osqueryd's own row in ``processes`` after and before: ``user_time`` and ``system_time`` (milliseconds of
CPU, in the steps of the system's clock, 10 ms on Linux) hold whatever osqueryd did meanwhile, its schedule too; so they
are never too low by more than a step, and too high where the schedule was at work. ``memory`` (bytes) is by how much
osqueryd was larger afterwards: 0 where it gave back what it took or had room already, so never more than a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.osqueryd import Osquery

SELF = (
    "SELECT i.pid, i.start_time, p.user_time, p.system_time, p.resident_size"
    " FROM osquery_info AS i LEFT JOIN processes AS p ON p.pid = i.pid"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """osqueryd's process at one moment."""

    process: str
    """Which process it is; another one after osqueryd, or the worker that its watchdog minds, was started again."""
    user_time: int = 0
    system_time: int = 0
    memory: int = 0


def read(connection: Osquery) -> Reading:
    """Look at osqueryd's process. Raises ``OsqueryGoneError``."""
    found = connection.query(SELF).rows
    row = found[0] if found else {}
    return Reading(
        f"{row.get('pid', '')} {row.get('start_time', '')}",
        _number(row.get("user_time")),
        _number(row.get("system_time")),
        _number(row.get("resident_size")),
    )


def between(before: Reading, after: Reading | None, seconds: float) -> dict[str, int]:
    """The cost as it goes to the server; of ``after`` unknown only the time waited."""
    cost = {"wall_time_ms": round(seconds * 1000)}
    if after is not None and after.process == before.process:
        cost["user_time"] = max(0, after.user_time - before.user_time)
        cost["system_time"] = max(0, after.system_time - before.system_time)
        cost["memory"] = max(0, after.memory - before.memory)
    return cost


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
