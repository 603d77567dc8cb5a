"""How this device fares: one JSON object, for the command and for machines."""

from __future__ import annotations

import os
from typing import Any

from collector import VERSION
from collector.openness.device import ask_osqueryd
from collector.openness.sources import Sources, heard_at
from collector.spool import SpoolFullError

WORST_FIRST = ("fail", "error", "stale", "no_data", "exempt", "pass", "not_applicable")
LATE_SECONDS = 3600
"""A server that was not reached for so long is worth a word."""
BACKLOG_SECONDS = 86400


def status(sources: Sources) -> dict[str, Any]:
    """Everything ``muster-collector status`` tells. Blocks; raises nothing for what is merely missing."""
    standing, settings = sources.standing, sources.settings
    try:
        key = settings.node_key_path.stat()
        enrolled_at: float | None = key.st_mtime
    except OSError:
        enrolled_at = None
    osqueryd = ask_osqueryd(sources)
    found: dict[str, Any] = {
        "collector": VERSION,
        "running": standing is not None,
        "pid": os.getpid() if standing is not None else None,
        "started_at": standing.started_at if standing is not None else None,
        "server": settings.server,
        "enrolled": enrolled_at is not None,
        "enrolled_at": enrolled_at,
        "enrolment_problem": standing.enrolment_problem if standing is not None else "",
        "heard_at": heard_at(sources),
        "delivery_problem": standing.delivery_problem if standing is not None else "",
        "channel": standing.channel if standing is not None else "",
        **_waiting(sources),
        "osqueryd": {"version": osqueryd.version, "problem": osqueryd.problem},
        "policy": policy_of(sources),
        "config": {"queries": len(sources.listed("config", "queries"))},
        "posture": _posture(sources),
    }
    return found | {"problems": problems(found, sources.clock())}


def policy_of(sources: Sources) -> dict[str, Any]:
    """The device's own policy."""
    policy = sources.policy
    return {
        "file": str(policy.path),
        "there": policy.path.exists(),
        "says": policy.describe(),
        "problem": policy.problem,
        "unknown": policy.unknown(),
    }


def problems(found: dict[str, Any], now: float) -> list[str]:
    """What a person should look at, the most urgent first; empty if all is well."""
    told = []
    if not found["running"]:
        told.append("the collector does not run")
    if found["policy"]["problem"]:
        told.append("the device's own policy cannot be used, so that nothing is answered")
    if not found["enrolled"]:
        told.append("the server does not know this device yet")
    elif found["running"] and (found["heard_at"] is None or now - found["heard_at"] > LATE_SECONDS):
        told.append("the server was not reached for a while")
    if found["osqueryd"]["problem"]:
        told.append("osqueryd does not answer")
    waiting = found["waiting"]
    if waiting["problem"]:
        told.append("what waits for the server cannot be read")
    elif waiting["oldest_at"] is not None and now - waiting["oldest_at"] > BACKLOG_SECONDS:
        told.append("answers have been waiting for the server for more than a day")
    told += [f"'{entry}' in the policy fits nothing that osquery has" for entry in found["policy"]["unknown"]]
    bad = [one for one in found["posture"]["verdicts"] if one["status"] in ("fail", "error", "stale")]
    if bad:
        told.append(f"{len(bad)} control{'s need' if len(bad) > 1 else ' needs'} attention")
    return told


def _waiting(sources: Sources) -> dict[str, Any]:
    try:
        stats = sources.spool.stats()
    except (SpoolFullError, OSError) as error:
        nothing = {"lines": 0, "bytes": 0, "oldest_at": None, "answers": 0, "problem": str(error)}
        return {"waiting": nothing, "lost": {"lines": 0, "since": None, "reasons": {}}}
    live = stats.lanes.get("live")
    return {
        "waiting": {
            "lines": stats.lines,
            "bytes": stats.bytes,
            "oldest_at": stats.oldest_at,
            "answers": live.lines if live else 0,
            "problem": "",
        },
        "lost": {
            "lines": stats.dropped.lines,
            "since": stats.dropped.since,
            "reasons": dict(stats.dropped.reasons),
        },
    }


def _posture(sources: Sources) -> dict[str, Any]:
    """This device's verdicts, the worst first, as the server last told them."""
    note = sources.note("posture")
    day = note.get("day") if isinstance(note, dict) else None
    verdicts = [
        {key: _text(one.get(key)) for key in ("control", "title", "status", "since_day", "reason", "mend")}
        for one in sources.listed("posture", "verdicts")
    ]
    rank = {status: number for number, status in enumerate(WORST_FIRST)}
    verdicts.sort(key=lambda one: (rank.get(one["status"], 3), one["since_day"] or "9999", one["title"]))
    return {"day": _text(day), "verdicts": verdicts}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
