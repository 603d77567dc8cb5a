"""What an author reads when a pack is wrong: the file, the line, what, and how to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import read_catalog
from server.catalog.check import check_queries
from server.evaluate.check import check_controls
from tests.support.server import muster_here

CONTROL = "controls/accounts/only-root-has-uid-0/control.yaml"

Change = Callable[[Path], None]


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A copy of the shipped packs to spoil."""
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


async def problems(packs: Path) -> str:
    catalog, found = read_catalog(packs)
    if not found:
        found = check_queries(catalog) + await check_controls(catalog)
    return "\n".join(str(problem) for problem in found)


QUERIES = [
    ("SELECT uid FROM userz", "no such table: userz", "did you mean 'users'?"),
    ("SELECT uidd FROM users", "no such column: uidd", "did you mean 'uid'?"),
    ("SELECT CAST(uidd AS INTEGER) AS uid FROM users", "no such column: uidd", "did you mean 'uid'?"),
    ("SELECT * FROM users", "SELECT * is not allowed", "name the columns"),
    ("SELECT uid, gid AS uid FROM users", "column 'uid' is given twice", ""),
    ("SELECT uid FROM users; SELECT 1", "2 statements", ""),
    ("DROP TABLE users", "exactly one SELECT", ""),
    ("ATTACH 'x' AS y", "exactly one SELECT", ""),
    ("PRAGMA table_info(users)", "exactly one SELECT", ""),
    ("SELECT uid FROM", "not SQL", ""),
    ("", "the file holds no SQL", ""),
    ("SELECT upper(username) AS u FROM users", "the type of column 'u' is not known", "-- columns: u text"),
    ("SELECT CAST(1 AS INTEGER) AS n FROM alf", "no such table: alf", "alf exists on darwin only"),
]


@pytest.mark.parametrize(("sql", "what", "hint"), QUERIES, ids=[sql for sql, _, _ in QUERIES])
async def test_a_bad_query(packs: Path, sql: str, what: str, hint: str) -> None:
    (packs / "queries" / "made_up.linux.sql").write_text(f"-- A made-up query.\n{sql}\n")
    said = await problems(packs)
    assert "queries/made_up.linux.sql:" in said
    assert what in said
    assert hint in said


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("-- A query.\n-- moode: state", "unknown header key 'moode'"),
        ("-- A query.\n-- mode: diff", "mode is 'diff'"),
        ("-- A query.\n-- mode: state\n-- mode: state", "given twice"),
        ("-- A query.\n-- volatile: gone", "the query gives no column 'gone'"),
        ("-- A query.\n-- columns: uid integer", "is not a name and one of"),
        ("", "no description"),
    ],
)
async def test_a_bad_header(packs: Path, header: str, what: str) -> None:
    (packs / "queries" / "made_up.linux.sql").write_text(f"{header}\nSELECT uid FROM users\n")
    assert what in await problems(packs)


async def test_a_bad_file_name(packs: Path) -> None:
    (packs / "queries" / "Users.solaris.sql").write_text("-- x\nSELECT uid FROM users")
    assert "is not <query>.sql" in await problems(packs)


async def test_one_query_in_two_files(packs: Path) -> None:
    (packs / "queries" / "users.linux.sql").write_text("-- x\nSELECT uid FROM users")
    assert "is given for linux by" in await problems(packs)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("severity: high", "severty: high", "unknown key 'severty'\n    did you mean 'severity'?"),
        ("severity: high", "severity: huge", "severity: Input should be"),
        ("severity: high\n", "", "key 'severity' is missing"),
        ("query: users", "query: usrs", "there is no query 'usrs' for linux\n    did you mean 'users'?"),
        ("&second_root uid = 0", "&second_root uidd = 0", "the query gives no column 'uidd'; did you mean 'uid'?"),
        ("&second_root uid = 0", "&second_root uid = 'zero'", "both sides must be of one kind"),
        ("empty: error", "empty: maybe", "Input should be 'pass', 'fail', 'error' or 'not_applicable'"),
        ("none: &second_root", "every: uid = 0\n    none: &second_root", "exactly one of every, none, any"),
        ("title:", "title: [", "not YAML"),
    ],
)
async def test_a_bad_control(packs: Path, old: str, new: str, what: str) -> None:
    path = packs / CONTROL
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    said = await problems(packs)
    assert f"{CONTROL}:" in said
    assert what in said


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("mode: latest", "mode of users is latest"),
        ("mode: events", "mode of users is events"),
        ("volatile: uid", "column 'uid' is volatile"),
    ],
)
async def test_a_rule_about_what_has_no_past(packs: Path, header: str, what: str) -> None:
    path = packs / "queries" / "users.sql"
    path.write_text(path.read_text().replace("SELECT", f"-- {header}\nSELECT", 1))
    assert what in await problems(packs)


async def test_the_line_is_the_right_one(packs: Path) -> None:
    path = packs / CONTROL
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("severity"))
    path.write_text("\n".join(lines).replace("severity: high", "severity: huge"))
    assert f"{CONTROL}:{number}:" in await problems(packs)


async def test_a_control_without_cases(packs: Path) -> None:
    (packs / CONTROL).with_name("cases.yaml").unlink()
    assert "no cases.yaml" in await problems(packs)


@pytest.mark.parametrize("text", ["7", "[]", "", "- a", "x: &a [*a]", "\x00", "a: b: c"])
async def test_a_pack_that_is_no_mapping(packs: Path, text: str) -> None:
    (packs / "made-up.yaml").write_text(text)
    assert "made-up.yaml:" in await problems(packs)


async def test_a_pack_that_names_what_is_not_there(packs: Path) -> None:
    (packs / "made-up.yaml").write_text("title: x\nqueries:\n  usrs:\ncontrols: [osquery-curent]\ninterval: 5\n")
    assert "interval: Input should be greater than or equal to 60" in await problems(packs)
    (packs / "made-up.yaml").write_text("title: x\nqueries:\n  usrs:\ncontrols: [osquery-curent]\n")
    said = await problems(packs)
    assert "there is no query 'usrs'\n    did you mean 'users'?" in said
    assert "there is no control 'osquery-curent'\n    did you mean 'osquery-current'?" in said


def test_the_command_ends_with_3_and_serves_nothing(packs: Path, tmp_path: Path) -> None:
    (packs / "queries" / "made_up.linux.sql").write_text("-- x\nSELECT uid FROM userz\n")
    done = muster_here("packs", "check", "--packs", str(packs), check=False)
    assert done.returncode == 3
    assert "userz" in done.stdout
    assert "1 problem(s)" in done.stderr
    good = muster_here("packs", "check")
    assert "no problems" in good.stdout


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("  linux:", "  linus:", "unknown key 'platforms.linus'", "did you mean 'linux'?"),
        ("  linux:", "  macos:", "unknown key 'platforms.macos'", "known are: darwin, linux, windows"),
        ("severity: high", "severity: hgih", "severity: Input should be 'low'", "did you mean 'high'?"),
        (
            "severity: high",
            "fresh_within_days: 1d",
            "fresh_within_days: Input should be a valid integer",
            "a plain number",
        ),
    ],
)
async def test_what_was_likely_meant(packs: Path, old: str, new: str, what: str, hint: str) -> None:
    file = packs / CONTROL
    file.write_text(file.read_text().replace(old, new))
    said = (await problems(packs)).splitlines()
    at = next(number for number, line in enumerate(said) if what in line)
    assert hint in said[at + 1]
    assert "in quotes" not in said[at + 1]
