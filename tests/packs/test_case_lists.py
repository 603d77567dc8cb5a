"""Cases that say what Muster knows of people and devices: entries of the lists that it fills itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import scratch_database, shipped_packs
from server.catalog.catalog import load_catalog, read_catalog
from server.evaluate.case_check import check_cases
from server.evaluate.cases import run_cases
from tests.support import postgres

CONTROL = """\
title: Nobody who has left has an account
why: Nobody looks after it.
severity: high
platforms:
  linux:
    query: users
    none: in_list('departed_accounts', lower(username))
    undecided: username = ''
    empty: error
    confidence: observed
remediation: {linux: Lock the account.}
limits: Accounts of the system only.
"""
ADA, BOB, NONE = (
    f'{{uid: "7", gid: "7", username: "{name}", description: "", directory: /, shell: ""}}'
    for name in ("Ada", "bob", "")
)
CASES = f"""\
cases:
  - {{name: nobody has left, platform: linux, rows: [{ADA}, {BOB}], status: pass, evidence: []}}
  - name: Ada has left
    platform: linux
    lists: {{departed_accounts: [[ada]]}}
    rows: [{ADA}, {BOB}]
    status: fail
    reason: rows_match
    evidence: [0]
  - name: both have left
    platform: linux
    lists: {{departed_accounts: [[ada, "2026-09-01"], [bob, "2026-09-02"]], asset_register: [[serial, issued]]}}
    rows: [{ADA}, {BOB}]
    status: fail
    reason: rows_match
    evidence: [0, 1]
  - {{name: another has left, platform: linux, lists: {{departed_accounts: [[eve]]}}, rows: [{ADA}], status: pass}}
  - {{name: no name, platform: linux, rows: [{NONE}], status: error, reason: undecided, evidence: [0]}}
  - {{name: no row, platform: linux, rows: [], status: error, reason: empty}}
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    folder = packs / "controls" / "accounts" / "departed-locked"
    folder.mkdir()
    (folder / "control.yaml").write_text(CONTROL)
    (folder / "cases.yaml").write_text(CASES)
    return packs


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_each_case_has_lists_of_its_own(packs: Path, kind: str) -> None:
    catalog = load_catalog(packs)
    assert check_cases(catalog) == []
    async with scratch_database(postgres.cluster() if kind == "postgres" else None) as driver:
        results = await run_cases(driver, catalog, ["departed-locked"])
    assert [result.case.name for result in results] == [case.name for case in catalog.controls["departed-locked"].cases]
    assert [result for result in results if not result.passed] == []


@pytest.mark.parametrize(
    ("lists", "what"),
    [
        ("departed_acounts: [[ada]]", "Muster fills no list 'departed_acounts'\n    did you mean 'departed_accounts'?"),
        ("departed_accounts: [[ada, '2026-09-01', x]]", "an entry of departed_accounts is: account, last_day"),
        ("departed_accounts: [[]]", "cases.1.lists.departed_accounts.0: List should have at least 1 item"),
        ("departed_accounts: [ada]", "cases.1.lists.departed_accounts.0: Input should be a valid list"),
        ("departed_accounts: [[7]]", "cases.1.lists.departed_accounts.0.0: Input should be a valid string"),
    ],
)
def test_a_list_that_is_wrong(packs: Path, lists: str, what: str) -> None:
    path = packs / "controls" / "accounts" / "departed-locked" / "cases.yaml"
    path.write_text(CASES.replace("departed_accounts: [[ada]]", lists))
    said = "\n".join(str(problem) for problem in read_catalog(packs)[1])
    assert "controls/accounts/departed-locked/cases.yaml:" in said
    assert what in said
