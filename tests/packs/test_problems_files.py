"""Whatever is in a packs folder: problems or none, never an exception, and an end within seconds."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.app import shipped_packs
from server.catalog.budget import check_budget
from server.catalog.catalog import read_catalog
from server.catalog.check import check_queries
from server.catalog.problems import CatalogError, Problem
from server.cli.problems import print_problems
from server.evaluate.check import check_controls
from tests.support.server import muster_here

SECONDS = 20.0
QUERY, PACK = "queries/made_up.linux.sql", "made-up.yaml"
CONTROL = "controls/area/made-up/control.yaml"
USERS = "-- Users.\nSELECT uid FROM users\n"


def empty_packs(root: Path) -> Path:
    """A packs folder with the schema and one good query, pack and control to stand beside what is bad."""
    shutil.copytree(shipped_packs() / "schema", root / "schema")
    for name in ("users.sql", "guest_account.windows.sql", "guest_login.darwin.sql"):
        (root / "queries").mkdir(exist_ok=True)
        shutil.copy(shipped_packs() / "queries" / name, root / "queries")
    for name in ("guest-account-off", "only-root-has-uid-0"):
        control = Path("controls", "accounts", name)
        shutil.copytree(shipped_packs() / control, root / control)
    return root


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return empty_packs(tmp_path)


async def problems(packs: Path) -> list[Problem]:
    """All problems, as the command finds them; fails where that takes long, of this process's own time."""
    begun = time.process_time()
    catalog, found = read_catalog(packs)
    found = sorted({*found, *check_queries(catalog), *await check_controls(catalog), *check_budget(catalog)})
    print_problems(found, packs, terminal=True)
    assert time.process_time() - begun < SECONDS
    return found


def put(packs: Path, name: str, content: str | bytes) -> None:
    path = packs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def sql(text: str) -> str:
    return f"-- Made up.\n{text}\n"


FILES: list[tuple[str, str, str | bytes, str]] = [
    ("a binary file", QUERY, bytes(range(256)) * 64, "not UTF-8 text"),
    ("a long SQL", QUERY, sql("SELECT uid FROM users WHERE uid IN (" + ", ".join(["1"] * 40_000) + ")"), "longer than"),
    ("deep brackets", QUERY, sql("SELECT " + "(" * 1000 + "1" + ")" * 1000 + " AS a"), "nested too deep"),
    ("sub-selects", QUERY, sql("SELECT uid FROM " + "(SELECT uid FROM " * 1000 + "users" + ")" * 1000), "too deep"),
    ("deep CASE", QUERY, sql("SELECT " + "CASE WHEN 1 THEN " * 500 + "1" + " END" * 500 + " AS a"), "nested too deep"),
    ("open brackets", QUERY, sql("SELECT " + "(" * 60_000), "nested too deep"),
    ("many signs", QUERY, sql("SELECT " + "- " * 20_000 + "1 AS a"), "nested too deep"),
    ("a long chain", QUERY, sql("SELECT CAST(" + " || ".join(["uid"] * 8000) + " AS TEXT) AS a FROM users"), ""),
    ("an open text", QUERY, sql("SELECT '" + "'" * 50_000), "not SQL"),
    ("many columns", QUERY, sql("SELECT " + ", ".join(f"x{n}" for n in range(9000)) + " FROM users"), "more than 500"),
    ("many tables", QUERY, sql("SELECT 1 AS a FROM " + ", ".join(f"t{n}" for n in range(8000))), "no such table"),
    ("many joins", QUERY, sql("SELECT u1.uid FROM " + ", ".join(f"users u{n}" for n in range(63))), ""),
    ("many SELECTs", QUERY, sql(" UNION ALL ".join(["SELECT 1 AS a"] * 2500)), "nested too deep"),
    ("many statements", QUERY, sql("SELECT 1;" * 7000), "7000 statements"),
    ("a reversed chain of WITH", QUERY, sql(
        "WITH " + ", ".join(f"t{n} AS (SELECT c{n + 1} AS c{n} FROM t{n + 1})" for n in range(1200))
        + ", t1200 AS (SELECT uid AS c1200 FROM users) SELECT CAST(c0 AS TEXT) AS a FROM t0"), ""),
    ("a long header", QUERY, "-- x\n" + "-- volatile: " + ", ".join(f"a{n}" for n in range(50_000)) + "\nSELECT 1", ""),
    ("many headers", QUERY, "".join(f"-- a{'b' * (n % 9)}: x\n" for n in range(20_000)) + "SELECT 1", "has more than"),
    ("NUL", QUERY, sql("SELECT uid\0 FROM users"), ""),
    ("a parameter", QUERY, sql("SELECT uid FROM users WHERE uid = ?"), "the query has parameters"),
    ("a 10 MB pack", PACK, "title: x\n" + "# " + "y" * 99 + "\n" + ("#" * 99 + "\n") * 105_000, "larger than"),
    ("many names", PACK, "title: x\ncontrols:\n" + "".join(f"  - users{n}\n" for n in range(20_000)), "no control"),
    ("no mapping", PACK, "- a\n- b\n", "not a mapping"),
    ("deep nesting", PACK, "a: " + "[" * 5000 + "]" * 5000, ""),
    ("an alias bomb", PACK, "a0: &a0 [x, x]\n" + "".join(
        f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)), ""),
    ("an alias to itself", PACK, "title: &a [*a]", ""),
    ("no such date", PACK, "title: 2026-99-99", ""),
    ("an odd number", PACK, "title: 0x\ninterval: 1_000e9999\n", ""),
    ("two equal keys", PACK, "title: a\ntitle: b\n", "not YAML"),
    ("a tag", PACK, "title: !!python/object:os.system x\n", ""),
    ("a deep rule", CONTROL, "title: x\nplatforms: {linux: {query: users, every: '" + "(" * 3000 + "uid = 0'}}", ""),
    ("settings that are none", "fleet.yaml", "[]", "not a mapping"),
    ("exemptions of no day", "fleet.yaml", "exemption_days_max: 0", "greater than or equal to 1"),
    ("a negative budget", "fleet.yaml", "budget_seconds_a_day: -1", "greater than or equal to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "what"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
async def test_a_bad_file(packs: Path, name: str, content: str | bytes, what: str) -> None:
    put(packs, name, content)
    found = await problems(packs)
    if what:
        assert any(problem.file == name and what in problem.message for problem in found), found[:5]
    assert len(found) < 30_000
    for problem in found:
        assert problem.line >= 1
        assert problem.column >= 0


def _folder(path: Path) -> None:
    path.mkdir(parents=True)


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("made", [_folder, _link, _pipe], ids=["folder", "link", "pipe"])
@pytest.mark.parametrize("name", [QUERY, PACK, "fleet.yaml", "minimise.yaml", "controls/accounts/made-up/control.yaml"])
async def test_no_file_at_all(packs: Path, made: Callable[[Path], None], name: str) -> None:
    (packs / name).parent.mkdir(parents=True, exist_ok=True)
    made(packs / name)
    await problems(packs)


@pytest.mark.parametrize("file", ["osquery.json", "notes.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"tables": 7}', '{"moving": 7}', "\xff"])
def test_a_bad_schema(packs: Path, file: str, text: str) -> None:
    (packs / "schema" / file).write_text(text, encoding="latin-1")
    try:
        catalog, _ = read_catalog(packs)
    except CatalogError as error:
        assert error.problems[0].file.startswith("schema/")
    else:
        check_queries(catalog)


async def test_a_rule_is_wrong_at_its_own_line(packs: Path) -> None:
    path = packs / "controls/accounts/only-root-has-uid-0/control.yaml"
    path.write_text(
        path.read_text().replace("undecided: &unreadable uid IS NULL", "undecided: &unreadable uidd IS NULL")
    )
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if "uidd" in line)
    found = await problems(packs)
    first = found[0]
    assert (first.line, first.message) == (number, "linux: the query gives no column 'uidd'; did you mean 'uid'?")
    assert path.read_text().splitlines()[number - 1][first.column - 1 :].startswith("uidd")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_packs(tmp_path_factory.mktemp("any"))


SQL_PIECES = st.sampled_from(
    "SELECT FROM WHERE users file path uid hash ( ) , . * ; ' \" ` [ ] -- /* */ \n AS a JOIN ON USING WITH UNION ALL ="
    " LIKE IN CASE WHEN THEN END CAST INTEGER 1 'x' ? :a @b $c || + - NOT NULL EXISTS VALUES ORDER BY LIMIT OVER é \x00"
    " process_events ATTACH PRAGMA group_concat count json_each sqlite_master rowid mode: key: -- volatile:".split(" ")
)
ANY_SQL = st.one_of(st.text(max_size=200), st.lists(SQL_PIECES, max_size=40).map(" ".join))
ANY_YAML = st.one_of(
    st.text(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just("SELECT 1")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.one_of(
                    st.text(max_size=5),
                    st.sampled_from(
                        "title queries controls discovery platforms interval rules linux query every".split()
                    ),
                ),
                inner,
                max_size=6,
            ),
        ),
        max_leaves=12,
    ).map(json.dumps),
)
anything = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@anything
@given(text=ANY_SQL)
@example(text="SELECT a.* FROM (SELECT 1) a")
@example(text="VALUES (1)")
@example(text="(SELECT 1 AS a)")
@example(text="SELECT 1 AS a WHERE 1 ORDER BY")
async def test_any_text_as_sql(shared: Path, text: str) -> None:
    put(shared, QUERY, f"-- Made up.\n{text}".encode("utf-8", "surrogatepass"))
    await problems(shared)
    (shared / QUERY).unlink()


@anything
@given(
    text=ANY_YAML,
    name=st.sampled_from([PACK, CONTROL, "controls/area/made-up/cases.yaml", "fleet.yaml", "minimise.yaml"]),
)
async def test_any_text_as_yaml(shared: Path, text: str, name: str) -> None:
    put(shared, name, text.encode("utf-8", "surrogatepass"))
    await problems(shared)
    (shared / name).unlink()


def test_on_a_terminal_and_in_a_pipe(packs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(packs, QUERY, "-- Made up.\nSELECT uid,\n  uidd AS second\nFROM users\n")
    found = sorted(read_catalog(packs)[1])
    print_problems(found, packs, terminal=True)
    shown = capsys.readouterr().out
    assert f"{QUERY}:3:3: problem: no such column: uidd" in shown
    assert "    3 |   uidd AS second\n      |   ^^^^\n      = did you mean 'uid'?" in shown
    print_problems(found, packs, terminal=False)
    assert capsys.readouterr().out == f"{QUERY}:3: no such column: uidd\n    did you mean 'uid'?\n"


def test_nothing_that_moves_the_cursor_reaches_a_terminal(packs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(packs, QUERY, "-- Made up.\nSELECT uid, '\x1b[2J' AS x, uidd FROM users\n")
    print_problems(sorted(read_catalog(packs)[1]), packs, terminal=True)
    assert "\x1b[2J" not in capsys.readouterr().out


def test_json_has_the_column(packs: Path) -> None:
    put(packs, QUERY, sql("SELECT uidd FROM users"))
    put(packs, PACK, "title: x\nqueries:\n  gone:\n")
    done = muster_here("packs", "check", "--json", "--packs", str(packs), check=False)
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told[0] == {
        "file": PACK, "line": 3, "column": 3, "message": "there is no query 'gone'",
        "hint": "known are: guest_account, guest_login, made_up, users",
    }  # fmt: skip
    assert [(problem["file"], problem["line"], problem["column"]) for problem in told[1:]] == [(QUERY, 2, 8)]
