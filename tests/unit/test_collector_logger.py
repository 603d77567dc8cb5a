"""The logger plugin: whatever osqueryd says is answered with success and stored, or counted as lost."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.extension.holding import Holding
from collector.extension.logger import NO_OBJECT, Logger
from collector.spool import Gap, Line, Spool, SpoolFullError
from tests.support.recorded import TRANSCRIPTS

NOW = 1_795_541_571


class Sink:
    """A spool that can be full."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.gaps: list[Gap] = []
        self.full = False
        self.tries = 0

    def put(self, lines: Sequence[Line]) -> None:
        self.tries += 1
        if self.full:
            raise SpoolFullError("no room")
        self.lines += lines

    def lost(self, gaps: Sequence[Gap]) -> None:
        if self.full:
            raise SpoolFullError("no room")
        self.gaps += gaps


def logger_of(sink: Sink, **options: Any) -> tuple[Logger, Holding]:
    holding = Holding(sink, **options)
    return Logger(holding, clock=lambda: NOW), holding


def test_every_recorded_call_is_answered_as_osqueryd_wants_it() -> None:
    files = sorted(TRANSCRIPTS.glob("s8*.jsonl"))
    assert len(files) >= 20
    calls = lines = 0
    for file in files:
        sink = Sink()
        logger, _ = logger_of(sink)
        sent = 0
        for entry in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            if entry.get("event") != "call" or "request" not in entry:
                continue
            request = {key: _as_decoded(value) for key, value in entry["request"].items()}
            wanted = 1 if request == {"action": "features"} else 0
            assert logger(request) == (wanted, []), (file.name, request)
            sent += 1 if "string" in request or "snapshot" in request else len(json.loads(request.get("log", "[]")))
            calls += 1
        assert len(sink.lines) + sum(gap.lines for gap in sink.gaps) == sent, file.name
        assert not sink.gaps, file.name
        lines += sent
    assert calls > 500
    assert lines > 500


def _as_decoded(text: str) -> str:
    """What the recorder wrote as a backslash and two digits was a byte that is not UTF-8."""
    return re.sub(r"(?<!\\)\\x[0-9a-f]{2}", "\ufffd", text)


def test_lines_are_kept_as_they_came(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 10_000_000)
    logger = Logger(Holding(spool), clock=lambda: NOW)
    event = '{"name":"up","hostIdentifier":"vm","unixTime":1795385151,"counter":0,"columns":{"a":"ü"},"action":"added"}'
    snapshot = '{"snapshot":[{"a":"1"}],"action":"snapshot","name":"snap","unixTime":1795385154,"counter":0}'
    assert logger({"string": event, "category": "event"}) == (0, [])
    assert logger({"snapshot": snapshot}) == (0, [])
    batch = spool.batch("log", 1_000_000, 10)
    spool.close()
    assert batch is not None
    assert batch.lines == (
        Line("result", "up", 1795385151, event.encode()),
        Line("snapshot", "snap", 1795385154, snapshot.encode()),
    )


def test_a_row_of_a_snapshot_as_event_supersedes_no_other_row() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    row = '{"name":"s","action":"snapshot","unixTime":1795385154,"columns":{"a":"1"}}'
    logger({"snapshot": row})
    assert [line.kind for line in sink.lines] == ["result"]


def test_status_lines_become_the_long_ones() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    log = '[{"s":2,"f":"scheduler.cpp","i":128,"m":"Error executing scheduled query bad: no such table: t","h":"vm",'
    log += '"c":"Sun Nov 22 22:05:50 2026 UTC","u":1795385150},{"s":0,"f":"a.cpp","i":1,"m":"b","h":"vm","c":"","u":1}]'
    logger({"status": "true", "log": log})
    logger.version = "5.23.0"
    logger({"status": "true", "log": log})
    first, _, third, _ = sink.lines
    assert (first.kind, first.name, first.at) == ("status", "", 1795385150)
    assert json.loads(first.text) == {
        "hostIdentifier": "vm",
        "calendarTime": "Sun Nov 22 22:05:50 2026 UTC",
        "unixTime": 1795385150,
        "severity": 2,
        "filename": "scheduler.cpp",
        "line": 128,
        "message": "Error executing scheduled query bad: no such table: t",
    }
    assert json.loads(third.text) == {**json.loads(first.text), "version": "5.23.0"}


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[1]", '"text"', "{", "null", "[" * 100_000, '{"a":1}}'],
    ids="empty words list text open null deep trailing".split(),
)
def test_what_is_no_object_is_counted_as_lost(text: str) -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    assert logger({"string": text, "category": "event"}) == (0, [])
    assert sink.lines == []
    assert sink.gaps == [Gap("", 1, len(text.encode()), NOW, NOW, NO_OBJECT)]


def test_a_loss_is_told_under_its_query_where_the_name_can_be_seen() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    logger({"snapshot": '{"snapshot":[}],"action":"snapshot","name":"pack_a_b","hostIdentifier":"vm","unixTime":1}'})
    assert [gap.name for gap in sink.gaps] == ["pack_a_b"]


def test_what_only_lenient_readers_take_is_mended() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    logger({"string": '{"name":"a","unixTime":1795385151,"columns":{"x":"tab\there","y":"\\ud800","z":NaN}}'})
    assert json.loads(sink.lines[0].text)["columns"] == {"x": "tab\there", "y": "?", "z": None}
    assert json.loads(sink.lines[0].text.decode("ascii"))["name"] == "a"


@pytest.mark.parametrize("unix", ["1795385151", "nonsense", None, -5, 1e300, [], 2**70])
def test_any_time_is_survived(unix: object) -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    assert logger({"string": json.dumps({"name": "a", "unixTime": unix})}) == (0, [])
    assert sink.lines[0].at == (1795385151 if unix == "1795385151" else NOW)


def test_a_huge_message_is_cut() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    logger({"status": "true", "log": json.dumps([{"s": 1, "m": "x" * 1_000_000, "u": 5}])})
    assert len(sink.lines[0].text) < 20_000


def test_while_the_spool_is_full_lines_are_held_and_then_come_first() -> None:
    sink, clock = Sink(), [0.0]
    logger, holding = logger_of(sink, clock=lambda: clock[0], retry=5)
    sink.full = True
    for number in range(3):
        assert logger({"string": json.dumps({"name": f"q{number}", "unixTime": 7})}) == (0, [])
    assert sink.tries == 1, "a call is not kept waiting by a spool that has just failed"
    assert not holding.is_empty
    sink.full = False
    clock[0] = 6
    logger({"string": json.dumps({"name": "q3", "unixTime": 7})})
    assert [line.name for line in sink.lines] == ["q0", "q1", "q2", "q3"]
    assert holding.is_empty
    assert sink.gaps == []


def test_held_lines_are_written_without_another_call() -> None:
    sink, clock = Sink(), [0.0]
    logger, holding = logger_of(sink, clock=lambda: clock[0], retry=5)
    sink.full = True
    logger({"string": '{"name":"q","unixTime":7}'})
    sink.full = False
    holding.retry()
    assert sink.lines == []
    clock[0] = 5
    holding.retry()
    assert [line.name for line in sink.lines] == ["q"]


def test_memory_is_bounded_and_status_lines_go_before_results() -> None:
    sink, clock = Sink(), [0.0]
    logger, holding = logger_of(sink, most=50_000, clock=lambda: clock[0], retry=5)
    sink.full = True
    for number in range(20):
        logger({"string": json.dumps({"name": "q", "unixTime": number + 1})})
    flood = json.dumps([{"s": 0, "m": "x" * 100, "u": 9}] * 1000)
    logger({"status": "true", "log": flood})
    logger({"string": json.dumps({"name": "big", "unixTime": 3, "x": "y" * 60_000})})
    sink.full, clock[0] = False, 6
    holding.retry()
    assert [line.at for line in sink.lines if line.kind == "result"] == list(range(1, 21))
    kept = sum(line.kind == "status" for line in sink.lines)
    assert 0 < kept < 1000
    assert {(gap.name, gap.lines, gap.reason) for gap in sink.gaps} == {
        ("", 1000 - kept, "unwritable"),
        ("big", 1, "unwritable"),
    }


def test_of_many_queries_losses_are_summed() -> None:
    sink, clock = Sink(), [0.0]
    logger, holding = logger_of(sink, most=300, clock=lambda: clock[0], retry=5)
    sink.full = True
    for number in range(1, 501):
        logger({"string": json.dumps({"name": f"q{number}", "unixTime": number})})
    sink.full, clock[0] = False, 6
    holding.retry()
    assert sum(gap.lines for gap in sink.gaps) + len(sink.lines) == 500
    assert len(sink.gaps) <= 65
    assert min(gap.first_at for gap in sink.gaps) == 1


def test_a_line_that_cannot_be_stored_holds_up_no_other() -> None:
    class Picky(Sink):
        def put(self, lines: Sequence[Line]) -> None:
            if any(line.name == "bad" for line in lines):
                raise ValueError("bad")
            super().put(lines)

    sink = Picky()
    _, holding = logger_of(sink)
    holding.put([Line("result", name, 5, b"{}") for name in ("a", "bad", "b")])
    assert [line.name for line in sink.lines] == ["a", "b"]
    assert [(gap.name, gap.lines) for gap in sink.gaps] == [("bad", 1)]


def test_what_is_not_a_call_of_a_logger_is_answered_all_the_same() -> None:
    sink = Sink()
    logger, _ = logger_of(sink)
    for request in ({}, {"init": "osqueryd"}, {"health": "true"}, {"action": "other"}, {"status": "true"}):
        assert logger(request) == (0, [])
    assert sink.lines == []
    assert sink.gaps == []
