"""The demo from end to end: every verdict in its database is the one its simulator expects."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.simulate.truth import JUDGED
from tests.support.server import ask, muster

DEVICES, DAYS = 26, 8
STATUSES = {"pass", "fail", "stale", "no_data", "error", "not_applicable", "exempt"}

Key = tuple[str, str, str]


@dataclass
class Demo:
    directory: Path
    database: str
    output: str
    expected: dict[Key, dict[str, str]]


def run_demo(directory: Path, *options: str) -> tuple[str, dict[Key, dict[str, str]]]:
    truth = directory / "truth.jsonl"
    done = muster(
        "demo", "--devices", str(DEVICES), "--days", str(DAYS), "--directory", str(directory / "demo"),
        "--listen", "127.0.0.1:0", "--once", "--truth", str(truth), *options,
    )  # fmt: skip
    entries = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()]
    return done.stdout, {(entry["device"], entry["control"], entry["day"]): entry for entry in entries}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("demo")
    output, expected = run_demo(directory)
    yield Demo(directory, f"sqlite:///{directory / 'demo' / 'muster.db'}", output, expected)


def verdicts(demo: Demo) -> dict[Key, str]:
    rows = ask(demo.database, "SELECT hostname, control, day, status FROM posture")
    return {(host, control, day): status for host, control, day, status in rows}


def test_every_verdict_is_the_expected_one(demo: Demo) -> None:
    found = verdicts(demo)
    assert found.keys() == demo.expected.keys()
    assert len(found) == DEVICES * (DAYS + 1) * len(JUDGED)
    wrong = {
        key: (status, demo.expected[key]["status"], demo.expected[key]["why"])
        for key, status in found.items()
        if status != demo.expected[key]["status"]
    }
    assert not wrong, f"{len(wrong)} verdicts differ (found, expected, why): {dict(list(wrong.items())[:5])}"


def test_every_status_occurs_and_says_why(demo: Demo) -> None:
    found = verdicts(demo)
    for status in sorted(STATUSES):
        key = next((key for key in sorted(found) if found[key] == status), None)
        assert key, f"no verdict is {status}"
        assert demo.expected[key]["why"]
        print(f"{status:15} {key[0]} {key[1]} {key[2]}: {demo.expected[key]['why']}")  # noqa: T201


def test_runs_of_days_say_the_same(demo: Demo) -> None:
    runs = ask(demo.database, "SELECT hostname, control, first_day, last_day, status FROM posture_runs")
    by_control = defaultdict(list)
    for host, control, *run in runs:
        by_control[host, control].append(run)
    for (host, control, day), entry in demo.expected.items():
        covering = [status for first, last, status in by_control[host, control] if first <= day <= last]
        assert covering == [entry["status"]], (host, control, day)


def test_its_history_is_judged_once_it_is_whole(demo: Demo) -> None:
    assert ask(demo.database, "SELECT COUNT(*) FROM posture_revisions") == [[0]]


def test_clones_are_devices_of_their_own_and_nothing_was_set_aside(demo: Demo) -> None:
    clones = "SELECT device_id FROM devices WHERE serial = 'To be filled by O.E.M.'"
    assert len(ask(demo.database, clones)) == 2
    assert len(ask(demo.database, "SELECT device_id FROM devices")) == DEVICES
    assert ask(demo.database, "SELECT reason FROM rejects") == []


def test_what_arrived_twice_is_there_once(demo: Demo) -> None:
    doubled = "SELECT hostname, username, COUNT(uid) FROM users GROUP BY hostname, uid, username HAVING COUNT(uid) > 1"
    assert ask(demo.database, doubled) == []
    assert ask(demo.database, "SELECT COUNT(status) FROM coverage WHERE status IN ('error', 'denylisted')")[0][0] > 1


def test_started_again_it_goes_on_with_the_same_fleet_and_a_new_token(demo: Demo) -> None:
    before = {key: status for key, status in verdicts(demo).items() if demo.expected[key]["day"] < max_day(demo)}
    output, _ = run_demo(demo.directory)
    assert "console is at" not in output  # it ends with the command
    token = output.split("Admin token: ")[1].strip()
    assert token and token not in demo.output
    after = verdicts(demo)
    assert {key: after[key] for key in before} == before
    assert len(ask(demo.database, "SELECT device_id FROM devices")) == DEVICES
    tokens = json.loads(muster("token", "list", "--database", demo.database, "--json").stdout)
    assert [bool(token["revoked_at"]) for token in tokens if token["name"] == "demo"] == [True, False]


def max_day(demo: Demo) -> str:
    return max(day for _, _, day in demo.expected)
