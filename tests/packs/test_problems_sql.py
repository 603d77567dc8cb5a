"""What is wrong with a query as osquery reads it: the file, the place in the SQL, what, and how to mend it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.budget import check_budget
from server.catalog.catalog import read_catalog
from server.catalog.check import check_queries
from server.catalog.planner import Planner
from server.catalog.problems import Problem
from server.catalog.schema import load_schema


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A packs folder with nothing in it but the schema."""
    shutil.copytree(shipped_packs() / "schema", tmp_path / "schema")
    (tmp_path / "queries").mkdir()
    return tmp_path


def problems(packs: Path) -> list[Problem]:
    catalog, found = read_catalog(packs)
    return sorted({*found, *check_queries(catalog), *check_budget(catalog)})


def of_query(packs: Path, text: str, name: str = "made_up.linux.sql") -> list[Problem]:
    (packs / "queries" / name).write_text(f"-- A made-up query.\n{text}\n")
    return problems(packs)


ONE = [
    # The SQL, the place (line:column) in the file, what, how to mend it.
    ("SELECT uid,\n  uidd FROM users", "3:3", "no such column: uidd", "did you mean 'uid'?"),
    ("SELECT uid\nFROM userz", "3:6", "no such table: userz", "did you mean 'users'?"),
    ("SELECT path FROM file", "2:18", "file cannot be read without a value of path or directory", "by =, IN, LIKE"),
    ("SELECT md5 FROM hash WHERE md5 <> ''", "2:17", "hash cannot be read without a value of path", "or a join"),
    ("SELECT path FROM file WHERE path > '/a'", "2:18", "file cannot be read without", "give path or directory"),
    ("SELECT path FROM file WHERE path GLOB '/a*'", "2:18", "file finds nothing by this condition on path", "LIKE"),
    (
        "SELECT data FROM magic WHERE path LIKE '/a%'",
        "2:18",
        "magic finds nothing by this condition",
        "=, IN or a join",
    ),
    (
        "SELECT f.path FROM file f LEFT JOIN users u ON f.directory = u.directory",
        "2:20",
        "file cannot be read without a value of path or directory",
        "a LEFT JOIN only where file is the table on its right",
    ),
    (
        "SELECT key FROM authorized_keys",
        "2:17",
        "authorized_keys is read without uid",
        "users CROSS JOIN authorized_keys",
    ),
    ("SELECT path FROM process_events", "2:18", "process_events holds events", "-- mode: events"),
    ("-- mode: events\nSELECT uid FROM users", "3", "no table of the query holds events", "mode state"),
    ("SELECT name, pid FROM processes", "2:14", "'pid' is processes.pid, which moves all the time", "-- volatile: pid"),
    ("SELECT total_seconds AS up FROM uptime", "2:25", "'up' is uptime.total_seconds, which moves", "volatile: up"),
    (
        "SELECT version, arguments, path, device FROM kernel_info",
        "2:46",
        "every column of kernel_info is read",
        "leave",
    ),
    ("SELECT * FROM users", "2:8", "SELECT * is not allowed: name the columns", "older rows"),
    ("SELECT uid, gid,\n  euid AS uid FROM processes", "3:11", "column 'uid' is given twice", "another name with AS"),
    ("SELECT uid, is_hidden FROM users", "2:13", "users.is_hidden has a value on darwin only", "a file of its own"),
    ("SELECT uid FROM users WHERE is_hidden = 0", "2:29", "users.is_hidden has a value on darwin only", ""),
    ("SELECT CAST(1 AS INTEGER) AS n FROM alf", "2:37", "no such table: alf", "alf exists on darwin only"),
    ("SELECT uid FROM users; SELECT 1 AS a", "2:22", "2 statements", "a file each"),
    ("ATTACH 'x' AS y", "2", "ATTACH is not a SELECT", ""),
    ("PRAGMA table_info(users)", "2", "PRAGMA is not a SELECT", ""),
    ("DELETE FROM users", "2", "DELETE is not a SELECT", ""),
    ("SELECT CAST(name AS TEXT) AS n FROM sqlite_master", "2:37", "sqlite_master is SQLite's own", ""),
    ("SELECT CAST(name AS TEXT) AS n FROM pragma_table_info('users')", "2:37", "pragma_table_info is SQLite's own", ""),
    ("SELECT CAST(load_extension('x') AS TEXT) AS n", "2:13", "load_extension() is not for packs", ""),
    ("SELECT CAST(carve('/etc/passwd') AS TEXT) AS n", "2:13", "no such function: carve", ""),
    ("SELECT CAST(octet_length(shell) AS INTEGER) AS n FROM users", "2:13", "no function octet_length()", "'length'"),
    ("SELECT CAST(lenght(shell) AS INTEGER) AS n FROM users", "2:13", "no such function: lenght", "'length'"),
    ("SELECT CAST(split(shell) AS TEXT) AS n FROM users", "2:24", "not SQL: split() is given too little", ""),
    ("SELECT CAST(md5() AS TEXT) AS n FROM users", "2:17", "not SQL: md5() is given too little", ""),
    ("SELECT CAST(regex_match(shell) AS TEXT) AS n FROM users", "2:13", "wrong number of arguments", ""),
    ("SELECT CAST(rowid AS INTEGER) AS n FROM users", "2:13", "users has no rowid", "number no rows"),
    (
        "SELECT CAST(group_concat(uid ORDER BY uid) AS TEXT) AS n FROM users",
        "2:30",
        "ORDER BY within a function",
        "older than this",
    ),
    ("SELECT upper(shell) AS u FROM users", "2:24", "the type of column 'u' is not known", "-- columns: u text"),
    ("SELECT uid FROM", "2", "not SQL", ""),
]


@pytest.mark.parametrize(("sql", "place", "what", "mend"), ONE, ids=[sql for sql, *_ in ONE])
def test_one_thing_wrong(packs: Path, sql: str, place: str, what: str, mend: str) -> None:
    found = of_query(packs, sql)
    assert len({problem.message for problem in found}) == 1, found
    assert found[0].file == "queries/made_up.linux.sql"
    line, _, column = place.partition(":")
    assert found[0].line == int(line)
    assert not column or found[0].column == int(column)
    assert what in found[0].message
    assert mend in found[0].hint


GOOD = [
    "SELECT path FROM file WHERE path IN ('/a', '/b')",
    "SELECT path FROM file WHERE directory LIKE '/etc/%'",
    "SELECT path FROM file WHERE path = '/a' OR directory = '/b'",
    "SELECT path FROM file WHERE path IN (SELECT directory FROM users)",
    "SELECT h.sha256 FROM processes p JOIN hash h ON h.path = p.path",
    "SELECT h.sha256 FROM file f JOIN hash h USING (path) WHERE f.directory = '/etc'",
    "SELECT u.uid, f.mode FROM users u LEFT JOIN file f ON f.path = u.directory || '/.ssh'",
    "WITH f AS (SELECT path, mode FROM file) SELECT path, mode FROM f WHERE path = '/a'",
    "SELECT key FROM users CROSS JOIN authorized_keys USING (uid)",
    "SELECT key FROM authorized_keys WHERE uid IN (SELECT uid FROM users)",
    "-- mode: events\nSELECT path, pid FROM process_events",
    "-- volatile: pid\nSELECT name, pid FROM processes",
    "-- mode: latest\nSELECT name, pid FROM processes",
    "SELECT CAST(pid > 0 AS INTEGER) AS runs FROM processes",
    "SELECT CAST(total_seconds / 86400 AS INTEGER) AS days_up FROM uptime",
    "SELECT CAST(json_extract(shell, '$.a') AS TEXT) AS a FROM users",
    "SELECT CAST(j.value AS TEXT) AS a FROM json_each('[1]') j",
    "SELECT uid, CAST(row_number() OVER (ORDER BY uid) AS INTEGER) AS n FROM users",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT CAST(n AS INTEGER) AS n FROM t",
    "SELECT name FROM rpm_packages WHERE version_compare(version, '1.0', 'RHEL') < 0",
    "SELECT name, epoch FROM rpm_packages",
]


@pytest.mark.parametrize("sql", GOOD, ids=GOOD)
def test_nothing_wrong(packs: Path, sql: str) -> None:
    assert of_query(packs, sql) == []


def test_everything_is_said_in_one_run(packs: Path) -> None:
    (packs / "other.yaml").write_text("title: x\nqueries:\n  gone:\n")
    sql = "-- vollatile: x\n-- cost: 5 minutes\nSELECT u.uidd, u.gidd, p.pid FROM users u JOIN processes p, usrs"
    said = "\n".join(map(str, of_query(packs, sql)))
    for part in (
        "made_up.linux.sql:2: unknown header key 'vollatile'\n    did you mean 'volatile'?",
        "made_up.linux.sql:3: cost: '5 minutes' is not a time",
        "made_up.linux.sql:4: no such column: uidd",
        "made_up.linux.sql:4: no such column: gidd",
        "made_up.linux.sql:4: no such table: usrs",
        "made_up.linux.sql:4: column 'pid' is processes.pid",
        "other.yaml:3: there is no query 'gone'",
    ):
        assert part in said


def test_what_is_wrong_on_some_platforms_says_on_which(packs: Path) -> None:
    (found,) = of_query(packs, "SELECT uid, is_hidden FROM users", "made_up.sql")
    assert found.message.startswith("on linux, windows: users.is_hidden has a value on darwin only")
    assert "or give darwin a file of its own" in found.hint


@pytest.mark.parametrize("name", ["boot_epoch", "counter"])
def test_a_name_that_osquery_keeps_for_itself(packs: Path, name: str) -> None:
    (found,) = of_query(packs, "SELECT uid FROM users", f"{name}.linux.sql")
    assert f"the name {name!r} ends in epoch or counter" in found.message


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("-- key: gone", "2: key: the query gives no column 'gone'"),
        ("-- key: a b", "2: key: 'a b' is not the name of a column"),
        ("-- cost: 0ms", "2: cost: '0ms' is not a time above nothing"),
        ("-- cost: fast", "2: cost: 'fast' is not a time"),
        ("-- mode: state\n-- volatile: gone", "3: volatile: the query gives no column 'gone'"),
    ],
)
def test_header_keys(packs: Path, header: str, what: str) -> None:
    said = "\n".join(map(str, of_query(packs, f"{header}\nSELECT uid FROM users")))
    assert f"made_up.linux.sql:{what}" in said


def test_key_and_cost_are_no_part_of_the_version(packs: Path) -> None:
    versions = []
    for header in ("", "-- key: uid\n-- cost: 1.5s\n"):
        assert of_query(packs, f"{header}SELECT uid FROM users") == []
        query = read_catalog(packs)[0].queries["made_up", "linux"]
        versions.append(query.version)
    assert versions[0] == versions[1]
    assert (query.key, query.cost_seconds) == (("uid",), 1.5)


def test_the_budget_of_a_day(packs: Path) -> None:
    (packs / "pack.yaml").write_text("title: x\ninterval: 3600\nqueries:\n  slow:\n  made_up:\n")
    (packs / "queries" / "slow.linux.sql").write_text("-- A slow one.\n-- cost: 20s\nSELECT gid FROM groups\n")
    (found,) = of_query(packs, "SELECT uid FROM users")
    assert str(found).startswith("queries/slow.linux.sql:2: queries for linux take 480.2 s a day, more than")
    assert "the budget of 300 s" in found.message
    assert "the dearest: slow 480 s, made_up 0.24 s" in found.hint
    (packs / "fleet.yaml").write_text("budget_seconds_a_day: 500\n")
    assert problems(packs) == []


def test_tables_of_extensions(packs: Path) -> None:
    tables = "extension_tables:\n  badge:\n    platforms: [linux]\n    columns: {number: bigint, holder: text}\n"
    (packs / "fleet.yaml").write_text(tables)
    assert of_query(packs, "SELECT number, holder FROM badge") == []
    query = read_catalog(packs)[0].queries["made_up", "linux"]
    assert [column.kind for column in query.columns] == ["bigint", "text"]
    (found,) = of_query(packs, "SELECT numbr, holder FROM badge")
    assert found.hint == "did you mean 'number'?"
    (packs / "fleet.yaml").write_text(tables.replace("badge", "users"))
    assert "fleet.yaml:2: osquery has a table 'users' of its own" in "\n".join(map(str, problems(packs)))
    (packs / "fleet.yaml").write_text(tables.replace("bigint", "number"))
    assert "fleet.yaml:4: extension_tables.badge.columns.number" in "\n".join(map(str, problems(packs)))


DISCOVERY = [
    ("SELECT 1 FROM file", "file cannot be read without"),
    ("SELECT 1 FROM userz", "no such table: userz"),
    ("SELECT 1; SELECT 2", "exactly one SELECT"),
    ("DROP TABLE users", "exactly one SELECT"),
    ("SELECT 1 FROM process_events", "holds events"),
    ("SELECT FROM WHERE (", "not SQL"),
    ("SELECT load_extension('x')", "not for packs"),
]


@pytest.mark.parametrize(("sql", "what"), DISCOVERY, ids=[sql for sql, _ in DISCOVERY])
def test_discovery_is_checked_too(packs: Path, sql: str, what: str) -> None:
    text = f'title: x\nplatforms: [linux]\ndiscovery:\n  - SELECT 1 FROM users\n  - "{sql}"\n'
    (packs / "pack.yaml").write_text(text)
    (found,) = problems(packs)
    assert (found.file, found.line) == ("pack.yaml", 5)
    assert found.message.startswith("discovery: ")
    assert what in found.message


def test_the_same_sql_is_planned_each_time() -> None:
    planner = Planner(load_schema(shipped_packs()), "linux")
    first = planner.plan("SELECT path FROM file")
    second = planner.plan("SELECT path FROM file")
    planner.close()
    assert first.scans == second.scans
    assert [scan.table.name for scan in second.scans] == ["file"]
