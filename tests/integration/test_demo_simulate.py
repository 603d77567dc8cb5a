"""``muster simulate`` against a real server: the fleet lives, and what was measured is reported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.server import ask, muster, serving


def test_a_fleet_lives_and_is_measured(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, made):
        done = muster(
            "simulate", "--devices", "5", "--server", f"http://127.0.0.1:{server.port}",
            "--secret", made["enroll_secret"], "--duration", "3", "--speed", "3600", "--never-sleep", "--json",
        )  # fmt: skip
        report = json.loads(done.stdout)
        assert report["errors"] == {}
        assert report["latency_ms"]["enroll"]["count"] == 5
        assert report["lines"] >= 5 * 3, "every query every second"
        assert report["requests_per_second"] > 0 and report["sent_bytes"] > 0
        assert len(ask(server.database, "SELECT hostname FROM os_version")) >= 4, "one may run a config without it"
        assert ask(server.database, "SELECT reason FROM rejects") == []


def test_the_history_of_the_same_seed_is_stored_once(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, made):
        options = (
            "simulate", "--devices", "4", "--seed", "3", "--days", "3", "--duration", "0", "--secret",
            made["enroll_secret"], "--server", f"http://127.0.0.1:{server.port}", "--truth", "-",
        )  # fmt: skip
        first = muster(*options)
        rows = ask(server.database, "SELECT hostname, uid, username, valid_from FROM users_history ORDER BY 1, 2, 3, 4")
        devices = "SELECT hostname FROM devices WHERE serial <> 'To be filled by O.E.M.'"
        known = ask(server.database, devices)
        assert rows and first.stdout
        assert muster(*options).stdout == first.stdout
        assert ask(server.database, devices) == known
        again = "SELECT hostname, uid, username, valid_from FROM users_history ORDER BY 1, 2, 3, 4"
        assert len(known) == 4 and ask(server.database, again) == rows
