"""The extension process, started by a core or attached to one, through the deaths of either."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.spool import Line, Spool
from tests.support.core.running import COLLECTOR, ROOT, Core, core

BUDGET = 268_435_456
CONFIG = {"schedule": {"one": {"query": "SELECT 1 AS a", "interval": 3600, "snapshot": True}}}


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="state-", dir="/tmp") as path:
        yield Path(path)


@contextmanager
def autoloading(state: Path, **flags: Any) -> Iterator[Core]:
    """A core that starts the extension and logs to it."""
    with core(
        autoload=COLLECTOR,
        environment={"MUSTER_COLLECTOR_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)},
        **{"extensions_require": "muster", "logger_plugin": "muster", "extensions_interval": "1", **flags},
    ) as one:
        one.await_ready()
        yield one


@contextmanager
def started(state: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the collector, ended by SIGTERM."""
    environment = {**os.environ, "MUSTER_COLLECTOR_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}
    with (state / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "collector.main", *arguments], env=environment, cwd=ROOT, stderr=said
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(15)


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.02)
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def keeper_of(one: Core) -> int:
    """The process that the core started last."""
    return int([entry for entry in one.entries() if entry["event"] == "started"][-1]["pid"])


def worker_of(keeper: int, *others: int) -> int:
    """The process that does the work, once it is another one than those."""
    return int(until(lambda: [pid for pid in children(keeper) if pid not in others])[0])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_ended(pid: int) -> None:
    until(lambda: not runs(pid))


def spooled(state: Path, kind: str) -> list[Line]:
    """The lines in the spool, looked at without taking them."""
    with closing(sqlite3.connect(state / "spool.db")) as connection:
        rows = connection.execute("SELECT kind, name, at, text FROM lines WHERE kind = ? ORDER BY seq", (kind,))
        return [Line(*row) for row in rows]


def line(number: int) -> dict[str, str]:
    text = {
        "name": "q",
        "hostIdentifier": "h",
        "unixTime": 1_795_541_571 + number,
        "counter": number,
        "action": "added",
    }
    return {"string": json.dumps(text)}


def config_of(one: Core) -> list[str]:
    return list(one.do("state")["schedule"])


def test_what_is_answered_is_in_the_spool(state: Path) -> None:
    with autoloading(state) as one:
        assert one.log("q", line(1), line(2)) == [[0, "OK"], [0, "OK"]]
        until(lambda: one.do("status", severity=1, message="later")["answers"] and b"version" in _statuses(state))
        assert [kept.text.decode() for kept in spooled(state, "result")] == one.answered()
        assert one.stop() == 0
        assert list(one.directory.glob("osq.em*")) == []


def _statuses(state: Path) -> bytes:
    return b"".join(kept.text for kept in spooled(state, "status"))


def test_killing_the_working_process_costs_nothing(state: Path) -> None:
    with autoloading(state) as one:
        keeper = keeper_of(one)
        worker = worker_of(keeper)
        for number in range(3):
            os.kill(worker, signal.SIGKILL)
            until_ended(worker)
            # Nobody answers now; the call waits for the next process.
            assert one.log("q", line(number)) == [[0, "OK"]]
            worker = worker_of(keeper, worker)
        assert keeper_of(one) == keeper
        assert [kept.text.decode() for kept in spooled(state, "result")] == one.answered()
        assert len(one.do("state")["extensions"]) == 1


def test_killing_the_process_that_the_core_started_costs_nothing(state: Path) -> None:
    with autoloading(state) as one:
        keeper = keeper_of(one)
        worker = worker_of(keeper)
        os.kill(keeper, signal.SIGKILL)
        for number in range(5):
            assert one.log("q", line(number)) == [[0, "OK"]]
        until(lambda: keeper_of(one) != keeper)
        until_ended(worker)  # relieved by the next one
        assert one.log("q", line(6)) == [[0, "OK"]]
        assert len(one.do("state")["extensions"]) == 1
        assert [kept.text.decode() for kept in spooled(state, "result")] == one.answered()
        worker = worker_of(keeper_of(one))
        assert one.stop() == 0
        until_ended(worker)


def test_killing_both_ends_in_a_working_extension_again(state: Path) -> None:
    # A core that logs meanwhile ends; this one is quiet.
    with autoloading(state) as one:
        keeper = keeper_of(one)
        worker = worker_of(keeper)
        for pid in (keeper, worker):
            os.kill(pid, signal.SIGKILL)
        until(lambda: keeper_of(one) != keeper)
        worker = worker_of(keeper_of(one))
        until(lambda: one.do("call", registry="logger", item="muster", request={"init": "x"})["code"] == 0)
        assert one.log("q", line(1)) == [[0, "OK"]]


def test_an_attached_extension_comes_back_to_the_next_core_by_itself(state: Path) -> None:
    flags: dict[str, Any] = {"extensions_require": "muster", "logger_plugin": "muster", "extensions_interval": "1"}
    with core(**flags) as one, started(state, "extension", "--socket", str(one.socket), "--interval", "1") as extension:
        one.await_ready()
        assert one.log("q", line(1)) == [[0, "OK"]]
        for end in (one.kill, one.stop):
            end()
            one.start()
            one.await_ready()
            assert one.log("q", line(2)) == [[0, "OK"]]
        assert extension.poll() is None
        extension.terminate()
        assert extension.wait(15) == 0
        assert [path.name for path in one.directory.glob("osq.em.*")] == []
        assert len(spooled(state, "result")) == 3


def test_the_core_gets_the_config_and_what_changes_of_it(state: Path) -> None:
    spool = Spool(state / "spool.db", BUDGET)
    spool.keep("config", json.dumps({"type": "config", "config": json.dumps(CONFIG)}).encode())
    with autoloading(state, config_plugin="muster") as one:
        assert config_of(one) == ["one"]
        changed = {"schedule": {**CONFIG["schedule"], "two": {"query": "SELECT 2 AS b", "interval": 3600}}}
        spool.keep("config", json.dumps({"type": "config", "config": json.dumps(changed)}).encode())
        until(lambda: config_of(one) == ["one", "two"])
    spool.close()


def test_a_core_without_a_config_gets_the_first_one_when_it_is_there(state: Path) -> None:
    with autoloading(state, config_plugin="muster") as one:
        assert config_of(one) == []
        spool = Spool(state / "spool.db", BUDGET)
        spool.keep("config", json.dumps({"type": "config", "config": json.dumps(CONFIG)}).encode())
        spool.close()
        until(lambda: config_of(one) == ["one"])
        assert one.do("run", queries=["one"])["lines"]["one"]
        assert [kept.name for kept in spooled(state, "snapshot")] == ["one"]


def test_a_second_extension_waits_for_the_first_to_end_and_does_not_trouble_the_core(state: Path) -> None:
    with autoloading(state) as one, started(state, "extension", "--socket", str(one.socket), "--interval", "1"):
        listed = one.do("state")["extensions"]
        until(lambda: "another process is attached" in (state / "said").read_text())
        assert one.do("state")["extensions"] == listed
        assert "duplicate" not in one.said().lower()
        for pid in (keeper_of(one), worker_of(keeper_of(one))):
            os.kill(pid, signal.SIGKILL)
        until(lambda: one.do("call", registry="logger", item="muster", request={"init": "x"})["code"] == 0)
        assert one.log("q", line(1)) == [[0, "OK"]]


def test_the_supervisor_runs_both_and_ends_both(state: Path) -> None:
    flags: dict[str, Any] = {"extensions_require": "muster", "logger_plugin": "muster", "extensions_interval": "1"}
    with core(**flags) as one:
        settings = state / "collector.toml"
        settings.write_text(f'server = "http://127.0.0.1:9"\nstate_dir = "{state}"\nsocket = "{one.socket}"\n')
        with started(state, "run", "--config", str(settings)) as supervisor:
            one.await_ready()
            until(lambda: len(children(supervisor.pid)) == 2)
            running = children(supervisor.pid)
            assert one.log("q", line(1)) == [[0, "OK"]]
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            assert one.log("q", line(2)) == [[0, "OK"]]
            until(lambda: len(set(children(supervisor.pid)) - set(running)) == 2)
            running = children(supervisor.pid)
            began = time.monotonic()
            supervisor.terminate()
            assert supervisor.wait(15) == 0
            assert time.monotonic() - began < 10
            assert not any(runs(pid) for pid in running)
        assert len(spooled(state, "result")) == 2


def test_what_the_device_refuses_never_reaches_the_core_and_is_said(state: Path) -> None:
    policy = state / "policy.toml"
    policy.write_text('deny_tables = ["users"]\n')
    policy.chmod(0o644)
    schedule = {**CONFIG["schedule"], "who": {"query": "SELECT username FROM users", "interval": 3600}}
    spool = Spool(state / "spool.db", BUDGET)
    spool.keep("config", json.dumps({"type": "config", "config": json.dumps({"schedule": schedule})}).encode())
    spool.close()
    environment = {"MUSTER_COLLECTOR_STATE_DIR": str(state), "MUSTER_COLLECTOR_POLICY_FILE": str(policy)}
    flags: dict[str, Any] = {"extensions_require": "muster", "logger_plugin": "muster", "config_plugin": "muster"}
    tables = {"users": {"columns": {"username": "TEXT"}, "rows": [{"username": "a"}]}}
    with core(autoload=COLLECTOR, environment=environment, tables=tables, **flags) as one:
        one.await_ready()
        # At first it is not known which tables there are, and nothing may run; then all that reads no denied table.
        until(lambda: config_of(one) == ["one"])
        until(lambda: b"scheduled query who: refused by the device's policy" in _statuses(state))
