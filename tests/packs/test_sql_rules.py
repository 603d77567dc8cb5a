"""Rules of several queries in a packs folder: problems at their places, and their cases."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import load_catalog, read_catalog
from server.catalog.compare import compare
from server.evaluate.check import check_catalog
from tests.support.server import muster_here

AREA = "controls/accounts"
CONTROL = "daily-work-without-admin-rights"
FILE, CASES = f"{AREA}/{CONTROL}/control.yaml", f"{AREA}/{CONTROL}/cases.yaml"


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


def change(packs: Path, file: str, old: str, new: str) -> None:
    text = (packs / file).read_text()
    assert old in text
    (packs / file).write_text(text.replace(old, new, 1))


def problems(packs: Path) -> list[str]:
    catalog, found = read_catalog(packs)
    found += [] if found else asyncio.run(check_catalog(catalog))
    return [f"{one.file}:{one.line}:{one.column}: {one.message}" for one in found]


def place(packs: Path, file: str, word: str) -> str:
    """Line and column of a word's first place."""
    for number, line in enumerate((packs / file).read_text().splitlines(), 1):
        if word in line:
            return f"{file}:{number}:{line.index(word) + 1}: "
    raise AssertionError(word)


def test_an_unknown_column_is_pointed_at(packs: Path) -> None:
    change(packs, FILE, "WHERE a.account NOT IN", "WHERE a.acount NOT IN")
    what = "the query local_admins gives no column 'acount'; did you mean 'account'?"
    found = problems(packs)
    assert f"{place(packs, FILE, 'acount NOT')}linux: {what}" in found
    assert len(found) == 3  # the rule of every platform is the same


def test_a_query_that_is_not_there(packs: Path) -> None:
    change(packs, FILE, "FROM accounts_in_use WHERE", "FROM acounts_in_use WHERE")
    assert f"{place(packs, FILE, 'acounts_in_use')}there is no query 'acounts_in_use' for linux" in problems(packs)


def test_a_query_that_a_platform_does_not_have(packs: Path) -> None:
    change(packs, FILE, "SELECT 1 FROM local_admins WHERE", "SELECT 1 FROM last_logins WHERE")
    found = [one for one in problems(packs) if "there is no query" in one]
    assert [one.partition(": ")[2] for one in found] == ["there is no query 'last_logins' for windows"]


def test_no_query_at_all(packs: Path) -> None:
    text = (packs / FILE).read_text()
    start, end = text.index("    sql: &rule >-"), text.index("    evidence: &shown")
    (packs / FILE).write_text(f"{text[:start]}    sql: &rule COUNT(*) = 0\n{text[end:]}")
    assert any("linux: no query is named" in one for one in problems(packs))


def test_columns_without_a_past_and_values_that_are_not_stored(packs: Path) -> None:
    change(
        packs, FILE, "SELECT 1 FROM local_admins WHERE account <> ''", "SELECT 1 FROM osquery_info WHERE start_time > 0"
    )
    (packs / "minimise.yaml").write_text(
        "rules: [{query: accounts_in_use, columns: [account], action: hash, why: Names.}]"
    )
    found = "\n".join(problems(packs))
    assert "linux: column 'start_time' of osquery_info is volatile, so its past is not kept" in found
    assert f"{CONTROL} judges accounts_in_use.account on linux, which this rule would hash" in found


def test_what_cases_need(packs: Path) -> None:
    change(packs, CASES, '        - {account: root, through: uid 0, uid: "0"}', '        - {account: root, uid: "0"}')
    change(packs, CASES, "      accounts_in_use:", "      accounts_used:")
    found = "\n".join(problems(packs))
    assert "local_admins, row 0 has no through" in found
    assert "the rule judges no query 'accounts_used'" in found
    assert "rows_of has no accounts_in_use" in found


def test_cases_of_one_query_and_of_several_do_not_mix(packs: Path) -> None:
    (packs / CASES).write_text("cases: [{name: x, platform: linux, rows: [{account: x}], status: pass}]")
    found = "\n".join(problems(packs))
    assert "rows is for rules of one query" in found
    assert "no case of a failure for linux" in found
    assert "no case of an empty answer for linux" in found
    (packs / CASES).write_text("cases: [{name: x, platform: linux, status: pass}]")
    assert "give rows or, for a rule of the kind sql, rows_of" in "\n".join(problems(packs))


def test_a_malformed_row_is_wanted_of_a_rule_that_reads_numbers(packs: Path) -> None:
    change(packs, FILE, "SELECT 1 FROM local_admins WHERE account <> ''", "SELECT 1 FROM local_admins WHERE uid >= 0")
    assert "no case of a malformed row for linux" in "\n".join(problems(packs))


def test_a_case_that_comes_out_otherwise_shows_the_rows(packs: Path) -> None:
    change(packs, CASES, "evidence_rows: [{account: ada,", "evidence_rows: [{account: grace,")
    done = muster_here("packs", "test", "--packs", str(packs), "--control", CONTROL, check=False)
    assert done.returncode == 3
    assert "    - account=grace  through=group sudo\n    + account=ada  through=group sudo" in done.stdout


def test_what_is_compared(packs: Path) -> None:
    before = load_catalog(shipped_packs())
    change(packs, FILE, "SELECT a.account, a.through FROM", "SELECT DISTINCT a.account FROM")
    lines = [line for one in compare(before, read_catalog(packs)[0]) for line in one.facts]
    assert any(line.startswith("linux evidence:") for line in lines)
