"""``muster packs list``: what a reader of the packs is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.text import Text

from server.app import shipped_packs
from server.catalog.catalog import load_catalog
from server.cli.main import cli
from tests.support.server import muster_here

SOC2 = """\
title: Trust Services Criteria
edition: "2017"
criteria:
  CC6.1:
    says: Only those who should get at systems.
    supports: [system-volume-encrypted, guest-account-off]
    partly: {only-root-has-uid-0: Says nothing of sudo.}
  CC6.7: {says: Data is protected wherever it moves., partly: {release-supported: Shows a date.}}
  CC6.4: {says: Rooms are locked., none: No device sees a door.}
"""
OTHER = """\
title: Another
edition: "1"
criteria:
  "4.1": {says: Guests stay out., supports: [guest-account-off]}
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    shutil.rmtree(packs / "frameworks", ignore_errors=True)
    (packs / "frameworks").mkdir()
    (packs / "frameworks" / "soc2.yaml").write_text(SOC2)
    (packs / "frameworks" / "other.yaml").write_text(OTHER)
    release = packs / "controls" / "os" / "release-supported" / "control.yaml"
    release.write_text(release.read_text().replace("confidence: documented", "confidence: draft"))
    return packs


def listed(packs: Path, *options: str) -> str:
    return muster_here("packs", "list", "--packs", str(packs), *options).stdout


def test_a_control_is_one_line_in_a_pipe(packs: Path) -> None:
    said = listed(packs)
    loaded = load_catalog(packs).controls
    line = next(line for line in said.splitlines() if "guest-account-off" in line)
    assert f"{len(loaded['guest-account-off'].cases):>3} cases" in line
    assert "observed linux, documented mac+win" in line
    assert line.endswith("  posture  other 4.1; soc2 CC6.1")
    assert next(line for line in said.splitlines() if "only-root-has-uid-0" in line).endswith("soc2 in part CC6.1")
    assert "observed linux, draft mac+win" in said
    assert said.index("\naccounts\n" if not said.startswith("accounts") else "accounts") < said.index("\nos\n")
    assert said.rstrip().endswith("; frameworks: other, soc2.")
    assert "\x1b" not in said


def test_the_criteria_of_a_framework(packs: Path) -> None:
    assert listed(packs, "--framework", "soc2").splitlines() == [
        "Trust Services Criteria",
        "2017",
        "CC6.1  Only those who should get at systems.  supports: system-volume-encrypted, guest-account-off"
        "  partly: only-root-has-uid-0: Says nothing of sudo.",
        "CC6.7  Data is protected wherever it moves.  partly: release-supported: Shows a date.",
        "CC6.4  Rooms are locked.  none: No device sees a door.",
        "",
        "3 criteria: 1 supported, 1 in part, 1 by no control.",
    ]


def test_on_a_terminal_lines_hang_below_their_first_word(packs: Path) -> None:
    soc2 = packs / "frameworks" / "soc2.yaml"
    text = soc2.read_text().replace("at systems.", f"at{' systems, and at what is in them' * 3}.")
    soc2.write_text(
        text.replace("Says nothing of sudo.", "Says nothing of sudo or polkit and nothing of what else lends rights.")
    )
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}
    done = CliRunner().invoke(cli, ["packs", "list", "--packs", str(packs), "--framework", "soc2"], env=terminal)
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in Text.from_ansi(done.output).plain.splitlines()]
    assert lines[2:8] == [
        "CC6.1  Only those who should get at systems, and at what is in them systems, and at what is in them",
        "       systems, and at what is in them.",
        "     supports  system-volume-encrypted, guest-account-off",
        "     partly    only-root-has-uid-0: Says nothing of sudo or polkit and nothing of what else lends",
        "               rights.",
        "CC6.7  Data is protected wherever it moves.",
    ]


def test_a_control_that_is_judged_nowhere_is_said_to_be_so(packs: Path) -> None:
    posture = packs / "posture.yaml"
    posture.write_text(posture.read_text().replace("  - guest-account-off\n", "", 1))
    said = listed(packs, "--framework", "soc2")
    assert "guest-account-off (not judged: a draft, or in no pack)" in said
    line = next(line for line in listed(packs).splitlines() if "guest-account-off" in line)
    assert "in no pack" in line


def test_json_of_controls_and_criteria(packs: Path) -> None:
    controls = {control["control"]: control for control in json.loads(listed(packs, "--json"))}
    guest = controls["guest-account-off"]
    assert guest["confidence"] == {"darwin": "documented", "linux": "observed", "windows": "documented"}
    assert guest["packs"] == ["posture"]
    assert sum(guest["cases"].values()) == len(load_catalog(packs).controls["guest-account-off"].cases)
    assert guest["criteria"] == {
        "other": [{"criterion": "4.1", "leaves_open": None}],
        "soc2": [{"criterion": "CC6.1", "leaves_open": None}],
    }
    first, _, last = json.loads(listed(packs, "--framework", "soc2", "--json"))
    assert first["supports"] == ["system-volume-encrypted", "guest-account-off"]
    assert first["partly"] == {"only-root-has-uid-0": "Says nothing of sudo."}
    assert last["none"] == "No device sees a door."


def test_a_framework_that_is_not_there(packs: Path) -> None:
    done = muster_here("packs", "list", "--packs", str(packs), "--framework", "soc3", check=False)
    assert done.returncode == 2
    assert "there is no framework 'soc3'; did you mean 'soc2'?" in done.stderr


def test_packs_with_a_problem_are_not_listed(packs: Path) -> None:
    (packs / "frameworks" / "soc2.yaml").write_text("title: x")
    done = muster_here("packs", "list", "--packs", str(packs), check=False)
    assert done.returncode == 3
    assert "key 'criteria' is missing" in done.stderr
