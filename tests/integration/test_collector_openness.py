"""The owner's commands, as real processes: the stand-in for osqueryd, the uplink, and a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.policy.ledger import Ledger
from collector.spool import Line, Spool
from tests.support.core.running import ROOT, Core, core
from tests.support.server import Server, ask

CONFIG = {
    "type": "config",
    "hash": "1",
    "config": "{}",
    "queries": [
        {
            "name": "users@0123456789",
            "query": "users",
            "description": "Accounts the operating system lists.",
            "sql": "SELECT uid, username FROM users;",
            "interval": 3600,
            "columns": [
                {"name": "uid", "description": "users.uid"},
                {"name": "username", "description": "users.username"},
            ],
            "mode": "state",
            "judged": True,
            "controls": [{"id": "accounts/no-guest", "title": "Nobody can log in as a guest"}],
            "discovery": [],
        },
        {
            "name": "homes@0123456789",
            "query": "homes",
            "description": "Where accounts live.",
            "sql": "SELECT directory FROM users;",
            "interval": 60,
            "columns": [{"name": "directory", "description": "users.directory; kept as a digest"}],
            "mode": "state",
            "judged": False,
            "controls": [],
            "discovery": [],
        },
    ],
}
POSTURE = {
    "type": "posture",
    "hash": "2",
    "day": "2026-11-24",
    "verdicts": [
        {"control": "b", "title": "The disk is encrypted", "status": "pass", "since_day": "2026-11-01", "reason": "",
         "mend": ""},
        {"control": "a", "title": "Nobody can log in as a guest", "status": "fail", "since_day": "2026-11-20",
         "reason": "1 row breaks the rule", "mend": "Remove the account guest."},
    ],
}  # fmt: skip


class Device:
    """A device with the stand-in on it, and the collector's commands."""

    def __init__(self, directory: Path, osqueryd: Core, server: str, secret: str) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.policy = directory / "policy.toml"
        (directory / "secret").write_text(secret)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")},
            "MUSTER_COLLECTOR_SERVER": server,
            "MUSTER_COLLECTOR_STATE_DIR": str(self.state),
            "MUSTER_COLLECTOR_SOCKET": str(osqueryd.socket),
            "MUSTER_COLLECTOR_POLICY_FILE": str(self.policy),
            "MUSTER_COLLECTOR_CONTROL_SOCKET": str(directory / "control.sock"),
            "MUSTER_COLLECTOR_ENROLL_SECRET_PATH": str(directory / "secret"),
        }
        self.spool = Spool(self.state / "spool.db", 1 << 28)

    @contextmanager
    def uplink(self) -> Iterator[subprocess.Popen[bytes]]:
        """The uplink, running and listening on its control socket."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "collector.main", "uplink"], cwd=ROOT, env=self.environment, stderr=log
            )
        try:
            until = time.monotonic() + 20
            while not (self.directory / "control.sock").exists():
                assert process.poll() is None and time.monotonic() < until, self.said()
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the owner's."""
        return subprocess.run(
            [sys.executable, "-m", "collector.main", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def asked(self, *arguments: str) -> dict[str, Any]:
        """Its answer as an object."""
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return found

    def said(self) -> str:
        return (self.directory / "log").read_text()


@pytest.fixture
def device(running: tuple[Server, dict[str, str]], own_name: str) -> Iterator[Device]:
    directory = Path(tempfile.mkdtemp(prefix="own-", dir="/tmp"))  # a socket's path has 107 bytes
    system = {"hostname": own_name, "uuid": f"uuid {own_name}"}
    with core(tables={"system_info": [system]}) as osqueryd:
        made = Device(directory, osqueryd, f"http://127.0.0.1:{running[0].port}", running[1]["enroll_secret"])
        try:
            yield made
        finally:
            made.spool.close()
            shutil.rmtree(directory, ignore_errors=True)


def snapshot(name: str, at: int, rows: list[dict[str, str]]) -> Line:
    line: dict[str, Any] = {
        "snapshot": rows,
        "action": "snapshot",
        "name": name,
        "hostIdentifier": "x",
        "calendarTime": "x",
    }
    line |= {"unixTime": at, "epoch": 0, "counter": 0, "numerics": False}
    return Line("snapshot", name, at, json.dumps(line).encode())


def test_what_waits_is_sent_at_once_and_told(device: Device, server: Server, own_name: str) -> None:
    now = int(time.time())
    device.spool.put([snapshot("sync_now", now - 60, [{"a": "1"}])])
    with device.uplink():
        done = device.run("sync", "--wait", "30s")
        assert "Everything is sent: nothing waits any more." in done.stdout, (done.stderr, device.said())
        assert done.returncode == 0
        again = device.run("sync")
        assert again.returncode == (0 if os.getuid() == 0 else 1)
        found = device.asked("status")
    assert ask(server.database, f"SELECT a FROM sync_now WHERE hostname = '{own_name}'") == [["1"]]
    assert found["running"] and found["enrolled"] and found["waiting"]["lines"] == 0
    assert now - 5 <= found["heard_at"] <= time.time()
    assert found["server"] == device.environment["MUSTER_COLLECTOR_SERVER"]
    assert found["osqueryd"] == {"version": "5.23.0", "problem": ""}


def test_the_owner_is_told_how_the_device_fares(device: Device) -> None:
    device.spool.keep("posture", json.dumps(POSTURE).encode())
    with device.uplink():
        done = device.run("status")
    assert done.returncode == 3
    assert "FAILS since 20 Nov 2026 (5 days): Nobody can log in as a guest" in done.stdout
    assert "Why:  1 row breaks the rule" in done.stdout and "Mend: Remove the account guest." in done.stdout
    assert "Of 2 controls: 1 failing, 1 fine." in done.stdout


def test_the_owner_is_told_what_is_collected(device: Device) -> None:
    device.policy.write_text('deny_columns = ["users.directory"]')
    device.spool.keep("config", json.dumps(CONFIG).encode())
    Ledger(device.spool).note("1", "SELECT pid FROM processes", "answered", rows=3)
    with device.uplink():
        device.spool.put([snapshot("users@0123456789", int(time.time()) - 60, [])])
        assert device.run("sync").returncode == 0
        found = device.asked("disclose")
        told = device.run("disclose", "--sql").stdout
    by_name = {one["query"]: one for one in found["queries"]}
    assert [one["query"] for one in found["queries"]] == ["homes", "users"]
    assert by_name["users"]["sent_by"] == ["collector"] and by_name["users"]["sent_at"]
    if os.getuid() == 0:
        assert by_name["users"]["refused"] is None
        assert "users.directory, which is denied" in by_name["homes"]["refused"]
    assert found["asked"][0]["rows"] == 3
    assert "the commands typed into a terminal" in found["never"]["unread"]
    assert "last sent by the collector" in told and "| SELECT uid, username FROM users;" in told
    assert "directory (kept as a digest)" in told


def test_a_collector_that_does_not_run_says_what_it_knew(device: Device) -> None:
    never = device.run("status")
    assert never.returncode == 1 and "It has never run" in never.stderr
    device.spool.keep("posture", json.dumps(POSTURE).encode())
    left = device.run("status")
    assert left.returncode == 3 and "the collector does not run" in left.stderr
    assert "DOES NOT RUN" in left.stdout and "Nobody can log in as a guest" in left.stdout
    assert device.run("disclose").returncode == 0
    sync = device.run("sync")
    assert sync.returncode == 1 and "Nothing can be sent before it runs again." in sync.stderr


def test_without_a_server_what_waits_stays_and_is_told(device: Device) -> None:
    device.environment["MUSTER_COLLECTOR_SERVER"] = "http://127.0.0.1:9"
    (device.state / "node_key").write_text("key\n")
    device.spool.put([snapshot("waits", int(time.time()) - 3 * 86400, [])])
    with device.uplink():
        done = device.run("sync", "--wait", "20")
        assert done.returncode == 1, done.stdout
        assert "the server cannot be reached" in done.stdout and "1 answer still waits" in done.stdout
        status = device.run("status")
    assert status.returncode == 3
    assert "1 answer (" in status.stdout and "the oldest from 3 days ago" in status.stdout
    assert "answers have been waiting for the server for more than a day" in status.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="another user can only be tried by root")
def test_an_ordinary_user_may_ask(device: Device) -> None:
    device.directory.chmod(0o755)
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode() + b'\\n'); sys.stdout.write(s.makefile().read())"
    )

    def ask_as_nobody(request: str) -> dict[str, Any]:
        control = str(device.directory / "control.sock")
        done = subprocess.run(
            [shutil.which("python3", path="/usr/bin:/bin") or sys.executable, "-c", script, control, request],
            capture_output=True, text=True, check=True, cwd="/", user=65534, group=65534,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    with device.uplink():
        assert ask_as_nobody('{"do": "status"}')["answer"]["running"]
        assert "answer" in ask_as_nobody('{"do": "sync", "wait": 5}')
        assert "a moment ago" in ask_as_nobody('{"do": "sync", "wait": 5}')["error"]
