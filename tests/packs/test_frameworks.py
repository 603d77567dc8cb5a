"""Frameworks: what is read from them, and what their author reads when they are wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import load_catalog, read_catalog
from server.catalog.frameworks import supported_by

HEAD = "title: A standard\nedition: '2024'\ncriteria:\n"


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    shutil.rmtree(packs / "frameworks", ignore_errors=True)
    (packs / "frameworks").mkdir()
    return packs


def problems(packs: Path, text: str, name: str = "made-up.yaml") -> str:
    (packs / "frameworks" / name).write_text(text)
    return "\n".join(str(problem) for problem in read_catalog(packs)[1])


def test_criteria_name_controls_or_say_why_none_does(packs: Path) -> None:
    criteria = """\
  "1.1": {says: Disks are unreadable without a key., supports: [system-volume-encrypted, guest-account-off]}
  "1.10":
    says: Only known software runs.
    supports: [osquery-current]
    partly: {guest-account-off: Shows the guest only.}
  A.2: {says: Doors are locked., none: No device sees a door.}
"""
    assert problems(packs, HEAD + criteria) == ""
    frameworks = load_catalog(packs).frameworks
    criteria_of = frameworks["made-up"].criteria
    assert list(criteria_of) == ["1.1", "1.10", "A.2"]
    assert criteria_of["1.10"].controls == [("osquery-current", ""), ("guest-account-off", "Shows the guest only.")]
    assert criteria_of["A.2"].none == "No device sees a door."
    supported = supported_by(frameworks, "guest-account-off")
    assert supported == {"made-up": [("1.1", ""), ("1.10", "Shows the guest only.")]}
    assert supported_by(frameworks, "release-supported") == {}


WRONG = [
    ("a: {says: x, supports: [guest-acount-off]}", "4: there is no control", "mean 'guest-account-off'?"),
    (
        "a: {says: x, partly: {guest-acount-off: y}}",
        "4: there is no control 'guest-acount-off'",
        "'guest-account-off'?",
    ),
    ("a: {says: x}", "4: criteria.a: give controls (supports, partly) or the reason for none", ""),
    ("a: {says: x, none: y, supports: [guest-account-off]}", "not both", ""),
    ("a: {says: x, none: y, partly: {guest-account-off: z}}", "not both", ""),
    ("a: {says: x, none: ''}", "4: criteria.a.none: String should have at least 1 character", ""),
    ("a: {says: x, supports: []}", "4: criteria.a.supports: List should have at least 1 item", ""),
    ("a: {says: x, partly: {}}", "4: criteria.a.partly: Dictionary should have at least 1 item", ""),
    ("a: {says: x, partly: {guest-account-off: ''}}", "at least 1 character", ""),
    ("a: {says: x, partly: [guest-account-off]}", "4: criteria.a.partly: Input should be a valid dictionary", ""),
    ("a: {supports: [guest-account-off]}", "4: key 'criteria.a.says' is missing", ""),
    ("a: {says: x, suports: [guest-account-off]}", "unknown key 'criteria.a.suports'", "did you mean 'supports'?"),
    ("a: {says: x, supports: [guest-account-off, guest-account-off]}", "a names control 'guest-account-off' twice", ""),
    (
        "a: {says: x, supports: [guest-account-off], partly: {guest-account-off: y}}",
        "a names control 'guest-account-off' twice",
        "",
    ),
    ("4.1: {says: x, none: y}", "4: the key criteria.4.1 is not a text", 'put it in quotes: "4.1"'),
    ("a: {says: x, none: y}\n  a: {says: x, none: y}", "5: not YAML: found duplicate key", ""),
    ("", "3: criteria: Input should be a valid dictionary", ""),
]


@pytest.mark.parametrize(("criterion", "what", "hint"), WRONG, ids=[criterion for criterion, _, _ in WRONG])
def test_a_framework_that_is_wrong(packs: Path, criterion: str, what: str, hint: str) -> None:
    said = problems(packs, f"{HEAD}  {criterion}\n")
    assert "frameworks/made-up.yaml:" in said
    assert what in said
    assert hint in said


def test_the_line_of_a_control_that_is_not_there(packs: Path) -> None:
    text = HEAD + "  a:\n    says: x\n    supports:\n      - guest-account-off\n      - gone\n"
    assert problems(packs, text).startswith("frameworks/made-up.yaml:8: there is no control 'gone'")


def test_a_framework_has_an_id_of_its_file(packs: Path) -> None:
    said = problems(packs, HEAD + "  a: {says: x, none: y}\n", "Soc 2.yaml")
    assert "frameworks/Soc 2.yaml:1: framework id 'Soc 2' is not of lower-case letters, digits and -" in said


def test_a_control_with_a_problem_of_its_own_is_not_said_to_be_missing(packs: Path) -> None:
    control = packs / "controls" / "accounts" / "guest-account-off" / "control.yaml"
    control.write_text(control.read_text().replace("severity", "severty"))
    said = problems(packs, HEAD + "  a: {says: x, supports: [guest-account-off]}\n")
    assert "frameworks/made-up.yaml" not in said
    assert "unknown key 'severty'" in said
