"""minimise.yaml: what its author reads when it is wrong, and that aliases in queries do not lead past it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from server.app import shipped_packs
from server.catalog.catalog import read_catalog
from server.catalog.lineage import known_query
from server.catalog.minimise import MinimiseFile, minimised_columns
from server.evaluate.check import check_controls
from tests.support.server import muster_here
from tests.support.stores import shipped_catalog


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_packs(), tmp_path / "packs"))


async def problems(packs: Path, rule: str) -> str:
    (packs / "minimise.yaml").write_text(f"# Made up.\nrules:\n  - {{{rule}, why: x}}\n")
    catalog, found = read_catalog(packs)
    if not found:
        found = await check_controls(catalog)
    return "\n".join(str(problem) for problem in found)


WRONG = [
    ("query: usrs, columns: [username], action: drop", "there is no query 'usrs'", "did you mean 'users'?"),
    ("query: users, columns: [usrname], action: drop", "no column 'usrname'", "did you mean 'username'?"),
    ("table: proceses, columns: [cmdline], action: drop", "no table 'proceses'", "did you mean 'processes'?"),
    ("table: syslog, columns: [message], action: drop", "no table 'syslog'", "syslog_events"),
    ("table: processes, columns: [cmd_line], action: drop", "no column 'cmd_line'", "did you mean 'cmdline'?"),
    ("foreign: users, columns: [username], action: drop", "a query of these packs", "write query:"),
    ("columns: [username], action: drop", "exactly one of query, foreign, table", ""),
    ("query: users, table: users, columns: [username], action: drop", "exactly one of query, foreign, table", ""),
    ("query: users, columns: [username], action: burn", "'drop', 'hash' or 'truncate'", ""),
    ("query: users, columns: [], action: drop", "columns", ""),
    ("query: users, columns: [username], action: truncate", "keep goes with truncate", ""),
    ("query: users, columns: [username], action: drop, keep: 3", "keep goes with truncate", ""),
    ("query: users, columns: [username], action: drop, where: {}", "equals, starts_with or contains", ""),
    ("query: users, columns: [username], action: drop, where: {matches: x}", "unknown key", ""),
    ("query: users, colums: [username], action: drop", "unknown key 'rules.0.colums'", "did you mean 'columns'?"),
    ("query: users, columns: [gid], action: hash", "users.gid is a bigint; hash leaves a text", "use drop"),
    ("query: users, columns: [username], action: hash", "only-root-has-uid-0 judges users.username on linux", "device"),
    ("table: users, columns: [uid], action: drop", "only-root-has-uid-0 judges users.uid on darwin", "device"),
    ("query: '*', columns: [encrypted], action: drop", "system-volume-encrypted judges system_volume.encrypted", ""),
]


@pytest.mark.parametrize(("rule", "what", "hint"), WRONG, ids=[rule for rule, _, _ in WRONG])
async def test_a_rule_that_is_wrong(packs: Path, rule: str, what: str, hint: str) -> None:
    said = await problems(packs, rule)
    assert "minimise.yaml:3: " in said
    assert what in said
    assert hint in said


def test_rules_that_are_no_file_are_not_no_rules(packs: Path) -> None:
    (packs / "minimise.yaml").unlink(missing_ok=True)
    (packs / "minimise.yaml").mkdir()
    assert [str(problem) for problem in read_catalog(packs)[1]] == ["minimise.yaml:1: not a plain file"]


@pytest.mark.parametrize(
    "rule",
    [
        "query: users, columns: [description], action: hash",
        "table: users, columns: [directory], action: truncate, keep: 5, where: {starts_with: [/home/]}",
        "foreign: shell_stuff, columns: ['*'], action: drop",
        "query: '*', columns: [owner_name], action: hash",
    ],
)
async def test_a_rule_that_is_right(packs: Path, rule: str) -> None:
    assert await problems(packs, rule) == ""


async def test_a_control_must_not_read_what_is_never_stored(packs: Path) -> None:
    query = packs / "queries" / "users.sql"
    query.write_text(query.read_text().replace("username,", "(SELECT command FROM shell_history) AS username,"))
    query.write_text(query.read_text().replace("\nSELECT", "\n-- columns: username text\nSELECT"))
    said = await problems(packs, "query: users, columns: [description], action: drop")
    assert "the rule reads users.username, which is never stored" in said


def test_the_check_says_what_is_not_stored(packs: Path) -> None:
    (packs / "queries" / "procs.linux.sql").write_text(
        "-- Processes.\nSELECT name, cmdline AS started_as FROM processes\n"
    )
    said = muster_here("packs", "check", "--packs", str(packs)).stdout
    assert "queries/procs.linux.sql: started_as: drop (minimise.yaml:" in said


def test_no_shipped_query_loses_anything() -> None:
    catalog = shipped_catalog()
    lost = {
        (name, platform): notes
        for (name, platform), query in catalog.queries.items()
        if (notes := minimised_columns(catalog.minimisation, query, platform))
    }
    assert lost == {}


def test_a_folder_without_rules_has_the_never_list(packs: Path) -> None:
    (packs / "minimise.yaml").unlink()
    (packs / "queries" / "typed.linux.sql").write_text("-- Typed.\nSELECT uid, command AS c FROM shell_history\n")
    catalog, found = read_catalog(packs)
    assert found == []
    notes = minimised_columns(catalog.minimisation, catalog.queries["typed", "linux"], "linux")
    assert notes == {"c": "never stored"}


def test_the_file_has_a_json_schema() -> None:
    assert MinimiseFile.model_json_schema()["properties"]["rules"]["type"] == "array"


COMMAND = {("shell_history", "command")}


def select(sql: str) -> exp.Query:
    statement = sqlglot.parse_one(sql, read="sqlite")
    assert isinstance(statement, exp.Query)
    return statement


LINEAGE = [
    ("SELECT command AS c FROM shell_history", COMMAND),
    ("SELECT h.command AS c FROM users u JOIN shell_history h USING (uid)", COMMAND),
    ("SELECT upper(substr(COMMAND, 1, 9)) || '!' AS c FROM SHELL_HISTORY", COMMAND),
    ("SELECT c FROM (SELECT command AS c FROM shell_history)", COMMAND),
    ("SELECT t.c FROM (SELECT x.command AS c FROM shell_history x) t", COMMAND),
    ("SELECT x.c FROM (SELECT x.command AS c FROM shell_history x) x", COMMAND),
    ("SELECT c FROM (SELECT command AS b FROM shell_history) JOIN (SELECT gid AS c FROM users)", {("users", "gid")}),
    ("SELECT command AS c FROM (SELECT * FROM shell_history)", COMMAND),
    ("WITH w AS (SELECT command AS b FROM shell_history), v AS (SELECT b AS a FROM w) SELECT a AS c FROM v", COMMAND),
    ("WITH w (a) AS (SELECT command FROM shell_history) SELECT w.a AS c FROM w", COMMAND),
    ("SELECT username AS c FROM users UNION SELECT command FROM shell_history", COMMAND | {("users", "username")}),
    ("SELECT (SELECT group_concat(command) FROM shell_history h WHERE h.uid = u.uid) AS c FROM users u", COMMAND),
    ("SELECT CASE WHEN uid = 0 THEN command ELSE 'x' END AS c FROM shell_history", COMMAND),
    ("SELECT coalesce(nullif(command, ''), 'none') AS c FROM shell_history", COMMAND),
    ("SELECT CAST(command AS TEXT) AS c FROM shell_history", COMMAND),
    ("SELECT environment AS c FROM process_events", {("process_events", "env")}),
    ("SELECT max(command) OVER () AS c FROM shell_history", COMMAND),
    ("SELECT COUNT(command) AS c FROM shell_history", set()),
    ("SELECT EXISTS (SELECT 1 FROM shell_history WHERE command LIKE '%x%') AS c FROM users", set()),
    ("SELECT command LIKE '%sudo%' AS c FROM shell_history", set()),
    ("SELECT CASE WHEN command = 'x' THEN 1 ELSE 0 END AS c FROM shell_history", set()),
]


@pytest.mark.parametrize(("sql", "origins"), LINEAGE, ids=[sql for sql, _ in LINEAGE])
def test_where_a_column_comes_from(sql: str, origins: set[tuple[str, str]]) -> None:
    assert known_query("v", select(sql), shipped_catalog().schema).origins["c"] == origins


@pytest.mark.parametrize(
    ("sql", "asks"),
    [
        ("SELECT data FROM registry WHERE name = 'DefaultPassword'", True),
        ("SELECT value FROM preferences WHERE key LIKE '%password%'", True),
        ("SELECT value FROM preferences WHERE key = 'minPasswordLength'", False),
    ],
)
def test_a_query_that_picks_a_secret_by_its_name(sql: str, asks: bool) -> None:
    assert known_query("v", select(sql), shipped_catalog().schema).asks_for_secret == asks
