"""Names in SQL."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.normalize.rows import Column
from server.store.names import column_name, internal_name, table_name
from server.store.tables import QueryTable


@pytest.mark.parametrize(
    ("query", "table"),
    [("users", "users"), ("linux_pack/mounts", "linux_pack_mounts"), ("Größe", "gr__e"), ("A B", "a_b")],
)
def test_plain_table_names(query: str, table: str) -> None:
    assert table_name(query, ()) == table


@pytest.mark.parametrize(
    "query",
    ["devices", "posture", "select", "muster_tokens", "users_history", "live_7", "x" * 200, "9lives", "___", "é"],
)
def test_names_that_are_not_free_get_a_hash(query: str) -> None:
    name = table_name(query, ())
    assert name != query
    assert len(name.encode()) <= 60
    assert not name.startswith(("muster_", "sqlite_"))


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=20))
def test_no_two_queries_share_a_table(queries: list[str]) -> None:
    taken: set[str] = set()
    for query in queries:
        name = table_name(query, taken)
        assert name not in taken
        taken.add(name)


@given(st.lists(st.text(min_size=0, max_size=80), unique=True, max_size=20))
def test_no_two_columns_share_a_name(columns: list[str]) -> None:
    taken: set[str] = set()
    for column in columns:
        name = column_name(column, taken)
        assert name not in taken
        assert len(name.encode()) <= 63
        taken.add(name)


def test_a_column_never_hides_ours() -> None:
    assert column_name("device_id", ()) == "device_id_"
    assert column_name("valid_from", ()) == "valid_from_"
    assert column_name("muster_digest", ()).startswith("muster_digest_")


@pytest.mark.parametrize("column", ["ctid", "xmin", "XMAX", "cmin", "cmax", "tableoid"])
def test_no_column_is_named_as_those_that_every_postgres_table_has(column: str) -> None:
    assert column_name(column, ()) == f"{column.lower()}_"


@pytest.mark.parametrize("mode", ["state", "events"])
@pytest.mark.parametrize("query", ["x", "y" * 49, "y" * 50, "y" * 52, "y" * 55, "y" * 56, "é" * 512])
def test_postgres_cuts_no_name_of_ours(mode: str, query: str) -> None:
    columns = (Column("c" * 99, column_name("c" * 99, ()), "text"),)
    made = list(QueryTable(query, table_name(query, ()), False, mode, columns).create())
    identifiers = [name for statement in made for name in re.findall('"([^"]+)"', statement)]
    assert len(identifiers) > 5
    assert all(len(name.encode()) <= 63 for name in identifiers), identifiers


def test_internal_names_that_would_be_cut_alike_differ() -> None:
    twins = ["z" * 54 + end for end in "ab"]
    assert len({internal_name(kind, name) for kind in ("rows", "open") for name in twins}) == 4
    # What a long name becomes is no name that a short one could have.
    assert not internal_name("rows", twins[0]).startswith("muster_rows_")
