"""What brought down osqueryd with stock osquery-python, and what it does to an extension that is only slow."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Device, all_delivered, device, extension_pids, is_attached, wait_until
from tests.support.core import transcripts
from tests.support.counting import CountingServer, counting_server

RAW = '{"snapshot":[{"filename":"bad-\udcff\udcfe.txt"}],"action":"snapshot","name":"files_snap","unixTime":1795385893}'
LONGER_THAN_THRIFT_TAKES = 16_400_000


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Device, CountingServer]]:
    flags = {"thrift_timeout": "1", "watch": "manual", "tick": "3600"}
    with (
        counting_server() as server,
        device(tmp_path, f"http://127.0.0.1:{server.port}", "made-up", flags=flags) as made,
    ):
        yield made, server


def test_what_ended_osqueryd_with_stock_code_is_taken(running: tuple[Device, CountingServer]) -> None:
    """s8n, s8o, s8v; as s8x."""
    made, server = running
    for line in (RAW, transcripts.big_snapshot("big", LONGER_THAN_THRIFT_TAKES), RAW):
        assert made.core.log("files_snap", {"snapshot": line}) == [[0, "OK"]]
    assert made.core.do("ping") == {"gone": []}
    all_delivered(made)
    taken = [line for line in server.lines if "files_snap" in line]
    assert len(taken) == 1 and server.lines[taken[0]] == 2 and "bad-\\ufffd\\ufffd.txt" in taken[0]
    assert sum('"name": "big"' in line for line in server.lines) == 1 and server.gaps == []


@pytest.mark.parametrize("session", ["s8a_logger_stock", "s8d_logger_batch_format"])
def test_every_recorded_line_is_taken_and_delivered(session: str, running: tuple[Device, CountingServer]) -> None:
    made, server = running
    recorded = [step for step in transcripts.session(session).steps if step.kind in ("lines", "status")]
    lines = 0
    for step in recorded:
        if step.kind == "status":
            assert made.core.do("status", text=step.entry["request"]["log"])["answers"] == [[0, "OK"]]
        else:
            assert made.core.log(step.query, *step.lines) == [[0, "OK"]] * len(step.lines)
            lines += len(step.lines)
    all_delivered(made)
    assert sum(server.lines.values()) == lines > 5


def test_one_that_was_forgotten_while_it_stood_still_is_back(running: tuple[Device, CountingServer]) -> None:
    """s8l: too slow for a ping, it is no extension any more, though it lives."""
    made, server = running
    pids = extension_pids(made.core)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert made.core.do("ping") == {"gone": ["muster"]}
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_attached(made.core), made.said)
    assert extension_pids(made.core) == pids
    assert made.core.log("up", {"string": '{"name":"up"}'}) == [[0, "OK"]]
    all_delivered(made)
    assert '{"name": "up"}' in server.lines
