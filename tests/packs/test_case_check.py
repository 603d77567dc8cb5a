"""The kinds of cases that every rule needs, and rows that no query of it would give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from server.app import shipped_packs
from server.catalog.catalog import load_catalog
from server.evaluate.case_check import check_cases
from tests.support.server import muster_here

FOLDER = "controls/accounts/only-root-has-uid-0"
Case = dict[str, Any]


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


def keep(packs: Path, wanted: Callable[[Case], bool], change: Callable[[Case], None] = lambda case: None) -> None:
    """Leave of the cases those that are wanted, changed."""
    path = packs / FOLDER / "cases.yaml"
    yaml = YAML(typ="safe", pure=True)
    cases = [case for case in yaml.load(path.read_text())["cases"] if wanted(case)]
    for case in cases:
        change(case)
    with path.open("w") as file:
        yaml.dump({"cases": cases}, file)


def replace(packs: Path, file: str, old: str, new: str) -> None:
    text = (packs / file).read_text()
    assert old in text
    (packs / file).write_text(text.replace(old, new))


def problems(packs: Path) -> list[str]:
    return [str(problem).removeprefix(f"{FOLDER}/cases.yaml:") for problem in check_cases(load_catalog(packs))]


def malformed(case: Case) -> bool:
    return any(row["uid"].startswith("0x") for row in case["rows"])


def test_a_pass_and_a_failure_for_each_platform(packs: Path) -> None:
    keep(packs, lambda case: (case["platform"], case["status"]) not in (("darwin", "pass"), ("linux", "fail")))
    assert problems(packs) == ["1: no case of a failure for linux", "1: no case of a pass for darwin"]


def test_an_empty_answer_of_one_platform_serves_all_that_mean_the_same_by_it(packs: Path) -> None:
    keep(packs, lambda case: case["rows"] or case["platform"] == "linux")
    assert problems(packs) == []
    replace(
        packs,
        f"{FOLDER}/control.yaml",
        "    undecided: *unreadable\n    empty: error",
        "    undecided: *unreadable\n    empty: pass",
    )
    assert problems(packs) == ["1: no case of an empty answer for darwin\n    rows: []"]


def test_a_row_that_cannot_be_judged_is_more_than_a_malformed_one(packs: Path) -> None:
    keep(packs, lambda case: case.get("reason") != "undecided" or malformed(case))
    assert problems(packs) == [
        f"1: no case of a row that cannot be judged for {platform}\n    one for which undecided: is true"
        for platform in ("linux", "darwin")
    ]


def test_a_malformed_row(packs: Path) -> None:
    keep(packs, lambda case: not malformed(case))
    assert problems(packs) == [
        f"1: no case of a malformed row for {platform}\n    a value that does not fit its column, such as uid: x"
        for platform in ("linux", "darwin")
    ]


def test_a_malformed_row_in_a_column_that_the_rule_does_not_read_is_none(packs: Path) -> None:
    def move(case: Case) -> None:
        for row in case["rows"]:
            if row["uid"].startswith("0x"):
                row.update(uid="0", gid="0x0")

    keep(packs, lambda case: True, move)
    assert [problem.split("\n")[0] for problem in problems(packs)] == [
        "1: no case of a malformed row for linux",
        "1: no case of a malformed row for darwin",
    ]


def test_a_rule_on_texts_without_undecided_needs_neither(packs: Path) -> None:
    replace(
        packs,
        f"{FOLDER}/control.yaml",
        "&second_root uid = 0 AND username NOT IN ('root', '')",
        "&second_root username = 'toor'",
    )
    replace(packs, f"{FOLDER}/control.yaml", "    undecided: *unreadable\n", "")
    text = (packs / FOLDER / "control.yaml").read_text().splitlines(keepends=True)
    (packs / FOLDER / "control.yaml").write_text("".join(line for line in text if "undecided:" not in line))
    keep(packs, lambda case: case.get("reason") != "undecided")
    assert problems(packs) == []


def test_a_device_that_the_rule_does_not_apply_to(packs: Path) -> None:
    last = "    undecided: *unreadable\n"
    replace(packs, f"{FOLDER}/control.yaml", last, f"{last}    applies_when: username <> 'nobody'\n")
    hint = "one for which applies_when: is true of no row"
    assert f"1: no case of a device that it does not apply to for darwin\n    {hint}" in problems(packs)


def test_drafts_need_them_too(packs: Path) -> None:
    replace(packs, f"{FOLDER}/control.yaml", "confidence: observed", "confidence: draft")
    keep(packs, lambda case: (case["platform"], case["status"]) != ("linux", "pass"))
    assert problems(packs) == ["1: no case of a pass for linux"]


def test_platforms_with_other_queries_share_nothing(packs: Path) -> None:
    shutil.copy(packs / "queries/users.sql", packs / "queries/users.linux.sql")
    shutil.move(packs / "queries/users.sql", packs / "queries/users.darwin.sql")
    replace(packs, "queries/users.darwin.sql", "FROM users", "FROM users WHERE uid IS NOT NULL")
    shutil.copy(packs / "queries/users.linux.sql", packs / "queries/users.windows.sql")
    assert [problem.split("\n")[0] for problem in problems(packs)] == [
        "1: no case of a row that cannot be judged for darwin",
        "1: no case of a malformed row for darwin",
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda row: row.update(user="x"), "row 0: queries/users.sql gives no column 'user'\n    "),
        (lambda row: row.pop("shell"), "row 0 has no shell\n    osquery sends every column"),
    ],
    ids=["a column too many", "a column too few"],
)
def test_a_row_that_is_no_answer_to_the_query(packs: Path, change: Callable[[Case], None], what: str) -> None:
    def spoil(case: Case) -> None:
        if case["name"] == "linux, one root":
            change(case["rows"][0])

    keep(packs, lambda case: True, spoil)
    (problem,) = problems(packs)
    assert problem.split(": ", 1)[1].startswith(what)


def test_two_cases_of_one_name(packs: Path) -> None:
    def name(case: Case) -> None:
        case["name"] = case["name"].replace("linux, a second root", "linux, one root")

    keep(packs, lambda case: True, name)
    first = next(problem for problem in problems(packs) if "linux, one root' " in problem)
    assert first.endswith(": a case is named 'linux, one root' on line 2 too")


def test_the_command_says_so(packs: Path) -> None:
    keep(packs, lambda case: not malformed(case))
    done = muster_here("packs", "check", "--packs", str(packs), check=False)
    assert done.returncode == 3
    assert f"{FOLDER}/cases.yaml:1: no case of a malformed row for linux" in done.stdout
