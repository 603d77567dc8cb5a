"""The stand-in for osqueryd ends where osqueryd ended, and calls as it called: the recorded sessions gone through."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.core import running, transcripts
from tests.support.core.running import FAILED, Core, CoreEndedError
from tests.support.core.transcripts import Session, Step
from tests.support.recorded import TRANSCRIPTS

LOGGERS = sorted(path.stem for path in TRANSCRIPTS.glob("s8*.jsonl") if path.stem[:3] not in ("s8q", "s8r", "s8x"))
"""s8q and s8r begin without an extension; s8x had one of its own making, and is gone through with the collector."""
FASTER = 0.05
KEPT = ("logger_plugin", "extensions_require", "thrift_timeout", "disable_watchdog", "verbose")
THE_LONGEST_SNAPSHOT = 16_384_000


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_that_answers_as_recorded_ends_core_as_recorded(name: str) -> None:
    session = transcripts.session(name)
    with core_of(session) as core:
        with suppress(CoreEndedError):
            for step in session.steps:
                go(core, session, step)
            log_what_was_not_recorded(core, session)
        assert (core.wait() if session.exit == FAILED else core.stop()) == session.exit, core.said()
        assert session.error == "" or session.exit == FAILED
        said = [line.partition("] ")[2] for line in core.said().splitlines() if "Error logging" in line]
        assert list(map(without_path, said)) == ([without_path(session.error)] if session.error else [])
        assert called(core) == recorded_calls(session)


@contextmanager
def core_of(session: Session) -> Iterator[Core]:
    flags = {name: session.flags[name] or "true" for name in KEPT if name in session.flags}
    flags.setdefault("disable_watchdog", "false")
    mode: dict[str, Any] = {"plugin": "logger", **(session.mode or {"stock": True})}
    if "thrift_timeout" in flags:  # a second of the recording is a quarter here, and its end no tie
        flags["thrift_timeout"], mode["sleep"] = "1", 2.6
    elif "sleep" in mode:
        mode["sleep"] *= FASTER
    config: dict[str, Any] = {"schedule": {}}
    command = (sys.executable, "-m", "tests.support.core.scripted", json.dumps(mode))
    flags |= {"watch": "manual", "tick": "3600", "extensions_timeout": "10"}
    with running.core(flags, autoload=command, config=config) as core:
        core.await_ready()
        yield core


def go(core: Core, session: Session, step: Step) -> None:
    if step.kind == "start":
        if not core.do("state")["processes"]:
            core.do("ping")
            core.do("restart")
            core.await_extension("my_logger_ext")
        it_was_started_as_recorded(core, step.entry)
    elif step.kind == "kill":
        for pid in core.do("state")["processes"].values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: core.do("state")["processes"] == {})
    elif step.kind == "duplicate":
        core.do("restart")
        wait_until(lambda: core.entries()[-1]["event"] == "refused")
        core.do("ping")
    elif step.kind == "core-kill":
        ((_, pid),) = core.do("state")["processes"].items()
        core.kill()
        wait_until(lambda: not alive(pid), seconds=10)
        core.start()
        core.await_ready()
    elif step.kind == "status" and step.entry["request"] not in first_statuses(session):
        recorded = step.entry["response"]
        answers = core.do("status", text=step.entry["request"]["log"])["answers"]
        assert answers == [[recorded["code"], recorded["message"]]]
    elif step.kind == "lines":
        slow = "thrift_timeout" in session.flags and bool(step.entry.get("took_ms"))
        pinging = threading.Thread(target=ping, args=(core,))
        if slow:
            pinging.start()
        try:
            answers = core.log(step.query, *step.lines)
        finally:
            if slow:
                pinging.join()
        assert [tuple(answer) for answer in answers] == list(step.answers)


def ping(core: Core) -> None:
    """While a line is under way."""
    wait_until(lambda: core.entries()[-1]["event"] == "sending")
    with suppress(CoreEndedError):
        core.do("ping")


def log_what_was_not_recorded(core: Core, session: Session) -> None:
    """The line at which the extension was gone, or that it could not read, is in no recording of the extension."""
    if session.exit != FAILED:
        return
    query = session.error.removeprefix("Error logging the results of query: ").partition(":")[0]
    if query == "files_snap":
        line = {
            "snapshot": '{"snapshot":[{"filename":"bad-\udcff\udcfe.txt"}],"action":"snapshot","name":"files_snap"}'
        }
    elif "mb" in query:
        line = {"snapshot": transcripts.big_snapshot(query, THE_LONGEST_SNAPSHOT + 1)}
    else:
        line = next(step.lines[-1] for step in reversed(session.steps) if step.query == query)
    core.log(query, line)


def first_statuses(session: Session) -> list[dict[str, str]]:
    """The statuses that core sends by itself when it has asked for the features, at each start."""
    found, after_features = [], False
    for step in session.steps:
        if step.kind == "status" and after_features:
            found.append(step.entry["request"])
        after_features = step.kind == "call" and step.entry["request"] == {"action": "features"}
    return found


def called(core: Core) -> list[Any]:
    """The calls of the journal in a form that can be held against a recording: texts that core made are shapes."""
    return [form(call["registry"], call["item"], call["request"]) for call in core.calls() if call["answered"]]


def recorded_calls(session: Session) -> list[Any]:
    calls: list[Any] = []
    for step in session.steps:
        if step.kind in ("call", "status"):
            calls.append(form("logger", "my_logger", step.entry["request"]))
        elif step.kind == "lines":
            for line, (_, message) in zip(step.lines, step.answers, strict=True):
                ((kind, text),) = line.items()
                slow = "thrift_timeout" in session.flags and bool(step.entry.get("took_ms"))
                if message.startswith("Extension call failed") or slow:
                    continue
                request = {"snapshot": text} if kind == "snapshot" else {"category": "event", "string": text}
                calls.append(form("logger", "my_logger", request))
    return calls


def form(registry: str, item: str, request: Mapping[str, str]) -> Any:
    """A call without what differs from run to run."""
    made = dict(request)
    if "log" in made:
        made["log"] = str(sorted({tuple(status) for status in json.loads(made["log"])}))
    if len(made.get("snapshot", "")) > 9000 or "<CUT" in made.get("snapshot", ""):
        made["snapshot"] = "long"
    return registry, item, made


def it_was_started_as_recorded(core: Core, recorded: Mapping[str, Any]) -> None:
    ((_, pid),) = core.do("state")["processes"].items()
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    expected = [str(core.socket) if part.endswith("/osq.em") else part for part in recorded["argv"][1:]]
    assert arguments[-len(expected) :] == expected
    environment = dict(
        part.split("=", 1) for part in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if part
    )
    theirs = {name: value for name, value in environment.items() if name.startswith("OSQUERY_")}
    assert theirs == {**recorded["env_osquery"], "OSQUERY_EXTENSION": str(pid)}
    assert os.readlink(f"/proc/{pid}/fd/0") == recorded["stdin_is"]
    assert Path(os.readlink(f"/proc/{pid}/fd/1")).name == "stderr"


def without_path(message: str) -> str:
    return re.sub(r"\S*osq\.em\.\d+", "osq.em.UUID", message)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)
