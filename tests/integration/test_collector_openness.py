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
from tests.support.packs import PACK, content, control, write
from tests.support.server import Server, ask, serving

HOMES = control("home = '/tmp'").replace("residents", "homes").replace("There are no guests", "Nobody lives in /tmp")
HOMES_CASES = """cases:
  - {name: good, platform: linux, rows: [{"home": "/"}], status: pass}
  - {name: bad, platform: linux, rows: [{"home": "/tmp"}], status: fail, reason: rows_match}
  - {name: nobody, platform: linux, rows: [], status: pass}
"""
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with two queries and a control; which database is under it makes no difference here."""
    packs = content(
        {
            "queries/homes.sql": "-- Where they live.\n-- columns: home text\nSELECT directory AS home FROM users\n",
            "controls/accounts/homes/control.yaml": HOMES,
            "controls/accounts/homes/cases.yaml": HOMES_CASES,
            PACK: "title: All of it\nqueries: {residents: , homes: }\ncontrols: [no-guests, homes]\n",
        }
    )
    folder = write(packs, tmp_path_factory.mktemp("packs"))
    with serving(tmp_path_factory.mktemp("serving"), "--packs", str(folder)) as served:
        yield served


@pytest.fixture
def device(running: tuple[Server, dict[str, str]], request: pytest.FixtureRequest) -> Iterator[Device]:
    directory = Path(tempfile.mkdtemp(prefix="own-", dir="/tmp"))  # a socket's path has 107 bytes
    name = request.node.name
    users = [{"uid": 0, "username": "root", "directory": "/root"}, {"uid": 9, "username": "guest", "directory": "/"}]
    tables = {"system_info": [{"hostname": name, "uuid": f"uuid {name}"}], "users": users}
    with core(tables=tables) as osqueryd:
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


def test_a_sync_sends_what_waits_and_takes_the_evidence(device: Device, server: Server) -> None:
    now = int(time.time())
    device.spool.put([snapshot("sync_now", now - 60, [{"a": "1"}])])
    with device.uplink():
        until = time.monotonic() + 30
        while not device.asked("disclose")["known"]:  # the config comes by the channel
            assert time.monotonic() < until, device.said()
        done = device.run("sync", "--wait", "30s")
        assert "Everything is sent: nothing waits any more." in done.stdout, (done.stderr, device.said())
        assert "Evidence of the day: 2 taken." in done.stdout
        assert done.returncode == 0
        found = device.asked("disclose")
        told = device.run("disclose", "--sql").stdout
    name = "test_a_sync_sends_what_waits_and_takes_the_evidence"
    assert ask(server.database, f"SELECT a FROM sync_now WHERE hostname = '{name}'") == [["1"]]
    assert ask(server.database, f"SELECT home FROM homes WHERE hostname = '{name}' ORDER BY home") == [["/"], ["/root"]]
    assert {one["query"] for one in found["queries"]} == {"homes", "residents"}
    assert all(one["sent_by"] == ["collector"] and one["sent_at"] >= now for one in found["queries"])
    assert "last sent by the collector" in told and "| SELECT username AS who, uid FROM users" in told
    assert "Why:  There are no guests" in told and "Why:  Nobody lives in /tmp" in told


@pytest.mark.slow
def test_what_fails_is_told_within_two_minutes_with_how_to_mend_it(device: Device) -> None:
    """The server judges within a minute, and tells a device once a minute at most."""
    with device.uplink():
        until = time.monotonic() + 120
        while not device.asked("status")["problems"]:
            assert time.monotonic() < until, device.said()
            time.sleep(2)
        status = device.run("status")
    assert status.returncode == 3
    assert "(first day): There are no guests" in status.stdout and "Mend: Show them the door." in status.stdout


def test_what_the_policy_denies_is_told_and_not_taken(device: Device, server: Server) -> None:
    if os.getuid() == 0:
        device.policy.write_text('deny_columns = ["users.directory"]')
    else:
        pytest.skip("the policy has to be root's")
    with device.uplink():
        until = time.monotonic() + 30
        while not device.asked("disclose")["known"]:
            assert time.monotonic() < until, device.said()
        assert "1 taken, 1 refused by the device's policy" in device.run("sync", "--wait", "30").stdout
        found, told = device.asked("disclose"), device.run("disclose").stdout
    by_name = {one["query"]: one for one in found["queries"]}
    assert by_name["residents"]["refused"] is None
    assert "users.directory, which is denied" in by_name["homes"]["refused"]
    assert "homes (refused by this device's own policy)" in told
    assert "denies the column users.directory" in told
    assert "the commands typed into a terminal" in found["never"]["unread"]
    name = "test_what_the_policy_denies_is_told_and_not_taken"
    assert ask(server.database, f"SELECT COUNT(*) FROM homes WHERE hostname = '{name}'") == [[0]]


def test_without_a_network_the_owner_is_told_how_the_device_fared(device: Device) -> None:
    device.environment["MUSTER_COLLECTOR_SERVER"] = "http://127.0.0.1:9"
    (device.state / "node_key").write_text("key\n")
    device.spool.keep("posture", json.dumps(POSTURE).encode())
    Ledger(device.spool).note("1", "SELECT pid FROM processes", "answered", rows=3)
    with device.uplink():
        done = device.run("status")
        asked = device.asked("disclose")["asked"]
    assert done.returncode == 3
    assert "FAILS since 20 Nov 2026 (5 days): Nobody can log in as a guest" in done.stdout
    assert "Why:  1 row breaks the rule" in done.stdout and "Mend: Remove the account guest." in done.stdout
    assert "Of 2 controls: 1 failing, 1 fine." in done.stdout
    assert [one["rows"] for one in asked] == [3]


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
    device.environment["MUSTER_COLLECTOR_SERVER"] = "http://127.0.0.1:9"
    (device.state / "node_key").write_text("key\n")
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
