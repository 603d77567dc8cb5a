"""Statements made at random are run on virtual tables that tell what is taken from them: all of it was foreseen.

The witness is another SQLite than the one the policy compiles with, and its tables are virtual, as osquery's are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.policy import Policy
from collector.policy.tables import GivenTables, Tables

COLUMNS = {
    "users": ("uid", "gid", "username", "directory"),
    "shell_history": ("uid", "time", "command"),
    "groups": ("gid", "groupname"),
}
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "users": [(0, 0, "root", "/root"), (1, 1, "ada", "/home/ada")],
    "shell_history": [(0, 5, "id"), (1, 6, "ls")],
    "groups": [(0, "root"), (1, "ada")],
}
VIEWS = {
    "told": "CREATE VIEW told AS SELECT uid, command FROM shell_history",
    "known": "CREATE VIEW known AS SELECT * FROM users",
}
Seen = set[tuple[str, str]]


class _Module:
    """Virtual tables that write down what is taken from them; a column that is compared is taken, too."""

    def __init__(self) -> None:
        self.seen: Seen = set()

    def Create(self, db: Any, module: str, database: str, name: str, *_: str) -> tuple[str, _Table]:
        names = ", ".join(COLUMNS[name])
        return f"CREATE TABLE x ({names})", _Table(name, self.seen)

    Connect = Create


class _Table:
    def __init__(self, name: str, seen: Seen) -> None:
        self.name, self.seen = name, seen

    def BestIndex(self, constraints: list[tuple[int, int]], orders: object) -> None:
        self.seen |= {(self.name, COLUMNS[self.name][number]) for number, _ in constraints if number >= 0}

    def Open(self) -> _Cursor:
        return _Cursor(self)

    def Disconnect(self) -> None: ...

    Destroy = Disconnect


class _Cursor:
    def __init__(self, table: _Table) -> None:
        self.table, self.rows, self.at = table, ROWS[table.name], 0

    def Filter(self, *_: object) -> None:
        self.table.seen.add((self.table.name, ""))
        self.at = 0

    def Eof(self) -> bool:
        return self.at >= len(self.rows)

    def Rowid(self) -> int:
        return self.at

    def Column(self, number: int) -> object:
        if number < 0:
            return self.at
        self.table.seen.add((self.table.name, COLUMNS[self.table.name][number]))
        return self.rows[self.at][number]

    def Next(self) -> None:
        self.at += 1

    def Close(self) -> None: ...


@pytest.fixture(scope="module")
def taken() -> Iterator[Callable[[str], Seen | None]]:
    """What a statement takes; None if it is not valid."""
    database, module = apsw.Connection(":memory:"), _Module()
    for name in COLUMNS:
        database.create_module(name, cast("apsw.VTModule", module))
        database.execute(f"CREATE VIRTUAL TABLE temp.{name} USING {name}")
    for sql in VIEWS.values():
        database.execute(sql)

    def run(sql: str) -> Seen | None:
        module.seen.clear()
        try:
            for number, _ in enumerate(database.execute(sql)):
                if number > 200:
                    break
        except apsw.Error:
            return None
        return set(module.seen)

    yield run
    database.close()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text('deny_tables = ["shell_history"]\ndeny_columns = ["users.directory"]')
    return Policy.load(path, GivenTables(Tables("5", COLUMNS, VIEWS)), owner=os.getuid())


NAMES = st.sampled_from([*COLUMNS, *VIEWS, "users", "groups", "main.users", "temp.shell_history", "c"])
COLUMN = st.sampled_from(["uid", "gid", "username", "directory", "command", "groupname", "time", "rowid", "1"])
ALIAS = st.sampled_from(["", " a", " AS b", " users"])
JOIN = st.sampled_from(["{} NATURAL JOIN {}", "{}, {}", "{} JOIN {} USING (uid)", "{} LEFT JOIN {} USING (directory)",
                        "{} CROSS JOIN {} USING (command)", "{} JOIN {} ON 1", "{} NATURAL LEFT JOIN {}"])  # fmt: skip


def _columns(statement: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.one_of(
        COLUMN,
        st.just("*"),
        st.builds("count({})".format, st.one_of(COLUMN, st.just("*"))),
        st.builds("max({}) OVER (ORDER BY {})".format, COLUMN, COLUMN),
        st.builds("({})".format, statement),
        st.builds("EXISTS ({})".format, statement),
        st.sampled_from(["'/root' AS directory", "'id' AS command", "0 AS uid"]),
    )
    return st.lists(one, min_size=1, max_size=2).map(", ".join)


def _extend(statement: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = st.builds("{}{}".format, st.one_of(NAMES, st.builds("({})".format, statement)), ALIAS)
    source = st.one_of(item, st.builds(lambda form, one, other: form.format(one, other), JOIN, item, item))
    where = st.one_of(
        st.just(""),
        st.builds(" WHERE {} = {}".format, COLUMN, COLUMN),
        st.builds(" WHERE {} IN ({})".format, COLUMN, statement),
        st.builds(" WHERE {} IN {}".format, COLUMN, NAMES),
        st.builds(" GROUP BY {}".format, COLUMN),
        st.builds(" ORDER BY {} LIMIT 3".format, COLUMN),
    )
    select = st.builds("SELECT {} FROM {}{}".format, _columns(statement), source, where)
    return st.one_of(
        select,
        select,
        st.builds("WITH c AS ({}) {}".format, statement, select),
        st.builds("{} UNION ALL {}".format, select, select),
        st.builds("SELECT value FROM json_each(({}))".format, statement),
    )


LEAF = st.builds("SELECT {} FROM {}".format, COLUMN, NAMES) | st.sampled_from(
    ["SELECT '/root' AS directory", "SELECT 1"]
)


@pytest.fixture(scope="module")
def met() -> Iterator[Counter[str]]:
    """How often statements of each kind came; too few of one would prove nothing."""
    met: Counter[str] = Counter()
    yield met
    assert min(met["denied"], met["free and permitted"]) > 50, met


@settings(max_examples=1500, deadline=None)
@given(sql=st.recursive(LEAF, _extend, max_leaves=6))
def test_what_a_statement_takes_was_foreseen(
    policy: Policy, taken: Callable[[str], Seen | None], met: Counter[str], sql: str
) -> None:
    seen = taken(sql)
    if seen is None:
        return
    reason = policy.check(sql, live=True)
    if any(table == "shell_history" for table, _ in seen) or ("users", "directory") in seen:
        met["denied"] += 1
        assert reason is not None
    elif reason is None:
        met["free and permitted"] += 1
