"""Users' SQL is never trusted: what may be read, what may not by any road, and what is stopped within its limits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.server import Peer, Server, ask, muster, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("guard")) as (server, made):
        peer = Peer(server, made["enroll_secret"])
        peer.enroll(system_info={"uuid": "u", "hostname": "laptop"})
        peer.snapshot("folks", int(time.time()), [{"who": "ann"}, {"who": "bob"}])
        yield server


GOOD = [
    "SELECT who FROM folks ORDER BY 1",
    "SELECT d.hostname, p.who FROM devices d JOIN folks p USING (device_id)",
    "WITH x AS (SELECT who FROM folks) SELECT COUNT(*) FROM x",
    "WITH folks AS (SELECT 'cat' AS who) SELECT who FROM folks",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT MAX(i) FROM n",
    "SELECT who, valid_from, valid_to FROM folks_history",
    "SELECT day, status, COUNT(*) FROM posture GROUP BY 1, 2",
    "SELECT * FROM posture_runs",
    "SELECT * FROM posture_totals",
    "SELECT * FROM posture_failures",
    "SELECT value FROM json_each('[1, 2]')",
    "SELECT upper(who), length(who), substr(who, 1, 1) FROM folks",
    "SELECT COUNT(*) FROM devices",
    "SELECT 1 FROM folks, devices",
    "SELECT row_number() OVER (ORDER BY who) FROM folks",
    "VALUES (1), (2)",
    "WITH t AS (SELECT 1 a) SELECT COUNT(*) FROM t",
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 5) SELECT COUNT(*) FROM r",
    "WITH t AS MATERIALIZED (SELECT who FROM folks) SELECT 'x' FROM t",
    "SELECT 'muster_tokens', 1 -- muster_tokens",
    "SELECT * FROM folks ; ",
    "-- a comment\nSELECT 1",
]

INTERNAL = [
    "SELECT * FROM muster_tokens",
    "SELECT COUNT(*) FROM muster_tokens",
    "SELECT 1 FROM muster_tokens",
    "SELECT COUNT(*) FROM devices, muster_tokens",
    "SELECT 1 FROM folks, muster_rows_folks",
    "SELECT COUNT(*) FROM devices, muster_device_facts, devices_history",
    'SELECT 1 FROM folks, "muster_rows_folks"',
    "SELECT 1 FROM folks, [muster_rows_folks]",
    'SELECT 1 FROM folks AS "\'", muster_rows_folks AS "\'"',
    "SELECT 1 FROM folks /* ' */, muster_rows_folks -- '",
    "SELECT COUNT(*) FROM dbstat",
    "SELECT COUNT(*) FROM pragma_database_list",
    "SELECT COUNT(*) FROM sqlite_master",
    "SELECT COUNT(*) FROM main.muster_devices, devices",
    "SELECT token_hash FROM main.muster_tokens",
    "SELECT * FROM muster_rows_folks",
    "SELECT * FROM main.folks",
    "SELECT * FROM main.devices",
    "WITH folks AS (SELECT token_hash AS who FROM muster_tokens) SELECT who FROM folks",
    "WITH devices AS (SELECT * FROM muster_secrets) SELECT * FROM devices",
    "SELECT * FROM (SELECT * FROM muster_secrets) AS devices",
    "SELECT (SELECT token_hash FROM muster_tokens) FROM folks",
    "SELECT * FROM folks WHERE who IN (SELECT token_hash FROM muster_tokens)",
    "SELECT * FROM folks JOIN muster_tokens",
    "SELECT 1 UNION SELECT token_hash FROM muster_tokens",
    "SELECT * FROM folks ORDER BY (SELECT token_hash FROM muster_tokens)",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_schema",
    "SELECT sql FROM sqlite_temp_master",
    "SELECT * FROM sqlite_temp_schema",
    "SELECT * FROM temp.sqlite_master",
    "SELECT * FROM sqlite_sequence",
    "SELECT * FROM sqlite_stat1",
    "SELECT * FROM pragma_table_info('muster_tokens')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_list",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM bytecode('SELECT 1')",
    "EXPLAIN SELECT * FROM muster_tokens",
]

FORBIDDEN = [
    "DROP TABLE folks",
    "DROP VIEW folks",
    "DELETE FROM devices",
    "UPDATE devices SET hostname = 'x'",
    "INSERT INTO muster_meta VALUES ('a', 'b')",
    "REPLACE INTO muster_meta VALUES ('a', 'b')",
    "WITH x AS (SELECT 1) INSERT INTO muster_meta SELECT 'a', 'b'",
    "WITH x AS (SELECT 1) DELETE FROM muster_devices",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE TEMP VIEW folks AS SELECT * FROM muster_tokens",
    "CREATE TRIGGER t AFTER INSERT ON muster_meta BEGIN SELECT 1; END",
    "ALTER TABLE muster_devices ADD COLUMN x",
    "ATTACH DATABASE '/etc/passwd' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH DATABASE temp",
    "VACUUM",
    "VACUUM INTO '/tmp/stolen.db'",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT x",
    "PRAGMA table_info(muster_tokens)",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA database_list",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('x')",
    "SELECT sqlite_version()",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT sqlite_source_id()",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(1000000000)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_sleep(100)",
    "SELECT set_config('role', 'x', false)",
    "SET statement_timeout = 0",
    "COPY folks TO '/tmp/x'",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE folks",
    "",
    "   ",
    "-- nothing",
    "not sql",
    "SELECT",
    "SELECT * FROM no_such_table",
    "SELECT \ud800",
    "SELECT 'a\x00b'",
]


@pytest.mark.parametrize("statement", GOOD)
def test_plain_questions_are_answered(server: Server, statement: str) -> None:
    muster("sql", "--database", server.database, "--", statement)


def test_a_value_that_would_be_too_large_is_null(server: Server) -> None:
    assert ask(server.database, "SELECT printf('%.*c', 900000000, 'x')") == [[None]]


def test_numbers_that_json_has_not_are_null(server: Server) -> None:
    assert json.loads(muster("sql", "--database", server.database, "--json", "SELECT 9e999").stdout)["rows"] == [[None]]


def test_answers_are_right(server: Server) -> None:
    assert ask(server.database, GOOD[0]) == [["ann"], ["bob"]]
    assert ask(server.database, GOOD[3]) == [["cat"]]


@pytest.mark.parametrize("statement", INTERNAL + FORBIDDEN)
async def test_everything_else_is_refused(server: Server, statement: str) -> None:
    from server.app import opened_database
    from server.store.ask import SqlRefusedError

    async with opened_database(server.database) as database:
        with pytest.raises(SqlRefusedError) as refused:
            await database.asker.ask(statement, limit=10, seconds=5)
    assert str(refused.value)
    assert "Traceback" not in str(refused.value)


STOPPED = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT MAX(i) FROM n",
    "SELECT replace(hex(zeroblob(200000000)), '0', 'xxxx')",
    "SELECT group_concat(printf('%.*c', 1000000, 'x')) FROM folks a, folks b, folks c, folks d, folks e",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT COUNT(*) FROM n a, n b, n c",
    "WITH RECURSIVE n(i, t) AS (SELECT 1, 'x' UNION ALL SELECT i + 1, t || t FROM n) SELECT MAX(length(t)) FROM n",
    "SELECT " + "+".join(["1"] * 5000),
]


@pytest.mark.parametrize("statement", STOPPED)
def test_greedy_statements_are_stopped_and_the_server_stays_quick(server: Server, statement: str) -> None:
    began = time.monotonic()
    done = muster("sql", "--database", server.database, "--json", "--seconds", "2", statement, check=False)
    assert done.returncode == 1, done.stdout[:200]
    assert time.monotonic() - began < 12
    assert done.stderr.startswith("muster: ")
    asked = time.monotonic()
    assert server.request("GET", "/readyz")[0] == 200
    assert time.monotonic() - asked < 1


def test_rows_are_limited_and_that_is_said(server: Server) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    done = muster("sql", "--database", server.database, "--json", "--limit", "5", endless)
    assert json.loads(done.stdout) == {"columns": ["i"], "rows": [[1], [2], [3], [4], [5]], "truncated": True}


def test_formats(server: Server) -> None:
    question = "SELECT who, 1.5 AS half, NULL AS missing FROM folks ORDER BY who"
    table = muster("sql", "--database", server.database, question).stdout.split()
    assert table == ["who", "half", "missing", "ann", "1.5", "bob", "1.5"]
    csv = muster("sql", "--database", server.database, "--format", "csv", question).stdout.splitlines()
    assert csv == ["who,half,missing", "ann,1.5,", "bob,1.5,"]
