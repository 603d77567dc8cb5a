"""The recorded sessions of osqueryd with extensions, as steps that can be gone through again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.recorded import TRANSCRIPTS

Entry = dict[str, Any]
KILLED = re.compile("(SIGKILL|kill) the extension|extension killed")
PAIRED = "up"
"""The recorded query whose every run but the first has a removed and an added line."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happened: start, duplicate, kill, core-kill, status, lines, call."""

    kind: str
    entry: Entry
    query: str = ""
    lines: tuple[dict[str, str], ...] = ()
    answers: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Session:
    """One recorded session."""

    name: str
    flags: dict[str, str]
    mode: Entry
    by_hand: bool
    """The extension was not autoloaded."""
    steps: tuple[Step, ...]
    exit: int
    error: str
    """What core said at its end of lines that were not taken; empty if they were."""


def session(name: str) -> Session:
    lines = (TRANSCRIPTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    notes = [entry["note"] for entry in entries if "note" in entry]
    first, last = notes[0], next(note for note in reversed(notes) if "osqueryd_exit" in note)
    errors = [line for line in last["stderr_tail"] if "Error logging" in line]
    starts = [entry for entry in entries if entry.get("event") == "start"]
    steps = list(_steps(entries))
    # An extension that was refused as a duplicate is one step, not its start as well.
    refused = {at - 1 for at, step in enumerate(steps) if step.kind == "duplicate"}
    return Session(
        name,
        dict(flag.removeprefix("--").partition("=")[::2] for flag in first["flags"]),
        first["mode"] or {},
        not starts or not starts[0]["env_osquery"],
        tuple(step for at, step in enumerate(steps) if at not in refused),
        last["osqueryd_exit"],
        errors[-1].partition("] ")[2] if errors else "",
    )


def _steps(entries: list[Entry]) -> Iterator[Step]:
    run: list[Entry] = []
    for entry in entries:
        if run and _run_of(entry) != _run_of(run[0]):
            yield _lines(run)
            run = []
        if _line_of(entry)[0]:
            run.append(entry)
        elif kind := _kind(entry):
            yield Step(kind, entry)
    if run:
        yield _lines(run)


def _kind(entry: Entry) -> str:
    event = entry.get("event", "")
    if event == "call" and "request" in entry:
        return "status" if "status" in entry["request"] else "call"
    if event == "start_extension raised":
        return "duplicate"
    step = str(entry.get("note", {}).get("step", ""))
    if step == "SIGKILL osqueryd":
        return "core-kill"
    return "kill" if KILLED.search(step) else event if event == "start" else ""


def _line_of(entry: Entry) -> tuple[str, str]:
    """The kind and text of a line that was logged; of one that the recorder cut, another of its length."""
    if entry.get("registry") != "logger":
        return ("", "")
    if "cut" in entry:
        return ("snapshot", big_snapshot("big", int(entry["cut"].split()[0])))
    for kind in ("string", "snapshot"):
        if kind in entry.get("request", {}):
            return (kind, entry["request"][kind])
    return ("", "")


def big_snapshot(name: str, size: int) -> str:
    """A snapshot line of about this many bytes, of which most are one value."""
    return json.dumps({"snapshot": [{"text": "x" * size}], "action": "snapshot", "name": name}, separators=(",", ":"))


def query_of(text: str) -> str:
    """The query of a line, which is not always JSON."""
    found = re.search(r'"name":"(\w+)","hostIdentifier"', text) or re.search(r'"name":"(\w+)"}$', text)
    assert found, text[:300]
    return found.group(1)


def _run_of(entry: Entry) -> tuple[str, ...]:
    kind, text = _line_of(entry)
    if not kind:
        return ()
    return (kind, query_of(text), *re.findall(r'"(?:unixTime|counter)":(\d+)', text[-1000:]))


def _lines(run: list[Entry]) -> Step:
    kind, text = _line_of(run[0])
    lines = [{kind: text} for kind, text in map(_line_of, run)]
    answers = [_answer(entry) for entry in run]
    query = query_of(text)
    if query == PAIRED and len(lines) == 1 and "diffResults" not in text and '"counter":0,' not in text:
        # Of a line for which the extension returned None nothing was written down.
        other = ("removed", "added") if '"action":"added"' in text else ("added", "removed")
        made = {kind: text.replace(f'"action":"{other[1]}"', f'"action":"{other[0]}"')}
        at = 0 if other[0] == "removed" else 1
        lines.insert(at, made)
        answers.insert(at, (1, "Extension call failed: Internal error"))
    return Step("lines", run[0], query, tuple(lines), tuple(answers))


def _answer(entry: Entry) -> tuple[int, str]:
    if "response" not in entry:
        raised = entry["event"] == "call-raised"
        return (1, "Extension call failed: Internal error") if raised else (0, "OK")
    return (entry["response"]["code"], entry["response"]["message"])
