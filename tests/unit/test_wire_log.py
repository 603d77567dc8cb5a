"""Reading /log: every shape osquery sends, and every shape it does not."""

import json
import time
from typing import Any

import pytest

from server.wire import limits
from server.wire.body import BadBodyError
from server.wire.log import parse_file_line, parse_log

LINE: dict[str, Any] = {"name": "q", "unixTime": 1700000000, "epoch": 0, "counter": 0, "hostIdentifier": "h"}


def body(*lines: Any, log_type: str = "result", **more: Any) -> bytes:
    return json.dumps({"node_key": "k", "log_type": log_type, "data": list(lines), **more}).encode()


def test_the_four_kinds_of_result_line() -> None:
    read = parse_log(
        body(
            {**LINE, "snapshot": [{"a": "1"}], "action": "snapshot"},
            {**LINE, "diffResults": {"added": [{"a": "1"}], "removed": []}},
            {**LINE, "columns": {"a": "1"}, "action": "removed"},
            {**LINE, "columns": {"a": "1"}, "action": "snapshot"},
        )
    )
    assert [line.kind for line in read.results] == ["snapshot", "diff", "event", "snapshot_row"]
    assert read.results[2].removed == [{"a": "1"}]
    assert not read.bad


def test_empty_answers_are_answers() -> None:
    read = parse_log(body({**LINE, "snapshot": []}, {**LINE, "snapshot": ""}, {**LINE, "diffResults": ""}))
    assert [list(line.added) for line in read.results] == [[], [], []]


def test_decorations_may_stand_at_the_top() -> None:
    under, beside = parse_log(
        body({**LINE, "snapshot": [], "decorations": {"tag": "x"}}, {**LINE, "snapshot": [], "tag": "x"})
    ).results
    assert under.decorations == beside.decorations == {"tag": "x"}


def test_numbers_may_come_as_text() -> None:
    line = parse_log(body({**LINE, "unixTime": "1700000000", "counter": "3", "snapshot": []})).results[0]
    assert (line.unix_time, line.counter) == (1700000000, 3)


def test_status_lines() -> None:
    line = {"severity": 2, "filename": "scheduler.cpp", "line": 1, "message": "m", "unixTime": 1, "version": "5"}
    assert parse_log(body(line, log_type="status")).statuses[0].message == "m"


@pytest.mark.parametrize(
    "bad",
    [
        7,
        "text",
        None,
        [],
        {},
        {**LINE},
        {**LINE, "name": ""},
        {**LINE, "name": 7},
        {**LINE, "name": "x" * 600},
        {**LINE, "snapshot": 7},
        {**LINE, "snapshot": [7]},
        {**LINE, "snapshot": [{"a": {"deep": 1}}]},
        {**LINE, "snapshot": [{str(n): "" for n in range(limits.COLUMNS_A_ROW + 1)}]},
        {**LINE, "diffResults": []},
        {**LINE, "diffResults": 7},
        {**LINE, "columns": [], "action": "added"},
        {**LINE, "columns": {}, "action": "exploded"},
        {**LINE, "unixTime": "soon", "snapshot": []},
        {**LINE, "unixTime": True, "snapshot": []},
        {**LINE, "unixTime": 2**70, "snapshot": []},
        {**LINE, "counter": 1.5, "snapshot": []},
    ],
)
def test_a_bad_line_never_costs_the_good_one_beside_it(bad: Any) -> None:
    read = parse_log(body(bad, {**LINE, "snapshot": [{"a": "1"}]}))
    good = [line for line in read.results if list(line.added) == [{"a": "1"}]]
    assert len(good) == 1
    # An empty list of diffResults is an empty difference; everything else here is set aside with a reason.
    assert read.bad or bad == {**LINE, "diffResults": []}
    assert all(line.reason for line in read.bad)


@pytest.mark.parametrize("raw", [b"7", b'"ok"', b"null", b"[]", b"true", b"", b"{", b"\x00"])
def test_a_body_without_a_node_key_is_refused(raw: bytes) -> None:
    with pytest.raises(BadBodyError):
        parse_log(raw)


def test_a_broken_body_is_read_line_by_line() -> None:
    good = json.dumps({**LINE, "snapshot": [{"a": "1"}]})
    raw = f'{{"data":[{good},{{"name": broken}},{good}],"log_type":"result","node_key":"k"}}'.encode()
    read = parse_log(raw)
    assert read.node_key == "k"
    assert len(read.results) == 2
    assert len(read.bad) == 1


def test_a_body_cut_in_the_middle_keeps_what_came_before() -> None:
    raw = body({**LINE, "snapshot": [{"a": "1"}]}, {**LINE, "snapshot": [{"a": "2"}]})
    cut = b'{"node_key": "k", ' + raw[raw.index(b'"log_type"') : -20]
    read = parse_log(cut)
    assert [list(line.added) for line in read.results] == [[{"a": "1"}]]
    assert read.bad


def test_data_that_is_no_array() -> None:
    shapes: list[Any] = [{}, "x", None, 7]
    for data in shapes:
        raw = json.dumps({"node_key": "k", "log_type": "result", "data": data}).encode()
        assert "data is" in parse_log(raw).bad[0].reason


def test_the_number_of_kept_bad_lines_is_capped() -> None:
    assert len(parse_log(body(*range(5000))).bad) == 100


def test_lines_of_a_file() -> None:
    assert parse_file_line(json.dumps({**LINE, "snapshot": []}).encode()).results
    assert parse_file_line(b"not json").bad[0].reason.startswith("body is not JSON")


@pytest.mark.parametrize("piece", ['{"name":', '{"snapshot":[', '[{"a":', "{{", '"node_key":"'])
def test_a_hostile_body_costs_no_more_than_its_length(piece: str) -> None:
    raw = b'{"node_key":"x","data":[' + piece.encode() * (400_000 // len(piece))
    began = time.process_time()
    body = parse_log(raw)
    assert time.process_time() - began < 2
    assert body.bad


def test_the_key_of_the_header_serves_a_damaged_body() -> None:
    good = json.dumps({**LINE, "snapshot": [{"node_key": "zzz"}]})
    read = parse_log(f'{{"data":[{good},'.encode(), "from-the-header")
    assert read.node_key == "from-the-header"
    assert len(read.results) == 1


def test_large_numbers_keep_their_digits_whatever_numerics_says() -> None:
    read = parse_log(body({**LINE, "numerics": False, "snapshot": [{"n": 18446744073709551617}]}))
    assert read.results[0].added[0]["n"] == 18446744073709551617
    assert parse_log(body({**LINE, "snapshot": [{"n": 1e300}]})).results[0].added[0]["n"] == 1e300
