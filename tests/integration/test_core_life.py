"""How the stand-in for osqueryd begins, what it starts and serves; held against the recorded sessions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from osquery.extension_client import ExtensionClient

from tests.support.core import autoload, running, transcripts
from tests.support.core.running import FAILED, Core, CoreEndedError
from tests.support.recorded import TRANSCRIPTS

LOGGER = {"logger_plugin": "my_logger", "extensions_require": "my_logger_ext"}
HOURLY = {"watch": "manual", "tick": "3600"}


def scripted(plugin: str, **mode: Any) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.core.scripted", json.dumps({"plugin": plugin, **mode}))


def entries_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TRANSCRIPTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "plugin"),
    [("s8q_logger_manual_start_late", "logger_plugin"), ("s9c_config_missing_at_start", "config_plugin")],
)
def test_without_what_it_needs_it_ends_at_once(name: str, plugin: str) -> None:
    recorded = entries_of(name)
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in recorded[0]["note"]["flags"])
    said = next(entry["note"]["stderr_tail"] for entry in recorded if "stderr_tail" in entry.get("note", {}))[-1]
    with running.core({plugin: flags[plugin]}) as core:
        assert core.wait() == FAILED
        assert core.said().rstrip().endswith(said.partition("] ")[2])
        socket = core.socket
    # By hand and too late: it goes without a word, as recorded.
    late = subprocess.run(
        [*scripted("logger"), "--socket", str(socket), "--timeout", "1"],
        cwd=running.ROOT,
        capture_output=True,
        timeout=30,
    )
    assert (late.returncode, late.stdout, late.stderr) == (0, b"", b"")


def test_one_started_by_hand_is_waited_for_and_then_missed() -> None:
    """s8r."""
    with running.core({**LOGGER, **HOURLY, "extensions_timeout": "1.5"}) as core:
        by_hand = subprocess.Popen(
            [*scripted("logger"), "--socket", str(core.socket), "--timeout", "5", "--interval", "1"],
            cwd=running.ROOT,
            stderr=subprocess.PIPE,
        )
        core.await_ready()
        assert [call["request"] for call in core.calls()[:2]] == [{"init": "osqueryd"}, {"action": "features"}]
        assert core.log("up", {"string": "a line"}) == [[0, "OK"]]
        assert core.stop() == 0
        _, words = by_hand.communicate(timeout=10)
        # It is told to go and finds core gone: whichever comes first.
        assert by_hand.returncode in (0, 1), words
        core.start()
        assert core.wait() == FAILED
        assert "Required extension not found or not loaded: my_logger_ext" in core.said()
        assert "Cannot activate my_logger logger plugin: Unknown registry plugin: my_logger" in core.said()


def test_the_config_of_an_extension_is_read_as_recorded() -> None:
    recorded = [entry for entry in entries_of("s9a_config_stock") if entry.get("event") == "call"]
    content = recorded[0]["response"]["response"][0]
    flags = {"config_plugin": "my_config", "extensions_require": "my_config_ext", **HOURLY}
    with running.core(flags, autoload=scripted("config", content=content)) as core:
        core.await_ready()
        assert core.do("config") == {"ok": True}
        calls = [(call["request"], call["response"]["code"]) for call in core.calls("config")]
        assert calls == [(entry["request"], entry["response"]["code"]) for entry in recorded[:4]]
        with client_of(core) as client:
            schedule = client.query("select name, query from osquery_schedule").response
            assert {row["name"]: row["query"] for row in schedule} == {
                "tick": "select 'config call 1' as which",
                "tick2": "select 'from source two' as which",
                "pack_inline_q": "select 1 as in_inline_pack",
            }
        ((line,),) = core.do("run", queries=["tick2"])["lines"].values()
        assert json.loads(line)["decorations"] == {"from_two": "deco"} and json.loads(line)["epoch"] == 3


def test_clients_are_answered_as_recorded() -> None:
    recorded = next(
        entry["note"]["client_calls"] for entry in entries_of("s11_table") if "client_calls" in entry.get("note", {})
    )
    flags = {"extensions_require": "my_table_ext", **HOURLY}
    with running.core(flags, autoload=scripted("table", rows=[{"name": "one"}]), config={"schedule": {}}) as core:
        core.await_ready()
        with client_of(core) as client:
            assert str(client.ping()) == recorded["ping"]
            ((uuid, extension),) = client.extensions().items()
            assert str(extension) in recorded["extensions"] and 0 < uuid < 65536
            assert str(client.getQueryColumns("select uid, username from users")) == recorded["columns"]
            assert str(client.getQueryColumns("select * from nope")) == recorded["bad"]
            assert client.call("config", "filesystem", {"action": "genConfig"}).response == [
                {str(core.directory / "osquery.conf"): '{"schedule": {}}'}
            ]
            assert str(client.call("logger", "filesystem", {"string": "x"})) == recorded["call_logger"]
            assert str(client.call("table", "nope", {"action": "generate"})) == recorded["call_missing"]
            assert client.call("table", "my_table", {"action": "generate"}).response == [{"name": "one"}]
            raised = client.call("table", "my_table", {"action": "generate", "context": '{"raise": 1}'})
            assert (raised.status.code, raised.status.message) == (1, "Extension call failed: Internal error")
            assert client.query("select 'still works' as x").response == [{"x": "still works"}]
        again = subprocess.run(
            [*scripted("table", rows=[]), "--socket", str(core.socket), "--verbose"],
            cwd=running.ROOT,
            capture_output=True,
            timeout=30,
        )
        assert again.returncode == 1 and b"Duplicate extension registered" in again.stderr
        assert core.process is not None and core.process.poll() is None


def test_a_killed_extension_is_back_without_help_after_one_refusal() -> None:
    """s11: the first restart comes before the dead one is noticed."""
    flags = {"extensions_require": "my_table_ext", "extensions_interval": "1", "ping_lag": "0.9", "tick": "3600"}
    with running.core(flags, autoload=scripted("table", rows=[])) as core:
        core.await_ready()
        ((_, first),) = core.do("state")["processes"].items()
        os.kill(first, signal.SIGKILL)
        events: list[str] = []
        while events[-3:].count("registered") == 0:
            core.do("await", extension="my_table_ext", seconds=1)
            events = [entry["event"] for entry in core.entries() if entry["event"] in EVENTS]
            events = events[2:]
        noticed = events.index("deregistered")
        assert events[-1] == "registered" and "registered" not in events[:noticed]
        assert "started" in events[:noticed], "it is started before the dead one is noticed, and refused if it is quick"
        assert "refused" not in events[noticed:]


EVENTS = ("started", "registered", "refused", "deregistered")


def test_the_schedule_writes_lines_in_the_recorded_form() -> None:
    schedule = {
        "up": {"query": "select unix_time from ticks", "interval": 3},
        "bad": {"query": "select * from no_such_table", "interval": 12},
        "snap": {"query": "select name, version from os_version", "interval": 6, "snapshot": True},
    }
    config = {"schedule": schedule, "decorators": {"load": ["select 'made-up' as tag"]}}
    for name, by_event in (("s8b_logger_features_status", "true"), ("s8d_logger_batch_format", "false")):
        tables = {"ticks": {"columns": {"unix_time": "BIGINT"}, "rows": [{"unix_time": 1}]}}
        given = {**LOGGER, **HOURLY, "logger_event_type": by_event}
        with running.core(given, autoload=scripted("logger"), config=config, tables=tables) as core:
            core.await_ready()
            core.do("run", queries=["up", "bad"])
            core.do("status", severity=0, message="made up")
            core.do("table", name="ticks", content=[{"unix_time": 2}])
            core.do("run", queries=["snap", "up"])
            ours = [shape(call["request"]) for call in core.calls("logger")]
        recorded = [
            shape(step.entry["request"]) for step in transcripts.session(name).steps if step.kind in ("call", "status")
        ] + [shape(made(line)) for step in transcripts.session(name).steps for line in step.lines]
        assert set(ours) == set(recorded), name


def made(line: dict[str, str]) -> dict[str, str]:
    return line if "snapshot" in line else {"category": "event", **line}


def shape(request: dict[str, str]) -> str:
    """A call's keys in their order, and those of the JSON in it; values only where they are few."""
    shapes: list[object] = [sorted(request.items()) if "action" in request or "init" in request else sorted(request)]
    for key in ("string", "snapshot", "log"):
        if key in request:
            value = json.loads(request[key])
            one = value[0] if key == "log" else value
            shapes.append([(name, type(inner).__name__) for name, inner in one.items()])
            if key != "log":
                shapes.append(one.get("action"))
    return str(shapes)


S12 = {entry["case"]: entry for entry in entries_of("s12_autoload_permissions")}
WITHOUT_OTHERS = ["owned by another user (nobody), 0755", "directory owned by nobody"]


@pytest.mark.parametrize("case", sorted(set(S12) - (set(WITHOUT_OTHERS) if os.getuid() else set())))
def test_it_autoloads_what_osqueryd_autoloads(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "ext"
    folder.mkdir(mode=0o755)
    name = {"name ends in .py": "table.py", "no suffix": "table", "name .py with --allow_unsafe": "table.py"}
    file = folder / name.get(case, "table.ext")
    first = {
        "no #! line": "",
        "#! names an interpreter that is not there": "#!/nowhere\n",
        "CRLF line ends": "#!/bin/sh\r\n",
    }
    file.write_text(first.get(case, "#!/bin/sh\n") + f"touch {tmp_path}/ran\n", newline="")
    file.chmod(next((mode for said, mode in MODES.items() if said in case), 0o755))
    if "directory " in case:
        folder.chmod(0o1777 if "1777" in case else 0o777 if "0777" in case else 0o755)
    if "nobody" in case:
        os.chown(folder if "directory" in case else file, 65534, -1)
    load = tmp_path / "extensions.load"
    named = folder if "names the directory" in case else file
    if "symlink" in case:
        named = folder / "link.ext"
        named.symlink_to(file)
    load.write_text(f"# a comment\n\n{named}\n" if "comment" in case else f"{named}\n")
    start, said = autoload.autoloaded(load, allow_unsafe="--allow_unsafe" in case)
    ran = False
    for path in start:
        ran = autoload.executable(path) and subprocess.run([path], stdin=subprocess.DEVNULL).returncode == 0
    assert ran is (tmp_path / "ran").exists() is S12[case]["extension_started"]
    refusals = {
        line.partition("] ")[2].partition(":")[0] for line in S12[case]["messages"] if "Will not autoload" in line
    }
    if "names the directory" not in case:  # the recorded folder held another file too
        assert {line.partition(":")[0] for line in said} == refusals


MODES = {"mode 0775": 0o775, "mode 0777": 0o777, "mode 0644": 0o644, "mode 0700": 0o700}


@contextmanager
def client_of(core: Core) -> Iterator[Any]:
    """osquery-python's own client."""
    connection = ExtensionClient(path=str(core.socket))
    assert connection.open()
    try:
        yield connection.extension_manager_client()
    finally:
        connection.close()


def test_a_line_that_nobody_takes_is_told_to_the_test() -> None:
    with running.core({**LOGGER, **HOURLY}, autoload=scripted("logger", fail_from=1, fail_to=2)) as core:
        core.await_ready()
        with pytest.raises(CoreEndedError, match="made-up failure"):
            core.log("up", {"string": "a line"})
        assert core.wait() == FAILED
        assert core.answered() == [] and core.sent() == ["a line"]
