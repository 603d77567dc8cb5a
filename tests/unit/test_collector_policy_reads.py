"""Whatever way a statement reads what is denied, it is refused; what it may read, it may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.policy import Policy
from collector.policy.tables import GivenTables, Tables
from tests.support.osquery_tables import PACKS, osquery_tables

VIEWS = {
    "told": "CREATE VIEW told AS SELECT command FROM shell_history",
    "homes": "CREATE VIEW homes AS SELECT uid, directory AS home FROM users",
    "twice": "CREATE VIEW twice AS SELECT * FROM told",
}
POLICY = """
deny_tables = ["shell_history", "carves", "hosts", "Process_Open_*"]
deny_columns = ["users.directory", "processes.cmdline", "process_events.env", "*.on_disk"]
"""


@pytest.fixture(scope="module")
def tables() -> Tables:
    known = osquery_tables(views=VIEWS)
    return Tables(known.version, {**known.columns, "acme_secrets": ("key", "value", "hidden_one")}, known.views)


@pytest.fixture(scope="module")
def policy(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text(POLICY)
    policy = Policy.load(path, GivenTables(tables), owner=os.getuid())
    assert policy.problem == ""
    yield policy


TABLE = "SELECT command FROM shell_history"
REFUSED = [
    # The table, by every way of writing its name.
    TABLE,
    "select COMMAND from SHELL_HISTORY",
    'SELECT command FROM "shell_history"',
    "SELECT command FROM [Shell_History]",
    "SELECT command FROM `shell_history`",
    "SELECT command FROM 'shell_history'",
    "SELECT command FROM/**/shell_history",
    "SELECT command FROM shell_history--",
    "SELECT command\nFROM\tshell_history\f;",
    "\ufeffSELECT command FROM shell_history",
    "SELECT command FROM main.shell_history",
    "SELECT command FROM temp.shell_history",
    'SELECT command FROM "main"."shell_history"',
    "SELECT command FROM MAIN . Shell_History",
    # Without naming a column.
    "SELECT * FROM shell_history",
    "SELECT 1 FROM shell_history",
    "SELECT count(*) FROM shell_history",
    "SELECT rowid FROM shell_history",
    "SELECT oid, _rowid_ FROM shell_history",
    "SELECT s.* FROM shell_history AS s",
    "SELECT DISTINCT 1 FROM shell_history s",
    "SELECT NULL FROM shell_history LIMIT 0",
    "SELECT EXISTS (SELECT 1 FROM shell_history)",
    "SELECT NOT EXISTS (SELECT * FROM shell_history WHERE command LIKE '%pass%')",
    "SELECT 1 WHERE 1 IN (SELECT uid FROM shell_history)",
    "SELECT (SELECT group_concat(command) FROM shell_history)",
    "SELECT CASE WHEN (SELECT count(*) FROM shell_history) > 3 THEN 1 ELSE 0 END",
    "SELECT 1 ORDER BY (SELECT command FROM shell_history)",
    "SELECT 1 LIMIT (SELECT count(*) FROM shell_history)",
    "SELECT 1 LIMIT 1 OFFSET (SELECT count(*) FROM shell_history)",
    "SELECT uid FROM users GROUP BY uid HAVING uid IN (SELECT uid FROM shell_history)",
    "VALUES ((SELECT command FROM shell_history))",
    # Through joins. SQLite's authorizer says nothing of these tables where only USING and NATURAL name a column.
    "SELECT 1 FROM users, shell_history",
    "SELECT uid FROM users JOIN shell_history USING (uid)",
    "SELECT users.uid FROM users NATURAL JOIN shell_history",
    "SELECT 1 FROM shell_history NATURAL JOIN (SELECT 'id' AS command)",
    "SELECT 1 FROM (SELECT 'id' AS command) JOIN shell_history USING (command)",
    "SELECT count(*) FROM (SELECT 'id' AS command) LEFT JOIN shell_history USING (command)",
    "SELECT 1 FROM (SELECT 'id' AS command) CROSS JOIN shell_history USING (command)",
    "SELECT 1 FROM users u, (SELECT uid FROM shell_history) h WHERE u.uid = h.uid",
    "SELECT u.uid FROM users u LEFT JOIN shell_history h ON u.uid = h.uid",
    # Through expressions, views and other names.
    "WITH h AS (SELECT * FROM shell_history) SELECT command FROM h",
    "WITH users AS (SELECT command AS uid FROM shell_history) SELECT uid FROM users",
    "WITH a AS (SELECT 1), b AS MATERIALIZED (SELECT command FROM shell_history) SELECT * FROM b",
    "WITH a AS NOT MATERIALIZED (SELECT command c FROM shell_history) SELECT c FROM a",
    "WITH RECURSIVE r(x, n) AS (SELECT command, 0 FROM shell_history UNION ALL SELECT x, n + 1 FROM r WHERE n < 2)"
    " SELECT x FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, shell_history WHERE n < 9) SELECT n FROM r",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT command FROM shell_history)))",
    "SELECT uid FROM users UNION SELECT uid FROM shell_history",
    "SELECT uid FROM users EXCEPT SELECT uid FROM shell_history",
    "SELECT uid FROM users INTERSECT SELECT uid FROM shell_history",
    "SELECT * FROM told",
    "SELECT 1 FROM told",
    "SELECT count(*) FROM twice",
    "SELECT * FROM main.twice",
    "SELECT * FROM hosts",
    "SELECT * FROM etc_hosts",
    "SELECT 1 FROM process_open_files",
    "SELECT 1 FROM process_open_sockets",
    "SELECT first_value(command) OVER (ORDER BY time) FROM shell_history",
    "SELECT sum(1) FILTER (WHERE command = 'id') OVER w FROM shell_history WINDOW w AS (ORDER BY time)",
    "SELECT json_group_array(command) FROM shell_history",
    "SELECT j.value FROM shell_history h, json_each(json_array(h.command)) j",
    "SELECT j.value FROM json_each((SELECT json_group_array(command) FROM shell_history)) j",
    "SELECT regex_match(command, 'x', 0) FROM shell_history",
    "SELECT p.name FROM pragma_table_info((SELECT command FROM shell_history)) p",
    "SELECT md5(h.command) FROM shell_history h ORDER BY h.command COLLATE version_dpkg",
    "SELECT carve('/home/ann/.bash_history')",
    "SELECT carve(path) FROM file WHERE path = '/etc/passwd'",
    # The columns.
    "SELECT directory FROM users",
    "SELECT Directory FROM USERS",
    'SELECT "directory" FROM users',
    "SELECT [directory] FROM users",
    "SELECT users.directory FROM users",
    "SELECT main.users.directory FROM main.users",
    "SELECT u.directory FROM users u",
    "SELECT * FROM users",
    "SELECT users.* FROM users, groups",
    "SELECT uid FROM users WHERE directory LIKE '/root%'",
    "SELECT uid FROM users ORDER BY directory",
    "SELECT count(*) FROM users GROUP BY directory",
    "SELECT count(DISTINCT directory) FROM users",
    "SELECT length(directory) FROM users",
    "SELECT uid FROM users u WHERE EXISTS (SELECT 1 FROM file f WHERE f.directory = u.directory)",
    "SELECT count(*) FROM users NATURAL JOIN (SELECT '/root' AS directory)",
    "SELECT count(*) FROM users JOIN (SELECT '/root' AS directory) USING (directory)",
    "SELECT uid FROM (SELECT * FROM users)",
    "SELECT u1.uid FROM users u1 NATURAL JOIN users u2",
    "SELECT h FROM (SELECT directory AS h FROM users)",
    "WITH u(a, b, c, d, e, f, g) AS (SELECT uid, gid, uid_signed, gid_signed, username, description, directory"
    " FROM users) SELECT g FROM u",
    "SELECT home FROM homes",
    "SELECT uid FROM homes",
    "SELECT (uid, directory) = (0, '/root') FROM users",
    "SELECT row_number() OVER (PARTITION BY directory) FROM users",
    "SELECT max(cmdline) FROM processes",
    "SELECT pid FROM processes WHERE on_disk = 0",
    # Two names of one column.
    "SELECT environment FROM process_events",
    "SELECT env FROM process_events",
]
NOT_TOLD = [
    # What is no single SELECT of known tables cannot be analysed, whatever it would have read.
    "SELECT 1; SELECT command FROM shell_history",
    "SELECT command FROM shell_history; SELECT 1",
    "; SELECT command FROM shell_history",
    "SELECT 1 --\n; SELECT command FROM shell_history",
    "SELECT 1\0; SELECT command FROM shell_history",
    "EXPLAIN SELECT command FROM shell_history",
    "QUERY PLAN SELECT command FROM shell_history",
    "CREATE TABLE t AS SELECT command FROM shell_history",
    "CREATE TEMP TABLE t AS SELECT command FROM shell_history",
    "CREATE VIEW v AS SELECT command FROM shell_history",
    "CREATE TEMP VIEW v AS SELECT command FROM shell_history",
    "CREATE VIRTUAL TABLE h USING shell_history",
    "INSERT INTO users SELECT * FROM shell_history",
    "INSERT INTO users (uid) VALUES (1) RETURNING directory",
    "UPDATE users SET uid = (SELECT command FROM shell_history)",
    "DELETE FROM users WHERE uid IN (SELECT uid FROM shell_history)",
    "ATTACH 'x' AS y",
    "DROP TABLE users",
    "PRAGMA writable_schema = 1",
    "PRAGMA case_sensitive_like = 1",
    "SELECT * FROM pragma_database_list",
    "VACUUM",
    "BEGIN",
    "SELECT * FROM shell_history(1)",
    "SELECT * FROM shell_history('x', 'y') AS h",
    "SELECT * FROM SHELL_HISTORY (1)",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM users",
    "SELECT * FROM copied_history",
    "SELECT \ud800",
    "",
    ";",
    "-- nothing",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT '" + "x" * (1 << 20) + "'",
    "WITH c0(x) AS (SELECT 1)"
    + "".join(f", c{n}(x) AS (SELECT a.x FROM c{n - 1} a, c{n - 1} b)" for n in range(1, 60))
    + " SELECT * FROM c59",
    "WITH c0(x) AS (SELECT 1)"
    + "".join(f", \"c{n}\"(x) AS (SELECT x FROM [c{n - 1}] UNION ALL SELECT x FROM 'C{n - 1}')" for n in range(1, 60))
    + " SELECT * FROM c59",
]
PERMITTED = [
    "SELECT 1",
    "SELECT uid, username FROM users",
    "SELECT uid FROM temp.users;",
    "SELECT uid FROM main.users -- where they live is nobody's business",
    "SELECT 'directory' AS directory, uid FROM users",
    "SELECT directory FROM file WHERE path LIKE '/etc/%'",
    "SELECT * FROM file WHERE path = '/etc/passwd'",
    "SELECT u.username, g.groupname FROM users u JOIN user_groups USING (uid) JOIN groups g USING (gid)",
    "SELECT 'SELECT command FROM shell_history'",
    "SELECT 1 /* FROM shell_history */",
    "SELECT name AS shell_history FROM apps_of_none.x".replace("apps_of_none.x", "deb_packages"),
    "SELECT pid, name FROM processes",
    "SELECT name FROM deb_packages WHERE version_compare(version, '1.2') < 0 ORDER BY version COLLATE version_dpkg",
    "SELECT regex_match(name, 'a(.)', 1), sha256(name), acme(1, 2, 3) FROM deb_packages",
    "WITH a AS (SELECT uid FROM users), b AS (SELECT uid FROM a) SELECT * FROM b",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9) SELECT x FROM n",
    "SELECT name FROM pragma_table_info('shell_history')",
    "PRAGMA table_info(shell_history)",
    "SELECT name, type FROM sqlite_temp_master",
    "SELECT key, value FROM acme_secrets",
    "SELECT * FROM configurations WHERE path = '/etc/x'",
    "VALUES (1), (2)",
]


def _ids(statements: list[str]) -> list[str]:
    return [f"{number:03}" for number, _ in enumerate(statements)]


@pytest.mark.parametrize("sql", REFUSED, ids=_ids(REFUSED))
def test_what_reads_something_denied_is_refused_by_its_name(policy: Policy, sql: str) -> None:
    reason = policy.check(sql, live=True)
    assert reason is not None and "which is denied (deny_" in reason


@pytest.mark.parametrize("sql", NOT_TOLD, ids=_ids(NOT_TOLD))
def test_what_cannot_be_analysed_is_refused(policy: Policy, sql: str) -> None:
    reason = policy.check(sql, live=True)
    assert reason is not None and "it cannot be told what it reads" in reason


@pytest.mark.parametrize("sql", PERMITTED, ids=_ids(PERMITTED))
def test_what_reads_nothing_denied_may_run(policy: Policy, sql: str) -> None:
    assert policy.check(sql, live=True) is None


def test_shipped_queries_can_all_be_analysed(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('deny_tables = ["shell_history"]')
    for platform in ("linux", "darwin", "windows"):
        policy = Policy.load(path, GivenTables(osquery_tables(platform)), owner=os.getuid())
        files = [*(PACKS / "queries").glob(f"*.{platform}.sql"), *(PACKS / "queries").glob("[!.]*[!sxn].sql")]
        assert len(files) > 30
        for file in files:
            if file.suffixes in ([f".{platform}", ".sql"], [".sql"]):
                assert (file.name, policy.check(file.read_text(), live=False)) == (file.name, None)


def test_a_denied_column_is_refused_although_the_tables_known_lack_it(tmp_path: Path) -> None:
    """An extension's table may have got a column since osqueryd was asked."""
    path = tmp_path / "policy.toml"
    path.write_text('deny_columns = ["acme.secret"]')
    policy = Policy.load(path, GivenTables(Tables("5", {"acme": ("name",)})), owner=os.getuid())
    assert policy.check("SELECT * FROM acme", live=True) is not None
    assert policy.check("SELECT secret FROM acme", live=True) is not None
    assert policy.check("SELECT name FROM acme", live=True) is None


def test_a_table_made_in_osqueryd_does_not_pass_for_osquerys_own(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('deny_tables = ["shell_history"]')
    tables = Tables("5", {"users": ("uid",), "shell_history": ("uid",)}, made=frozenset({"users", "copied"}))
    policy = Policy.load(path, GivenTables(tables), owner=os.getuid())
    assert policy.check("SELECT uid FROM users", live=True) is None
    assert policy.check("SELECT uid FROM main.users", live=True) is not None
    assert policy.check("SELECT * FROM copied", live=True) is not None
