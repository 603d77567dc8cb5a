"""``status`` in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from collector.openness.words import ago, count, day_of, days_since, heading, moment, paragraph, printable, size

ATTENTION = {
    "fail": "FAILS",
    "error": "CANNOT BE TOLD",
    "stale": "NOT LOOKED AT LATELY",
    "no_data": "NEVER ANSWERED",
}
QUIET = {"exempt": "exempt", "pass": "fine", "not_applicable": "not for this device"}
CHANNELS = {
    "connected": "the connection is open, so that live questions are answered at once",
    "polling": "the server is asked for live questions from time to time, since no lasting connection gets through",
    "": "not connected for live questions just now",
}
LABEL = 14


def status_text(found: Mapping[str, Any], now: float) -> str:
    """The whole answer."""
    lines = [*_facts(found, now), "", *_posture(found, now)]
    if found["problems"]:
        lines += ["", heading("To look at")]
        lines += [paragraph(problem, "    ", "  - ") for problem in found["problems"]]
    return "\n".join(lines)


def _facts(found: Mapping[str, Any], now: float) -> Iterator[str]:
    yield from _fact("Collector", f"{found['collector']}, {_running(found)}")
    yield from _fact("Server", _server(found, now))
    yield from _fact("Known there", _enrolled(found))
    if found["running"] and found["enrolled"]:
        yield from _fact("Connection", CHANNELS.get(found["channel"], found["channel"]))
    yield from _fact("Waiting", _waiting(found, now))
    lost = found["lost"]
    if lost["lines"]:
        reasons = ", ".join(f"{number:,} {_reason(reason)}" for reason, number in sorted(lost["reasons"].items()))
        yield from _fact("Lost", f"{count(lost['lines'], 'answer')} since {moment(lost['since'])}: {reasons}")
    else:
        yield from _fact("Lost", "nothing")
    osqueryd = found["osqueryd"]
    yield from _fact(
        "osqueryd",
        f"does not answer: {osqueryd['problem']}" if osqueryd["problem"] else f"{osqueryd['version']}, answers",
    )
    yield from _fact("Own policy", policy_line(found["policy"]))


def policy_line(policy: Mapping[str, Any]) -> str:
    """The device's own policy in one line."""
    if policy["problem"]:
        return str(policy["problem"])
    if not policy["there"]:
        return f"none; to deny something, write {policy['file']}"
    return f"{policy['says'] or 'denies nothing'} ({policy['file']})"


def _fact(label: str, text: str) -> Iterator[str]:
    yield paragraph(text, " " * LABEL, f"{label:<{LABEL}}")


def _running(found: Mapping[str, Any]) -> str:
    if not found["running"]:
        return "DOES NOT RUN; what follows is what it knew when it last did"
    return f"runs since {moment(found['started_at'])}"


def _server(found: Mapping[str, Any], now: float) -> str:
    server = found["server"] or "none is set"
    reached = "never reached yet" if found["heard_at"] is None else f"last reached {ago(now, found['heard_at'])}"
    problem = found["enrolment_problem"] or found["delivery_problem"]
    return f"{server}, {reached}{f'; {problem}' if problem else ''}"


def _enrolled(found: Mapping[str, Any]) -> str:
    return f"since {moment(found['enrolled_at'])}" if found["enrolled"] else "no"


def _waiting(found: Mapping[str, Any], now: float) -> str:
    waiting = found["waiting"]
    if waiting["problem"]:
        return f"cannot be read: {waiting['problem']}"
    if not waiting["lines"]:
        return "nothing"
    oldest = f", the oldest from {ago(now, waiting['oldest_at'])}" if waiting["oldest_at"] is not None else ""
    return f"{count(waiting['lines'], 'answer')} ({size(waiting['bytes'])}){oldest}"


def _reason(reason: str) -> str:
    return {
        "full": "for want of room",
        "corrupt": "with a damaged file",
        "too_large": "too large",
        "unwritable": "while the disk could not be written",
    }.get(reason, printable(reason))


def _posture(found: Mapping[str, Any], now: float) -> Iterator[str]:
    yield heading("How this device fares")
    posture = found["posture"]
    verdicts = posture["verdicts"]
    if not verdicts:
        yield "The server has not said yet."
        return
    heard = found["heard_at"]
    yield paragraph(
        f"As the server judged it on {day_of(posture['day'])}"
        + (f"; heard from it {ago(now, heard)}." if heard is not None else "; since then it was not heard from.")
    )
    counts = {status: sum(one["status"] == status for one in verdicts) for status in (*ATTENTION, *QUIET)}
    said = [f"{counts[status]} {words.lower()}" for status, words in {**ATTENTION, **QUIET}.items() if counts[status]]
    yield paragraph(f"Of {count(len(verdicts), 'control')}: {', '.join(said).replace('fails', 'failing')}.")
    for one in verdicts:
        if one["status"] in ATTENTION:
            yield ""
            yield from _verdict(one, posture["day"])


def _verdict(one: Mapping[str, str], day: str) -> Iterator[str]:
    yield paragraph(f"{ATTENTION[one['status']]}{_since(one, day)}: {one['title'] or one['control']}", "      ", "  ")
    if one["reason"]:
        yield paragraph(one["reason"], " " * 12, "      Why:  ")
    if one["mend"]:
        yield paragraph(one["mend"], " " * 12, "      Mend: ")


def _since(one: Mapping[str, str], day: str) -> str:
    if not one["since_day"]:
        return ""
    days = days_since(day, one["since_day"])
    nth = "" if days is None or days < 1 else f" ({'first day' if days == 1 else count(days, 'day')})"
    return f" since {day_of(one['since_day'])}{nth}"
