"""Large snapshots that were read before are left unread, and every body is read alike with and without that."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.log import parse_log
from server.wire.messages import LogBody
from server.wire.repeats import SMALLEST, cut

LARGE = [
    {"name": f"package-{number}", "text": 'a "quote", a ] and },"action":"snapshot",{"snapshot":['}
    for number in range(80)
]


def line(rows: Any, name: str = "packages") -> dict[str, Any]:
    return {"snapshot": rows, "action": "snapshot", "name": name, "unixTime": 1_790_000_000, "epoch": 0, "counter": 0}


def body(*lines: dict[str, Any]) -> bytes:
    return orjson.dumps({"data": list(lines), "log_type": "result", "node_key": "k"})


def plain(parsed: LogBody) -> list[tuple[str, Any]]:
    return [(result.name, list(result.added)) for result in parsed.results]


def digests(raw: bytes) -> set[bytes]:
    return {rows.digest for rows in cut(raw)[1]}


def test_rows_that_are_new_are_read() -> None:
    parsed = parse_log(body(line(LARGE), line([{"a": "1"}], "small")))
    assert plain(parsed) == [("packages", LARGE), ("small", [{"a": "1"}])]
    assert [result.unread for result in parsed.results] == [False, False]
    assert parsed.results[0].raw_rows is not None
    assert parsed.results[1].raw_rows is None


def test_familiar_rows_are_left_unread_beside_others() -> None:
    other = [{**row, "version": "2"} for row in LARGE]
    known = digests(body(line(LARGE)))
    parsed = parse_log(body(line(other, "b"), line(LARGE, "a"), line([], "c")), familiar=known)
    assert [(result.name, result.unread, len(result.added)) for result in parsed.results] == [
        ("b", False, len(other)),
        ("a", True, 0),
        ("c", False, 0),
    ]
    raw = parsed.results[1].raw_rows
    assert raw is not None
    assert orjson.loads(raw.text) == LARGE


@pytest.mark.parametrize(
    "broken",
    [
        body(line(LARGE))[:-40],
        body(line(LARGE)).replace(b"package-7", b"package-\xff", 1),
        body(line([{"n": 1}] * 300)).replace(b'"n":1', b'"n":1180591620717411303424'),
        body(line([{"n": {"snapshot": [1] * 900, "action": "snapshot", "x": 1}}])),
        body(line("9" * SMALLEST)),
        b'{"snapshot":[' + b"x" * SMALLEST + b'],"action":"snapshot",',
    ],
)
def test_what_is_no_plain_json_is_read_as_without(broken: bytes) -> None:
    unmarked = broken.replace(b'{"snapshot"', b'{"snapshot" ')  # the same to a parser, and nothing is cut out
    for familiar in (set[bytes](), digests(broken)):
        parsed, expected = parse_log(broken, "k", familiar), parse_log(unmarked, "k")
        assert [bad.reason.split(":")[0] for bad in parsed.bad] == [bad.reason.split(":")[0] for bad in expected.bad]
        assert [result.name for result in parsed.results] == [result.name for result in expected.results]
        for one, other in zip(parsed.results, expected.results, strict=True):
            assert one.unread or list(one.added) == list(other.added)


ROWS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=4), max_size=60)


@given(
    st.lists(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=4), max_size=60), max_size=5)
)
def test_any_snapshots_are_read_alike(snapshots: list[list[dict[str, str]]]) -> None:
    raw = json.dumps(
        {"data": [line(rows, f"q{number}") for number, rows in enumerate(snapshots)], "node_key": "k"},
        separators=(",", ":"),
    ).encode()
    assert plain(parse_log(raw)) == [(f"q{number}", rows) for number, rows in enumerate(snapshots)]
