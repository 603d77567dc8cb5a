"""The commands as a user meets them: what they print, how they end, and where options come from."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.server import Peer, Server, ask, muster, muster_here, serving, snapshot_line


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database for what has nothing to do with its kind."""
    url = f"sqlite:///{tmp_path / 't.db'}"
    muster_here("init", "--database", url)
    return url


@pytest.fixture
def either(empty: str) -> str:
    """A database of each kind in turn."""
    muster_here("init", "--database", empty)
    return empty


def running_of(command: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """How a command is run: a server keeps its process to itself."""
    return muster if command == "serve" else muster_here


def test_init_prints_what_is_needed_once(empty: str) -> None:
    made = json.loads(muster_here("init", "--database", empty, "--json").stdout)
    assert set(made) == {"admin_token", "enroll_secret"}
    again = muster_here("init", "--database", empty, check=False)
    assert again.returncode == 1
    assert "initialised already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["sql", "SELECT 1"], 4, "muster init"),
        (["serve"], 4, "muster init"),
        (["evaluate", "--day", "2026-01-01"], 4, "muster init"),
        (["migrate"], 4, "muster init"),
        (["evaluate", "--day", "yesterday"], 2, "does not match"),
        (["evaluate"], 2, "--day"),
        (["evaluate", "--from", "2026-01-01"], 2, "--from and --to"),
        (["init", "--zone", "Mars/Olympus"], 2, "time zone"),
        (["zone", "Mars/Olympus"], 2, "time zone"),
        (["zone"], 4, "muster init"),
        (["serve", "--listen", "nowhere"], 2, "HOST:PORT"),
        (["packs", "check", "--packs", "tests/unit"], 3, "no packs here"),
        (["nope"], 2, "No such command"),
    ],
)
def test_how_commands_end(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    where = [] if arguments[0] in ("packs", "nope") else ["--database", f"sqlite:///{tmp_path / 'none.db'}"]
    done = running_of(arguments[0])(*arguments, *where, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["sqlite://x", "mysql://x", "sqlite:///", "x.db", "sqlite:///:memory:"])
def test_database_urls_that_are_none(url: str) -> None:
    done = muster_here("sql", "--database", url, "SELECT 1", check=False)
    assert done.returncode == 2
    assert "sqlite:///PATH" in done.stderr


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_text("not a database, but long enough to be taken for one" * 100)
    done = muster_here("sql", "--database", f"sqlite:///{tmp_path / 't.db'}", "SELECT 1", check=False)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [("sql", "SELECT 1"), ("serve",), ("evaluate", "--day", "2026-01-01"), ("token", "list")]
)
def test_a_database_without_a_schema_is_not_ready(kind: str, empty: str, command: tuple[str, ...]) -> None:
    if kind == "sqlite":
        sqlite3.connect(empty.removeprefix("sqlite:///")).close()
    done = running_of(command[0])(*command, "--database", empty, check=False)
    assert done.returncode == 4, done.stderr
    assert "muster init" in done.stderr and "Traceback" not in done.stderr


def test_a_postgres_that_is_not_there_is_not_ready() -> None:
    for url in (postgres.url_of("no_such_database"), "postgresql://postgres@127.0.0.1:1/muster"):
        for command in (("sql", "SELECT 1"), ("serve",), ("migrate",)):
            done = running_of(command[0])(*command, "--database", url, check=False)
            assert done.returncode == 4, done.stderr
            assert "cannot be opened" in done.stderr and "Traceback" not in done.stderr
            assert ("muster init" in done.stderr) == ("no_such" in url)


def test_a_newer_database_is_refused(either: str) -> None:
    future = "INSERT INTO muster_migrations VALUES (9999, 'the_future', 'x', 'x')"
    if either.startswith("sqlite"):
        connection = sqlite3.connect(either.removeprefix("sqlite:///"))
        connection.execute(future)
        connection.commit()
        connection.close()
    else:
        asyncio.run(postgres.run(future, either))
    done = muster_here("sql", "--database", either, "SELECT 1", check=False)
    assert done.returncode == 4
    assert "newer version" in done.stderr


def test_periods_that_cannot_be_judged(either: str) -> None:
    future = muster_here("evaluate", "--database", either, "--day", "2999-01-01", check=False)
    assert future.returncode == 1
    assert "in the future" in future.stderr
    assert muster_here("evaluate", "--database", either, "--day", "0001-01-01", check=False).returncode == 1
    backward = muster_here("evaluate", "--database", either, "--from", "2026-02-02", "--to", "2026-02-01", check=False)
    assert backward.returncode == 1
    assert "before it begins" in backward.stderr


def test_an_empty_fleet_is_judged_too(either: str) -> None:
    judged = json.loads(muster_here("evaluate", "--database", either, "--day", "2026-01-01", "--json").stdout)
    assert judged
    assert all(entry["totals"] == {} for entry in judged)


def test_where_options_come_from(tmp_path: Path, database: str) -> None:
    (tmp_path / "muster.toml").write_text(f'database = "{database}"\n[sql]\nlimit = 1\n')
    two_rows = "SELECT 1 UNION SELECT 2"

    def rows(*arguments: str, **environment: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "server.cli.main", "sql", "--json", *arguments, two_rows],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return len(json.loads(done.stdout)["rows"])

    assert rows() == 1
    assert rows("--limit", "2") == 2
    assert rows(MUSTER_DATABASE=database) == 1


def test_ingest_a_results_log_twice(tmp_path: Path, either: str) -> None:
    now = int(time.time())
    lines = [snapshot_line("users", now, [{"uid": "0", "username": "root"}]), {"junk": 1}]
    log = tmp_path / "osqueryd.results.log"
    log.write_bytes(b"\n".join(json.dumps(line).encode() for line in lines) + b"\nnot json\n\n")
    first = json.loads(muster_here("ingest", str(log), "--database", either, "--json").stdout)
    assert first == {"devices": 1, "answers": 1, "rejected": 0, "unreadable": 2}
    muster_here("ingest", str(log), "--database", either)
    assert ask(either, "SELECT hostname, uid, username FROM users") == [["made-up", 0, "root"]]
    assert ask(either, "SELECT COUNT(*) FROM users_history") == [[1]]


@pytest.mark.parametrize(
    "settings",
    ['packs = "PACKS"', "sql = 5", 'secret = "x"', 'format = "json"', '[sql]\nformat = "json"', "[x]\ny = 1"],
)
def test_settings_of_every_shape(tmp_path: Path, database: str, settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Path(__file__).parent.parent.parent / "packs"
    (tmp_path / "muster.toml").write_text(settings.replace("PACKS", str(packs)))
    monkeypatch.chdir(tmp_path)
    for arguments in (["sql", "--database", database, "SELECT 1"], ["packs", "check"], ["secret", "list"]):
        done = muster_here(*arguments, *(["--database", database] if "list" in arguments else []))
        if arguments[0] == "sql":
            assert done.stdout.startswith("{") == ("format" in settings)


def test_a_log_does_not_unsay_what_an_enrolment_said(tmp_path: Path, running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    details = {"uuid": "UU-1", "hardware_serial": "S1", "hostname": "desk"}
    body = {"enroll_secret": made["enroll_secret"], "platform_type": "2", "host_details": {"system_info": details}}
    assert server.post("enroll", json.dumps(body).encode())["node_key"]
    before = ask(server.database, "SELECT device_id, hostname, platform FROM devices ORDER BY 1")
    line = snapshot_line("folks", int(time.time()), [{"who": "ann"}])
    line["decorations"] = {"muster_uuid": "UU-1", "muster_serial": "S1"}
    (tmp_path / "log").write_text(json.dumps(line))
    muster_here("ingest", str(tmp_path / "log"), "--database", server.database)
    assert ["desk", "windows"] in [row[1:] for row in before]
    assert ask(server.database, "SELECT device_id, hostname, platform FROM devices ORDER BY 1") == before
    assert ask(server.database, "SELECT who FROM folks") == [["ann"]]


def test_an_exemption_shows_the_status_below_it(running: tuple[Server, dict[str, str]]) -> None:
    server, made = running
    Peer(server, made["enroll_secret"]).enroll(system_info={"uuid": "u", "hostname": "exempted"})
    day = time.strftime("%Y-%m-%d", time.gmtime())
    muster_here("evaluate", "--database", server.database, "--day", day)
    ((device,),) = ask(server.database, "SELECT device_id FROM devices WHERE hostname = 'exempted'")
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 30 * 86_400))
    grant = ("exempt", "grant", device, "osquery-current", "--until", until, "--reason", "lab", "--database",
             server.database, "--requested-by", "ann")  # fmt: skip
    assert muster_here(*grant, "--approved-by", "Ann", check=False).returncode == 2
    muster_here(*grant, "--approved-by", "bob")
    muster_here("evaluate", "--database", server.database, "--day", day)
    found = ask(
        server.database,
        "SELECT status, underlying_status FROM posture"
        " WHERE control = 'osquery-current' AND (hostname = 'exempted' OR status = 'exempt')",
    )
    assert found == [["exempt", "no_data"]]


def test_the_zone_is_told_and_changed(either: str) -> None:
    assert muster_here("zone", "--database", either).stdout == "The fleet's days are those of UTC.\n"
    told = muster_here("zone", "America/New_York", "--database", either).stdout
    assert "they are those of America/New_York; that day has 2" in told
    found = json.loads(muster_here("zone", "--json", "--database", either).stdout)
    assert (found["zone"], [entry["zone"] for entry in found["coming"]]) == ("UTC", ["America/New_York"])
    refused = muster_here("zone", "Pacific/Kiritimati", "--database", either, check=False)
    assert refused.returncode == 1
    assert "too far ahead" in refused.stderr


def test_one_server_a_file(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, _):
        second = muster("serve", "--database", server.database, "--listen", "127.0.0.1:0", check=False)
        assert second.returncode == 4
        assert "Another" in second.stderr


def test_a_port_in_use_is_said(tmp_path: Path, database: str) -> None:
    (tmp_path / "other").mkdir()
    with serving(tmp_path / "other") as (server, _):
        done = muster("serve", "--database", database, "--listen", f"127.0.0.1:{server.port}", check=False)
        assert done.returncode == 1
        assert "cannot listen" in done.stderr


def test_days_missed_while_no_server_ran_are_judged_at_start(tmp_path: Path, empty: str) -> None:
    day = 86_400
    now = int(time.time())
    with serving(tmp_path, database=empty) as (server, made):
        peer = Peer(server, made["enroll_secret"])
        peer.enroll(system_info={"uuid": "u", "hostname": "h"})
        for age in (3, 2):
            peer.snapshot("users", now - age * day, [row("root", "0")])
    database = server.database
    assert ask(database, "SELECT COUNT(*) FROM posture WHERE provisional = 0") == [[0]]
    again = Server(database, "--max-age-days", "36500")
    assert again.stop() == 0
    control = "only-root-has-uid-0"
    days = ask(database, f"SELECT status FROM posture WHERE control = '{control}' AND provisional = 0 ORDER BY day")
    assert days == [["pass"], ["pass"], ["stale"]]


def row(username: str, uid: str) -> dict[str, str]:
    return {"uid": uid, "gid": uid, "username": username, "description": "", "directory": "/", "shell": "/bin/sh"}
