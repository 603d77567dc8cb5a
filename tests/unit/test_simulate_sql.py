"""osquery's SQL: its functions, its tables over made-up rows, and answers shared by devices that are alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from server.catalog.schema import OsquerySchema, load_schema
from server.simulate.answers import AnswerBook
from server.simulate.functions import register
from server.simulate.tables import PlatformDatabase, QueryFailedError
from server.simulate.timeline import state_at
from tests.unit.test_simulate_fleet import SPAN, device

PACKS = Path(__file__).parents[2] / "packs"


@pytest.fixture(scope="module")
def schema() -> OsquerySchema:
    return load_schema(PACKS)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("split('5.23.0', '.', 1)", "23"),
        ("split('a,,b', ',', 1)", "b"),
        ("split('a', '.', 3)", None),
        ("regex_split('a1b22c', '[0-9]+', 2)", "c"),
        ("regex_match('osquery 5.23', '([0-9]+)\\.([0-9]+)', 2)", "23"),
        ("regex_match('none', '[0-9]', 0)", None),
        ("concat('a', NULL, 1)", "a1"),
        ("concat_ws('-', 'a', NULL, 'b')", "a-b"),
        ("version_compare('5.9.1', '5.23.0')", -1),
        ("version_compare('26.1', '26.1.1')", -1),
        ("version_compare('1.0', '1.0')", 0),
        ("version_compare(NULL, '1.0')", None),
        ("inet_aton('127.0.0.1')", 2130706433),
        ("in_cidr_block('10.0.0.0/8', '10.4.5.6')", 1),
        ("in_cidr_block('10.0.0.0/8', '::1')", 0),
        ("from_base64(to_base64('é'))", "é"),
        ("from_base64('%')", None),
        ("sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("sqrt(-1)", None),
        ("power(2, 10)", 1024.0),
        ("'1.10' > '1.9' COLLATE version", 1),
    ],
)
def test_functions(sql: str, value: Any) -> None:
    database = apsw.Connection(":memory:")
    register(database)
    assert database.execute(f"SELECT {sql}").get == value


def test_values_are_text_and_null_is_empty(schema: OsquerySchema) -> None:
    database = PlatformDatabase(schema, "linux")
    rows: dict[str, list[dict[str, object]]] = {
        "users": [{"uid": "0", "username": "root", "shell": None}, {"uid": "", "username": "odd", "shell": "/bin/sh"}]
    }
    found = database.ask("SELECT uid + 1 AS next, username, shell FROM users", lambda table: rows[table])
    assert found == [
        {"next": "1", "username": "root", "shell": ""},
        {"next": "", "username": "odd", "shell": "/bin/sh"},
    ]


def test_what_osquery_refuses_is_refused(schema: OsquerySchema) -> None:
    database = PlatformDatabase(schema, "linux")
    for sql, message in [
        ("SELECT * FROM bitlocker_info", "no such table: bitlocker_info"),
        ("SELECT nope FROM users", "no such column: nope"),
        ("SELECT * FROM file", "no query solution"),
        ("ATTACH 'x' AS y", "not authorized"),
        ("DELETE FROM users", "not authorized"),
    ]:
        with pytest.raises(QueryFailedError, match=message):
            database.ask(sql, lambda _: [])
    files: list[dict[str, object]] = [{"path": "/etc/passwd", "size": 3}, {"path": "/etc/group", "size": 4}]
    assert database.ask("SELECT size FROM file WHERE path = '/etc/passwd'", lambda _: files) == [{"size": "3"}]
    joined = "SELECT f.size FROM users u JOIN file f ON f.path = u.directory"
    rows: dict[str, list[dict[str, object]]] = {"file": files, "users": [{"directory": "/etc/group"}]}
    assert database.ask(joined, lambda table: rows[table]) == [{"size": "4"}]


def _aspects(part: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    state = state_at(device(part), SPAN, SPAN.first * 86_400)
    running = {"hour": 1, "day": 1, "started_at": 0, "instance_id": "i", "config_hash": "c", "schedule": ()}
    return state.platform, state.aspects() | running | changes


def test_devices_that_are_alike_in_what_is_read_share_an_answer(schema: OsquerySchema) -> None:
    book = AnswerBook(schema)
    sql = "SELECT name, version FROM os_version"
    platform, mine = _aspects("second_root")
    first = book.answer(platform, sql, mine)
    assert book.made == 1 and first.rows[0]["name"] == mine["release"].name
    assert book.answer(platform, sql, mine | {"hostname": "other", "hour": 9, "encrypted": False}) is first
    assert book.made == 1
    book.answer(platform, sql, mine | {"release": _aspects("unsupported")[1]["release"]})
    assert book.made == 2


def test_a_broken_table_fails_only_the_queries_that_read_it(schema: OsquerySchema) -> None:
    book = AnswerBook(schema)
    platform, mine = _aspects("second_root", broken=frozenset({"listening_ports"}))
    assert book.answer(platform, "SELECT port FROM listening_ports", mine).failure == (
        "vtable constructor failed: listening_ports"
    )
    assert book.answer(platform, "SELECT uid FROM users", mine).failure is None
    assert book.answer(platform, "SELECT port FROM listening_ports", mine | {"broken": frozenset()}).failure is None


def test_an_empty_answer_is_an_answer(schema: OsquerySchema) -> None:
    platform, mine = _aspects("second_root")
    found = AnswerBook(schema).answer(platform, "SELECT uid FROM users WHERE uid = 77", mine)
    assert (found.rows, found.json, found.failure) == ((), b"[]", None)
