"""``muster evaluate --dry-run``: what a control would have said, by command."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.app import shipped_packs
from tests.support.server import Peer, Server, ask, muster_here
from tests.support.stores import shipped_catalog

CONTROL = "only-root-has-uid-0"
ROOT = {"uid": "0", "gid": "0", "username": "root", "description": "", "directory": "/root", "shell": "/bin/sh"}
STRICTER = "username = 'root'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The control's folder, outside of any packs, with a rule that no account but root's satisfies."""
    text = (shipped_packs() / shipped_catalog().controls[CONTROL].file).read_text(encoding="utf-8")
    made = tmp_path / CONTROL
    made.mkdir()
    (made / "control.yaml").write_text(
        text.replace("none: &second_root uid = 0 AND username NOT IN ('root', '')", f"every: &only {STRICTER}").replace(
            "none: *second_root", "every: *only"
        ),
        encoding="utf-8",
    )
    return made


def day(ahead: int) -> str:
    return (datetime.now(UTC) + timedelta(days=ahead)).date().isoformat()


def test_what_a_changed_control_would_have_said(
    running: tuple[Server, dict[str, str]], folder: Path, own_name: str
) -> None:
    server, made = running
    peer = Peer(server, made["enroll_secret"])
    peer.enroll(system_info={"uuid": own_name, "hostname": own_name})
    query = shipped_catalog().queries["users", "linux"]
    peer.snapshot(f"users@{query.version}", int(time.time()), [ROOT, {**ROOT, "uid": "7", "username": "ann"}])
    database = ("--database", server.database)
    muster_here("evaluate", "--day", day(0), *database)
    tried = ("evaluate", "--dry-run", "--control", str(folder), "--from", day(-1), "--to", day(0), *database)
    before = ask(server.database, "SELECT device_id, control, day, status FROM posture ORDER BY 1, 2, 3")
    said = json.loads(muster_here(*tried, "--json").stdout)
    (change,) = [one for one in said["changes"] if (one["hostname"], one["last_day"]) == (own_name, day(0))]
    assert (change["first_day"], change["before_status"], change["after_status"]) == (day(0), "pass", "fail")
    assert change["after_reason"] == "rows_break_rule"
    assert (said["control"], said["packs"], said["asked"]) == (CONTROL, None, True)
    assert [one["day"] for one in said["days"]] == [day(-1), day(0)]
    assert said["days"][1]["after"]["fail"] == 1 and said["devices_changed"] >= 1
    linux = next(source for source in said["sources"] if source["platform"] == "linux")
    assert linux["version_from"].startswith(day(0)) and linux["remark"] is None
    shown = muster_here(*tried).stdout
    assert own_name in shown and "Nothing is written" in shown and "fail: rows_break_rule" in shown
    assert ask(server.database, "SELECT device_id, control, day, status FROM posture ORDER BY 1, 2, 3") == before
    whole = muster_here(*tried, "--packs", str(shipped_packs())).stdout
    assert str(shipped_packs()) in whole


def test_a_control_of_the_packs_that_changes_nothing(running: tuple[Server, dict[str, str]]) -> None:
    server, _ = running
    folder = (shipped_packs() / shipped_catalog().controls[CONTROL].file).parent
    database = ("--database", server.database)
    muster_here("evaluate", "--day", day(0), *database)
    said = json.loads(
        muster_here("evaluate", "--dry-run", "--control", str(folder), "--day", day(0), "--json", *database).stdout
    )
    assert (said["changes"], said["devices_changed"], said["packs"]) == ([], 0, str(shipped_packs().resolve()))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--dry-run", "--day", "2026-01-01"), 2, "go together"),
        (("--control", "{folder}", "--day", "2026-01-01"), 2, "go together"),
        (("--dry-run", "--control", "{folder}"), 2, "--day"),
        (("--dry-run", "--control", "{folder}/none", "--day", "2026-01-01"), 2, "does not exist"),
        (("--dry-run", "--control", "{folder}/..", "--day", "2026-01-01"), 3, "there is no control.yaml"),
        (("--dry-run", "--control", "{folder}", "--day", "2999-01-01"), 1, "in the future"),
        (("--dry-run", "--control", "{folder}", "--from", "2026-01-02", "--to", "2026-01-01"), 1, "before it begins"),
    ],
    ids=["no control", "no dry run", "no days", "no folder", "no control.yaml", "future", "end before start"],
)
def test_what_cannot_be_tried(
    running: tuple[Server, dict[str, str]], folder: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    given = [one.replace("{folder}", str(folder)) for one in arguments]
    done = muster_here("evaluate", *given, "--database", running[0].database, check=False)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_a_rule_that_does_not_compile_is_said(running: tuple[Server, dict[str, str]], folder: Path) -> None:
    path = folder / "control.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(STRICTER, "nickname = 'root'"), encoding="utf-8")
    given = ("evaluate", "--dry-run", "--control", str(folder), "--day", day(0), "--json")
    done = muster_here(*given, "--database", running[0].database, check=False)
    assert (done.returncode, done.stdout) == (3, "") and "nickname" in done.stderr
