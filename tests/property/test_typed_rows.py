"""Rows typed together are what each of them would be alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.normalize.rows import Column, typed_row, typed_rows

KINDS = st.sampled_from(["text", "bigint", "double"])
COLUMNS = st.lists(st.tuples(st.sampled_from("abcd"), KINDS, st.booleans()), max_size=4, unique_by=lambda c: c[0])
VALUES = st.one_of(
    st.sampled_from(["", "7", "007", "-1", "1.5", "x", "\x00", "ä", "\u0663", "9" * 18, "9" * 19, None, 3, 2.5]),
    st.text(max_size=4),
)
PLAIN = st.lists(st.sampled_from([{"a": "1", "b": "x", "c": "", "d": "2"}, {"a": "22", "b": "y z", "c": "", "d": "0"}]))
ROWS = st.one_of(PLAIN, st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4), max_size=5))


@given(COLUMNS, ROWS)
def test_together_is_as_alone(columns: list[tuple[str, str, bool]], rows: list[dict[str, Any]]) -> None:
    shape = [Column(name, f"{name}_", kind, volatile) for name, kind, volatile in columns]
    assert typed_rows(rows, shape) == [typed_row(row, shape) for row in rows]
