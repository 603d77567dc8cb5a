"""Rules with lists, the day and ``applies_when``, from answer to verdict and evidence, on both databases."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import scratch_database, shipped_packs
from server.catalog.catalog import load_catalog
from server.catalog.check import check_queries
from server.evaluate.case_check import check_cases
from server.evaluate.cases import run_cases
from server.evaluate.check import check_controls
from tests.support import postgres

CONTROL = """title: Packages are of this year, and at their least version
why: Made up.
severity: low
platforms:
  linux:
    query: made_up
    every: >-
      installed_at >= day_end() - 10 * 86400
      AND version_compare(version, list_value('least', 'version', name)) >= 0
    applies_when: in_list('least', name)
    undecided: name = ''
    empty: fail
    confidence: draft
remediation: {linux: Made up.}
limits: Made up.
"""
LIST = """title: Least versions
as_of: "2026-11-24"
columns: {name: text, version: text}
key: [name]
entries:
  - [ssh, "9.10"]
"""
QUERY = """-- Made up.
-- columns: installed_at bigint
SELECT name, version, size AS installed_at FROM deb_packages
"""
# 2026-09-21 ends at 1790035200.
CASES = """cases:
  - name: current
    platform: linux
    rows: [{name: ssh, version: "1:9.10", installed_at: "1789171200"}]
    status: fail
    reason: rows_break_rule
    evidence: [0]
  - name: current and new
    platform: linux
    rows: [{name: ssh, version: "9.10.0-1", installed_at: "1789171200"}]
    status: pass
    evidence: [0]
  - name: the same a day later
    platform: linux
    day: 2026-09-22
    rows: [{name: ssh, version: "9.10.0-1", installed_at: "1789171200"}]
    status: fail
    reason: rows_break_rule
    evidence: [0]
  - name: old beside another
    platform: linux
    rows:
      - {name: ssh, version: "9.9", installed_at: "1790000000"}
      - {name: "", version: "9.9", installed_at: "1790000000"}
    status: fail
    reason: rows_break_rule
    evidence: [0]
  - name: nothing of the list
    platform: linux
    rows:
      - {name: vim, version: "9.1", installed_at: ""}
      - {name: ed, version: "1", installed_at: ""}
    status: not_applicable
    reason: condition
    evidence: [0, 1]
  - name: nothing of the list, and one that may be
    platform: linux
    rows:
      - {name: vim, version: "9.1", installed_at: ""}
      - {name: "", version: "9.9", installed_at: ""}
    status: error
    reason: undecided
    evidence: [1]
  - name: malformed
    platform: linux
    rows: [{name: ssh, version: "9.10", installed_at: x}]
    status: error
    reason: undecided
    evidence: [0]
  - name: empty
    platform: linux
    rows: []
    status: fail
    reason: empty
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    packs = Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))
    (packs / "lists").mkdir(exist_ok=True)
    (packs / "lists" / "least.yaml").write_text(LIST)
    (packs / "queries" / "made_up.linux.sql").write_text(QUERY)
    folder = packs / "controls" / "software" / "packages-current"
    folder.mkdir(parents=True)
    (folder / "control.yaml").write_text(CONTROL)
    (folder / "cases.yaml").write_text(CASES)
    return packs


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_the_verdicts(packs: Path, kind: str) -> None:
    catalog = load_catalog(packs)
    assert check_queries(catalog) + await check_controls(catalog) + list(check_cases(catalog)) == []
    async with scratch_database(postgres.cluster() if kind == "postgres" else None) as driver:
        results = await run_cases(driver, catalog, ["packages-current"])
    assert [(r.case.name, r.status, r.reason, r.evidence) for r in results if not r.passed] == []


async def test_a_condition_wants_a_case(packs: Path) -> None:
    cases = packs / "controls" / "software" / "packages-current" / "cases.yaml"
    before, _, after = CASES.partition("  - name: nothing of the list\n")
    cases.write_text(before + after[after.index("  - name: nothing of the list, and") :])
    assert "no case of a device that it does not apply to for linux" in str(check_cases(load_catalog(packs)))
