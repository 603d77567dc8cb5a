"""``muster packs test``: what an author reads of a case that fails, and that nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from server.app import scratch_database, shipped_packs
from server.catalog.catalog import load_catalog, read_catalog
from server.drivers.postgres_scratch import PREFIX
from server.evaluate.cases import CaseResult, run_cases
from tests.support import postgres
from tests.support.server import ROOT as CHECKOUT
from tests.support.server import muster, muster_here
from tests.support.stores import shipped_catalog

CONTROL = "only-root-has-uid-0"
FOLDER = f"controls/accounts/{CONTROL}"
ROOT = '{uid: "0", gid: "0", username: root, description: "", directory: /root, shell: ""}'
TOOR = '{uid: "0", gid: "0", username: toor, description: "", directory: /root, shell: ""}'


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


def write(packs: Path, *cases: str) -> None:
    lines = "".join(f"  - {{name: made up, platform: linux, {case}}}\n" for case in cases)
    (packs / FOLDER / "cases.yaml").write_text(f"cases:\n{lines}")


def change(packs: Path, old: str, new: str) -> None:
    path = packs / FOLDER / "control.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def results(packs: Path) -> list[CaseResult]:
    async with scratch_database() as driver:
        return await run_cases(driver, load_catalog(packs), [CONTROL])


@pytest.mark.parametrize(
    ("case", "passed"),
    [
        (f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match, evidence: [1]", True),
        (f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match", True),
        (f"rows: [{TOOR}, {TOOR}], status: fail, reason: rows_match, evidence: [0, 1]", True),
        (f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match, evidence: [0, 1]", False),
        (f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_break_rule", False),
        (f"rows: [{ROOT}, {TOOR}], status: fail", False),
        (f"rows: [{ROOT}, {TOOR}], status: pass", False),
        (f"rows: [{ROOT}], status: pass, evidence: []", True),
        (f"rows: [{ROOT}], status: pass, evidence: [0]", False),
        (f"rows: [{ROOT}], status: pass, evidence: [], day: 2024-02-29", True),
        (f"rows: [{ROOT}], status: pass, evidence: [], day: '1999-12-31'", True),
        ("rows: [], status: error, reason: empty", True),
    ],
)
async def test_a_case_is_what_it_says_or_fails(packs: Path, case: str, passed: bool) -> None:
    write(packs, case)
    assert [result.passed for result in await results(packs)] == [passed]


async def test_results_are_in_the_order_of_the_file_whatever_their_days(packs: Path) -> None:
    days = ["2026-09-21", "2025-01-01", "2026-09-22", "2025-01-01"]
    write(packs, *(f"rows: [{ROOT}], status: pass, evidence: [], day: {day}" for day in days))
    found = await results(packs)
    assert [str(result.case.day) for result in found] == days
    assert [result.line for result in found] == [2, 3, 4, 5]
    assert all(result.passed for result in found)


async def test_drafts_are_run_too(packs: Path) -> None:
    change(packs, "confidence: observed", "confidence: draft")
    write(packs, f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match, evidence: [1]")
    assert [result.passed for result in await results(packs)] == [True]


async def test_minimisation_does_not_get_in_the_way(packs: Path) -> None:
    rule = "rules: [{query: users, columns: [description, shell], action: hash, why: x}]"
    (packs / "minimise.yaml").write_text(rule)
    write(packs, f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match, evidence: [1]")
    assert [result.passed for result in await results(packs)] == [True]


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("rows: [], status: stale", "cases.0.status: Input should be 'pass', 'fail', 'error' or 'not_applicable'"),
        ("rows: [], status: pass, evidence: [-1]", "cases.0.evidence.0: Input should be greater than or equal to 0"),
        ("rows: [], status: pass, day: yesterday", "cases.0.day: Input should be a valid date"),
        ("rows: [], status: pass, day: 7", "cases.0.day: Input should be a valid date"),
        ("rows: [], stauts: pass, status: pass", "unknown key 'cases.0.stauts'\n    did you mean 'status'?"),
        ("rows: [{uid: 0}], status: pass", "cases.0.rows.0.uid: Input should be a valid string\n    put it in quotes"),
        (
            "rows: [{uid: 1.10}], status: pass",
            "cases.0.rows.0.uid: Input should be a valid string\n    put it in quotes",
        ),
        ("rows: [{uid: ~}], status: pass", "cases.0.rows.0.uid: Input should be a valid string"),
        ("rows: none, status: pass", "cases.0.rows: Input should be a valid list"),
    ],
)
def test_a_case_that_is_wrong(packs: Path, case: str, what: str) -> None:
    write(packs, case)
    said = "\n".join(str(problem) for problem in read_catalog(packs)[1])
    assert f"{FOLDER}/cases.yaml:2: {what}" in said


def test_a_case_of_a_platform_without_a_rule(packs: Path) -> None:
    write(packs, f"rows: [{ROOT}], status: pass")
    (packs / FOLDER / "cases.yaml").write_text((packs / FOLDER / "cases.yaml").read_text().replace("linux", "windows"))
    said = "\n".join(str(problem) for problem in read_catalog(packs)[1])
    assert f"{FOLDER}/cases.yaml:2: {CONTROL} has no rule for windows" in said


FAILING = f"rows: [{ROOT}, {TOOR}], status: fail, reason: rows_match, evidence: [0]"


async def test_a_rule_that_is_broken_says_why(packs: Path) -> None:
    change(packs, "&second_root uid = 0", "&second_root uidd = 0")
    write(packs, f"rows: [{ROOT}], status: error, reason: rule_broken")
    (result,) = await results(packs)
    assert not result.passed
    assert "the query gives no column 'uidd'" in result.problem


def test_what_is_printed_of_a_case_that_fails(packs: Path) -> None:
    write(packs, f"rows: [{ROOT}], status: pass", FAILING)
    done = muster_here("packs", "test", "--packs", str(packs), "--control", CONTROL, check=False)
    assert done.returncode == 3
    assert done.stdout.startswith(
        f"{FOLDER}/cases.yaml:3: {CONTROL}: made up (SQLite)\n"
        "    says  fail (rows_match), by row 0\n"
        "    is    fail (rows_match), by row 1\n"
        "    - 0: uid=0  gid=0  username=root  description=''  directory=/root  shell=''\n"
        "    + 1: uid=0  gid=0  username=toor  description=''  directory=/root  shell=''\n\n"
        "SQLite: 2 case(s) of 1 control(s), 1 failed ("
    )
    assert done.stderr == "muster: 1 case(s) failed\n"


def test_json_for_a_program(packs: Path) -> None:
    write(packs, FAILING)
    done = muster_here("packs", "test", "--packs", str(packs), "--control", CONTROL, "--json", check=False)
    assert done.returncode == 3
    (run,) = json.loads(done.stdout)
    assert (run["database"], run["cases"], run["failed"]) == ("sqlite", 1, 1)
    (result,) = run["results"]
    assert result["got"] == {"status": "fail", "reason": "rows_match", "evidence": [1]}
    assert result["expected"] == {"status": "fail", "reason": "rows_match", "evidence": [0]}
    assert (result["file"], result["line"], result["passed"]) == (f"{FOLDER}/cases.yaml", 2, False)


async def test_on_postgres_in_a_database_of_its_own(packs: Path) -> None:
    url = await postgres.new_database()
    try:
        done = muster("packs", "test", "--control", CONTROL, "--database", url)
        lines = done.stdout.splitlines()
        number = len(shipped_catalog().controls[CONTROL].cases)
        for name, line in zip(("SQLite", "Postgres"), lines, strict=True):
            assert line.startswith(f"{name}: {number} case(s) of 1 control(s), none failed (")
        assert await postgres.run("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", url) == []
        assert await postgres.run(f"SELECT 1 FROM pg_database WHERE datname LIKE '{PREFIX}%'", url) == []
    finally:
        await postgres.drop_database(url)


def test_a_sqlite_file_is_not_for_it(tmp_path: Path) -> None:
    done = muster_here("packs", "test", "--database", f"sqlite:///{tmp_path / 'x.db'}", check=False)
    assert done.returncode == 2
    assert "temporary file in any case" in done.stderr


def test_a_control_that_is_not_there() -> None:
    done = muster_here("packs", "test", "--control", "only-root-has-uid-1", check=False)
    assert done.returncode == 2
    assert "there is no control 'only-root-has-uid-1'; did you mean 'only-root-has-uid-0'?" in done.stderr


def test_the_fleets_database_in_the_settings_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "muster.toml").write_text('database = "postgresql://nobody:x@127.0.0.1:1/none"\n')
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    done = muster("packs", "test", "--control", CONTROL, cwd=tmp_path)
    assert "SQLite: " in done.stdout
    assert "Postgres" not in done.stdout


def test_a_server_that_is_not_there() -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    done = muster("packs", "test", "--control", CONTROL, "--database", url, check=False)
    assert done.returncode == 4
    assert "cannot be opened" in done.stderr
    assert "secret" not in done.stderr
