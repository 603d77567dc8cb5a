"""A rule that never decides is told from one that does, and nothing that can come out both ways is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.app import shipped_packs
from server.catalog.controls import PlatformRule
from server.cli.packs import packs as command
from server.evaluate.deciding import never_decides


def said(empty: str = "error", **conditions: str) -> list[str]:
    rule = PlatformRule(query="q", empty=empty, confidence="draft", **conditions)  # type: ignore[arg-type]
    return [f"{key}: {why}" for key, why in never_decides(rule)]


@pytest.mark.parametrize(
    "condition",
    [
        "uid = 0 AND uid = 1",
        "name = 'a' AND name IN ('b', 'c')",
        "uid > 5 AND 3 > uid",
        "uid IS NULL AND uid = 0",
        "n > 9007199254740993 AND n < 9007199254740994 AND n = 1",
        "NOT (uid IS NULL OR uid IS NOT NULL)",
        "contains(name, 'x') AND NOT contains(name, 'x')",
        "version_compare(v, '1.2') = 2",
        "length(name) < 0",
        "lower(name) = 'Root'",
        "x BETWEEN -5 AND -1 AND x >= 0",
    ],
)
def test_a_condition_that_no_row_satisfies(condition: str) -> None:
    assert said(every=condition) == ["every: is true of no row: it contradicts itself"]
    assert said(every="uid = 7", applies_when=condition)[0].startswith("applies_when: is true of no row")


@pytest.mark.parametrize(
    ("conditions", "what"),
    [
        ({"every": "uid IS NULL OR uid IS NOT NULL"}, "every: is true of every row"),
        ({"every": "uid = 0", "undecided": "uid = 0 OR uid <> 0 OR uid IS NULL"}, "undecided: is true of every row"),
        ({"none": "uid = 0", "undecided": "uid = 0"}, "undecided: leaves nothing to decide: every row that can be"),
        ({"every": "name <> ''", "undecided": "name IS NULL OR name = ''"}, "undecided: leaves nothing to decide"),
    ],
)
def test_a_rule_that_never_decides(conditions: dict[str, str], what: str) -> None:
    assert said(**conditions)[0].startswith(what)


@pytest.mark.parametrize(
    "condition",
    [
        "uid = 0 OR uid <> 0",  # false for null
        "n > 9007199254740992 AND n < 9007199254740994",
        "v > 'a' AND v < 'b'",
        "x > 1 AND x < 2",
        "lower(name) = 'root' AND name = 'Root'",
        "a = b AND a <> 1",
        "version_compare(v, '1.2') >= 0 AND version_compare(v, '1.3') < 0",
        "coalesce(uid, 0) = 0 AND uid IS NOT NULL",
        "d >= day_end() - 86400 AND d < day_end()",
        "NOT in_list('ports', p, q) OR in_list('ports', p)",
        " AND ".join(f"c{n} = {n}" for n in range(30)),  # more kinds of rows than are tried
    ],
)
def test_a_condition_that_can_come_out_both_ways(condition: str) -> None:
    assert said(every=condition) == []
    assert said(every=condition, undecided="z IS NULL") == []


def test_that_there_are_rows_at_all_may_be_what_decides() -> None:
    condition = {"none": "path <> ''", "undecided": "path IS NULL OR path = ''"}
    assert said(empty="pass", **condition) == []
    assert said(empty="fail", **condition) != []


def test_the_check_says_it(tmp_path: Path) -> None:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    control = packs / "controls" / "accounts" / "only-root-has-uid-0" / "control.yaml"
    text = control.read_text(encoding="utf-8")
    control.write_text(text.replace("&second_root ", "&second_root uid = 1 AND uid = 2 AND ", 1), encoding="utf-8")
    done = CliRunner().invoke(command, ["check", "--packs", str(packs)])
    assert done.exit_code == 3
    assert "none: is true of no row: it contradicts itself" in done.output
