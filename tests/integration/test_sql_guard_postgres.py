"""Users' SQL on Postgres: what may be read, what may not by any road, and what is stopped within its limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from server.app import opened_database
from server.drivers.postgres_role import role_of
from server.store.ask import SqlRefusedError
from tests.support import postgres
from tests.support.server import Peer, Server, answer_to, ask, database_of, muster, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guard")
    with database_of("postgres", folder) as url, serving(folder, database=url) as (server, made):
        peer = Peer(server, made["enroll_secret"])
        peer.enroll(system_info={"uuid": "u", "hostname": "laptop"})
        peer.snapshot("folks", int(time.time()), [{"who": "ann"}, {"who": "bob"}])
        yield server


GOOD = {
    "SELECT who FROM folks ORDER BY 1": [["ann"], ["bob"]],
    "SELECT d.hostname, p.who FROM devices d JOIN folks p USING (device_id) ORDER BY 2 LIMIT 1": [["laptop", "ann"]],
    "WITH x AS (SELECT who FROM folks) SELECT COUNT(*) FROM x": [[2]],
    "WITH folks AS (SELECT 'cat' AS who) SELECT who FROM folks": [["cat"]],
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT MAX(i) FROM n": [[10]],
    "SELECT COUNT(valid_from), COUNT(valid_to) FROM folks_history": [[2, 0]],
    "SELECT * FROM posture WHERE 1 = 0": [],
    "SELECT * FROM posture_totals WHERE 1 = 0": [],
    "SELECT * FROM posture_failures WHERE 1 = 0": [],
    "SELECT row_number() OVER (ORDER BY who) FROM folks": [[1], [2]],
    "VALUES (1), (2)": [[1], [2]],
    "SELECT 'muster_tokens', 1 -- muster_tokens": [["muster_tokens", 1]],
    "SELECT 1 ; ": [[1]],
    "-- a comment\nSELECT 1": [[1]],
    "SELECT 1 AS a, 2 AS a": [[1, 2]],
    "TABLE public.folks LIMIT 0": [],
}

VALUES = {
    "SUM(i) FROM (VALUES (CAST(1 AS BIGINT)), (2)) t(i)": 3,
    "AVG(i) FROM (VALUES (1), (2)) t(i)": 1.5,
    "CAST(12345678901234567890123 AS NUMERIC)": 1.2345678901234568e22,
    "CAST('NaN' AS NUMERIC)": None,
    "CAST('Infinity' AS DOUBLE PRECISION)": None,
    "true": True,
    "CAST('2026-01-02' AS DATE)": "2026-01-02",
    "CAST('infinity' AS DATE)": None,
    "CAST('2026-01-02 03:04:05+00' AS TIMESTAMPTZ)": "2026-01-02T03:04:05Z",
    "CAST('2026-01-02 03:04:05' AS TIMESTAMP)": "2026-01-02T03:04:05",
    "CAST('-infinity' AS TIMESTAMPTZ)": None,
    "CAST('1 month' AS INTERVAL)": "P1M",
    "CAST('\\x01ff' AS BYTEA)": "01ff",
    "ARRAY[1, NULL, 3]": [1, None, 3],
    "ROW(1, 'a')": [1, "a"],
    "p FROM (SELECT 'a' AS x, CAST(1.0 AS NUMERIC) AS y) p": ["a", 1.0],
    "d FROM days d WHERE false": None,
    "CAST('{\"a\": [1]}' AS JSONB)": '{"a": [1]}',
    "int4range(1, 3)": "[1,3)",
    "int4range(NULL, 3)": "(,3)",
    "B'101'": "101",
    "CAST('10.0.0.0/8' AS CIDR)": "10.0.0.0/8",
    "CAST('00000000-0000-0000-0000-000000000001' AS UUID)": "00000000-0000-0000-0000-000000000001",
}

INTERNAL = [
    "SELECT * FROM muster_tokens",
    "SELECT COUNT(*) FROM public.muster_tokens",
    "SELECT 1 FROM muster_meta",
    "SELECT value FROM muster_meta WHERE key = 'sql_role_password'",
    "SELECT COUNT(*) FROM devices, muster_device_facts",
    'SELECT 1 FROM folks, "muster_rows_folks"',
    "SELECT muster_digest FROM muster_rows_folks",
    "TABLE muster_secrets",
    "WITH folks AS (SELECT token_hash AS who FROM muster_tokens) SELECT who FROM folks",
    "SELECT (SELECT token_hash FROM muster_tokens LIMIT 1) FROM folks",
    "SELECT * FROM folks WHERE who IN (SELECT token_hash FROM muster_tokens)",
    "SELECT 1 UNION SELECT LENGTH(token_hash) FROM muster_tokens",
    "SELECT 1 FROM folks ORDER BY (SELECT MAX(token_hash) FROM muster_tokens)",
    "SELECT query_to_xml('SELECT * FROM muster_tokens', true, false, '')",
    "SELECT table_to_xml('muster_tokens', true, false, '')",
    "SELECT schema_to_xml('public', true, false, '')",
    "SELECT database_to_xml(true, false, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(token_hash) FROM muster_tokens')",
    "SELECT ts_rewrite('a', 'SELECT to_tsquery(token_hash), to_tsquery(token_hash) FROM muster_tokens')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT * FROM pg_ls_dir('.')",
    "SELECT * FROM pg_stat_file('PG_VERSION')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_user_mapping",
    "SELECT current_setting('data_directory')",
    "SELECT pg_relation_size('muster_tokens'), * FROM pg_get_wal_resource_managers(), muster_tokens",
    "SELECT get_raw_page('muster_tokens', 0)",
    "SELECT xmlserialize(content query_to_xml('TABLE muster_tokens', true, false, '') AS text)",
]

FORBIDDEN = [
    "DROP TABLE folks",
    "DELETE FROM devices",
    "UPDATE devices SET hostname = 'x'",
    "INSERT INTO muster_meta VALUES ('a', 'b')",
    "WITH x AS (INSERT INTO muster_meta VALUES ('a', 'b') RETURNING 1) SELECT * FROM x",
    "WITH x AS (DELETE FROM muster_devices RETURNING 1) SELECT * FROM x",
    "WITH x AS (DELETE FROM folks RETURNING 1) SELECT * FROM x",
    "MERGE INTO muster_meta USING folks ON true WHEN MATCHED THEN DELETE",
    "CREATE TABLE x (y int)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "SELECT 1 INTO x",
    "SELECT 1 INTO TEMP x",
    "SELECT * FROM folks FOR UPDATE",
    "ALTER ROLE current_user SUPERUSER",
    "GRANT ALL ON muster_tokens TO PUBLIC",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "SET ROLE postgres",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET statement_timeout = 0",
    "SHOW ALL",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT * FROM muster_tokens",
    "EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM muster_devices",
    "EXECUTE x",
    "PREPARE x AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH ALL FROM muster_answer",
    "CLOSE ALL",
    "COPY folks TO '/tmp/x'",
    "COPY folks TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY muster_meta FROM '/etc/passwd'",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CALL x()",
    "LOCK TABLE folks",
    "LISTEN x",
    "NOTIFY x",
    "LOAD 'x'",
    "VACUUM",
    "ANALYZE",
    "REINDEX DATABASE postgres",
    "CHECKPOINT",
    "DISCARD ALL",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT set_config('session_replication_role', 'replica', false)",
    "SELECT set_config('temp_file_limit', '-1', false)",
    "SELECT pg_advisory_lock(1837462628)",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_try_advisory_lock(i) FROM generate_series(1, 1000000) i",
    "SELECT pg_notify('x', 'y')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))",
    "SELECT pg_terminate_backend(pid) FROM (SELECT 1 AS pid) x WHERE pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_stat_reset()",
    "SELECT pg_create_restore_point('x')",
    "SELECT pg_file_write('x', 'y', false)",
    "SELECT dblink('', 'SELECT 1')",
    "SELECT nextval('muster_seq')",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE folks",
    "SELECT 1) TO STDOUT; --",
    "",
    "   ",
    "-- nothing",
    "not sql",
    "SELECT",
    "SELECT FROM folks",
    "SELECT * FROM no_such_table",
    "SELECT 1 / 0",
    "SELECT $1",
    "SELECT \ud800",
    "SELECT 'a\x00b'",
    "SELECT CAST('10000-01-01' AS DATE)",
]


def test_plain_questions_are_answered(server: Server) -> None:
    async def answers() -> dict[str, object]:
        async with opened_database(server.database) as database:
            return {sql: (await database.asker.ask(sql, limit=10, seconds=30)).rows for sql in GOOD}

    assert asyncio.run(answers()) == GOOD


def test_values_are_what_json_can_hold(server: Server) -> None:
    fields = ", ".join(f"(SELECT {field})" for field in VALUES)
    assert ask(server.database, f"SELECT {fields}") == [list(VALUES.values())]
    device = ask(server.database, "SELECT d FROM devices d")[0][0]
    assert (device["hostname"], device["retired_at"]) == ("laptop", None)


async def refusals(url: str, statements: list[str], seconds: float = 5) -> dict[str, str]:
    """Each statement with the reason it was refused for; of those that were answered, nothing."""
    refused = {}
    async with opened_database(url) as database:
        for statement in statements:
            try:
                await database.asker.ask(statement, limit=10, seconds=seconds)
            except SqlRefusedError as error:
                refused[statement] = str(error)
    return refused


async def test_everything_else_is_refused(server: Server) -> None:
    before = await postgres.run("SELECT * FROM muster_tokens, muster_meta WHERE key <> 'seq'", server.database)
    refused = await refusals(server.database, INTERNAL + FORBIDDEN)
    assert [statement for statement in INTERNAL + FORBIDDEN if statement not in refused] == []
    ours = [
        why for sql, why in refused.items() if not why or "Traceback" in why or ("DECLARE" in why) > ("DECLARE" in sql)
    ]
    assert ours == []
    assert before == await postgres.run("SELECT * FROM muster_tokens, muster_meta WHERE key <> 'seq'", server.database)
    assert not await postgres.run("SELECT 1 FROM pg_largeobject_metadata", server.database)


def test_what_is_told_of_a_refusal(server: Server) -> None:
    def why(statement: str) -> str:
        return asyncio.run(refusals(server.database, [statement]))[statement]

    assert "multiple" not in why("SELECT 1; SELECT 2")
    assert "only one statement" in why("SELECT 1; SELECT 2")
    assert "one SELECT is needed" in why("DROP TABLE folks")
    assert "public tables" in why("SELECT * FROM muster_tokens")
    assert "may only read" in why("WITH x AS (DELETE FROM folks RETURNING 1) SELECT * FROM x")
    assert "devices" in why("SELECT devices.no_such FROM devices")


STOPPED = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "SELECT pg_sleep(100)",
    "SELECT set_config('statement_timeout', '0', false), pg_sleep(i / 10) FROM generate_series(1, 1000) i",
    "SELECT COUNT(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, generate_series(1, 1000) c",
    "SELECT repeat('x', 600000000)",
    "SELECT i, repeat('x', 100) FROM generate_series(1, 100000000) i",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
]


@pytest.mark.parametrize("statement", STOPPED, ids=range(len(STOPPED)))
def test_greedy_statements_are_stopped_and_the_server_stays_quick(server: Server, statement: str) -> None:
    began = time.monotonic()
    done = muster("sql", "--database", server.database, "--json", "--seconds", "2", statement, check=False)
    assert done.returncode == 1, done.stdout[:200]
    assert time.monotonic() - began < 12
    assert done.stderr.startswith("muster: ")
    assert server.request("GET", "/readyz")[0] == 200
    left = asyncio.run(postgres.run("SELECT query FROM pg_stat_activity WHERE usename LIKE 'muster_sql%'"))
    assert left == []


async def test_answers_are_cut_by_rows_and_by_bytes(server: Server) -> None:
    answer = await answer_to(server.database, "SELECT generate_series(1, 100000000)", limit=5000)
    assert (answer.rows, answer.truncated) == ([[i] for i in range(1, 5001)], True)
    exact = await answer_to(server.database, "SELECT i FROM generate_series(1, 5000) i", limit=5000)
    assert (exact.rows, exact.truncated) == (answer.rows, False)
    large = await answer_to(server.database, "SELECT repeat('x', 4000000) FROM generate_series(1, 40)", limit=100)
    assert (len(large.rows), large.truncated) == (16, True)


def test_a_table_that_came_or_grew_since_can_be_read(server: Server) -> None:
    peer = Peer(server, "")
    made = muster("secret", "add", "more", "--database", server.database, "--json").stdout
    peer.secret = json.loads(made)["secret"]
    peer.enroll(system_info={"uuid": "u2", "hostname": "desk"})
    now = int(time.time())
    peer.snapshot("pets", now - 10, [{"name": "rex"}])
    assert ask(server.database, "SELECT name FROM pets") == [["rex"]]
    peer.snapshot("pets", now, [{"name": "rex", "legs": "4"}])
    assert ask(server.database, "SELECT name, legs FROM pets") == [["rex", "4"]]


async def test_the_role_may_read_public_views_only(server: Server) -> None:
    found = await postgres.run(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace AND nspname = 'public'"
        f" WHERE relkind IN ('r', 'v', 'm', 'p', 'S', 'f') AND (relname LIKE 'muster%') = "
        f"(relkind <> 'S' AND has_any_column_privilege('{_role(server.database)}', c.oid, 'SELECT, INSERT, UPDATE'))",
        server.database,
    )
    assert found == []


async def test_no_log_or_view_of_postgres_shows_the_password(server: Server) -> None:
    stored = await postgres.run("SELECT value FROM muster_meta WHERE key = 'sql_role_password'", server.database)
    assert len(stored[0][0]) > 30
    kept = await postgres.run(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{_role(server.database)}'")
    assert kept[0][0].startswith("SCRAM-SHA-256$")


async def test_another_process_may_renew_the_password_or_drop_the_role(server: Server) -> None:
    async with opened_database(server.database) as database:
        for mischief in ("ALTER ROLE {} PASSWORD 'other'", "DROP OWNED BY {}; DROP ROLE {}"):
            connection = await asyncpg.connect(server.database)
            await connection.execute(mischief.replace("{}", _role(server.database)))
            await connection.close()
            answers = await asyncio.gather(
                *(database.asker.ask("SELECT COUNT(*) FROM folks", limit=1, seconds=30) for _ in range(3))
            )
            assert [answer.rows for answer in answers] == [[[2]]] * 3


def _role(url: str) -> str:
    return role_of(urlsplit(url).path.lstrip("/"))
