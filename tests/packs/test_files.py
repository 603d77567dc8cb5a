"""Files that would take the reader's time, memory or patience: each is a problem at once."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.app import shipped_packs
from server.catalog.catalog import read_catalog
from server.catalog.controls import Control
from server.catalog.files import FILE_BYTES
from server.catalog.frameworks import Framework
from server.catalog.packs import Pack
from server.catalog.problems import Problem
from server.catalog.yaml_files import Strict, read_model

CASES = "controls/accounts/only-root-has-uid-0/cases.yaml"


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


def problems(packs: Path) -> str:
    return "\n".join(str(problem) for problem in read_catalog(packs)[1])


def _laughs(first: str, of: str) -> str:
    """Ten of the line before in each line: ten to the ninth in the last."""
    ten = [of.format(", ".join([f"*a{number}"] * 10)) for number in range(9)]
    return "\n".join([f"a0: &a0 {first}", *(f"a{number}: &a{number} {text}" for number, text in enumerate(ten, 1))])


BOMBS = {
    "lists of lists": (_laughs("[ha]", "[{}]"), "comes to more than"),
    "lists of keys": (_laughs("{ha: ha}", "{{x: [{}]}}"), "comes to more than"),
    "one long text": (f"a: &a >-\n  {'ha' * 50_000}\nb: [{', '.join(['*a'] * 1000)}]", "comes to more than"),
    "an alias within what it is for": ("x: &a [*a]", "made-up.yaml:1: "),
    "a key within itself": ("x: &a {y: *a}", "made-up.yaml:1: "),
    "folders in folders": ("x: " + "[" * 50 + "]" * 50, "nested more than"),
    "brackets": ("x: " + "[" * 5000, "made-up.yaml:1: "),
    "a list for a key": ("? [a, b]\n: c", "made-up.yaml:1: "),
    "a day that is none": ("x: 2026-13-45", "made-up.yaml:1: not YAML"),
    "a number that is none": ("x: !!int abc", "made-up.yaml:1: "),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_is_large(packs: Path, bomb: str) -> None:
    text, what = BOMBS[bomb]
    (packs / "made-up.yaml").write_text(text)
    before = time.process_time()
    said = problems(packs)
    assert "made-up.yaml:" in said
    assert what in said
    assert time.process_time() - before < 20


@pytest.mark.parametrize("file", ["made-up.yaml", "minimise.yaml", CASES, "queries/made_up.sql"])
def test_a_file_of_10_megabytes_is_not_read(packs: Path, file: str) -> None:
    (packs / file).write_text("# ha\n" * (10 * 1024 * 1024 // 5))
    assert f"{file}:1: file is larger than {FILE_BYTES} bytes" in problems(packs)


def test_aliases_that_save_writing_are_welcome(packs: Path) -> None:
    (packs / "made-up.yaml").write_text("title: &t A pack\ndiscovery: [&d 'SELECT 1 FROM users', *d]\n")
    assert problems(packs) == ""


@pytest.mark.parametrize("file", ["made-up.yaml", "queries/made_up.sql", CASES])
def test_what_is_no_file_is_not_waited_for(packs: Path, file: str) -> None:
    (packs / file).unlink(missing_ok=True)
    os.mkfifo(packs / file)
    assert f"{file}:1: " in problems(packs)


def test_links_in_circles_and_to_nowhere(packs: Path) -> None:
    (packs / "queries" / "again").symlink_to(packs / "queries", target_is_directory=True)
    (packs / "controls" / "up").symlink_to(Path(".."), target_is_directory=True)
    (packs / "controls" / "me").symlink_to("me")
    (packs / "gone.yaml").symlink_to("nowhere.yaml")
    said = problems(packs)
    for link in ("queries/again", "controls/up"):
        assert f"{link}:1: this link leads in a circle" in said
    for link in ("controls/me", "gone.yaml"):
        assert f"{link}:1: this link leads nowhere, or in a circle" in said


def test_a_link_to_elsewhere_is_read(packs: Path, tmp_path: Path) -> None:
    shutil.move(packs / "controls" / "accounts", tmp_path / "accounts")
    (packs / "controls" / "accounts").symlink_to(tmp_path / "accounts", target_is_directory=True)
    assert problems(packs) == ""


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("controls/accounts/control.yaml", "this file is not read\n    a control is controls/<area>/<good-state>/"),
        ("controls/a/b/c/control.yaml", "this file is not read\n    a control is controls/<area>/<good-state>/"),
        ("controls/a/b/case.yaml", "this file is not read\n    a control is controls/<area>/<good-state>/"),
        ("controls/a/b/cases.yaml", "no control.yaml beside it"),
        ("more.yml", "this file is not read\n    name it more.yaml"),
    ],
)
def test_a_file_that_would_be_passed_over(packs: Path, file: str, what: str) -> None:
    (packs / file).parent.mkdir(parents=True, exist_ok=True)
    (packs / file).write_text("title: x\n")
    assert f"{file}:1: {what}" in problems(packs)


def test_one_control_in_two_areas(packs: Path) -> None:
    shutil.copytree(packs / "controls/accounts/guest-account-off", packs / "controls/os/guest-account-off")
    said = problems(packs)
    assert "controls/os/guest-account-off/control.yaml:1: controls/accounts/guest-account-off/control.yaml has" in said


@pytest.mark.parametrize("file", ["Made Up.yaml", "controls/accounts/Good_State/control.yaml"])
def test_an_id_that_is_none(packs: Path, file: str) -> None:
    (packs / file).parent.mkdir(parents=True, exist_ok=True)
    (packs / file).write_text("title: x\n")
    assert f"{file}:1: {'control' if 'control' in file else 'pack'} id " in problems(packs)


PIECES = """title why platforms queries controls criteria linux x 7 4.10 ~ on 2026-11-24 1:30 0x1f .inf & * &a *a <<
! !!int !!set !!binary !!python/name:os.system % @ ` ' " | > - ? : , # [ ] { } --- ...""".split()
SPACES = [" ", "  ", "\n", "\n  ", "\n    ", ": ", "- ", "\t", "\x00", "é"]
TEXT = st.lists(st.sampled_from([*PIECES, *SPACES]), max_size=25)


@settings(max_examples=400, deadline=None)
@given(st.one_of(TEXT.map("".join), TEXT.map(" ".join)), st.sampled_from([Control, Framework, Pack]))
def test_whatever_stands_in_a_file_is_read_or_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str, model: type[Strict]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    problems: list[Problem] = []
    found = read_model(path, "any.yaml", model, problems)
    assert (found is None) == bool(problems)
    lines = text.count("\n") + 2
    assert all(problem.file == "any.yaml" and 1 <= problem.line <= lines for problem in problems)
