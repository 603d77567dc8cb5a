"""The uplink's small parts: waits, bodies, a component that fails, words for what fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from collector.logs import OneLine
from collector.spool import Batch, Line, Spool
from collector.uplink import process
from collector.uplink.backoff import Backoff, squared
from collector.uplink.body import built
from collector.uplink.said import BROKEN, plain

ROOT = Path(__file__).parent.parent.parent


def test_waits_double_up_to_a_ceiling_and_are_drawn_from_all_of_it() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return most

    backoff = Backoff(draw=draw)
    assert [backoff.failed() for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert {least for least, _ in drawn} == {0}
    backoff.reset()
    assert backoff.failed() == 1
    backoff.failures = 10_000_000
    assert backoff.failed() == 300


def test_tries_to_enrol_wait_as_osquerys_do() -> None:
    assert [squared(tries, 600, lambda *_: 0.0) for tries in (1, 2, 3, 24, 25, 1000)] == [1, 4, 9, 576, 600, 600]
    assert squared(10, 600, lambda _, most: most) == 80


def test_a_body_holds_the_lines_as_they_are(tmp_path: Path) -> None:
    lines = (
        Line("result", "users", 1, b'{"name":"users"}'),
        Line("gap", "users", 1, b'{"lines":1}'),
        Line("snapshot", "users", 2, b'{"snapshot":[]}'),
        Line("answer", "q", 2, b'{"id":"q"}'),
        Line("status", "", 3, b'{"severity":0}'),
    )
    spool = Spool(tmp_path / "spool.db", 2**22)
    spool.put([Line("status", "", 7, b"{}")])
    body = json.loads(gzip.decompress(built(Batch("i", "s", "log", 4, 9, lines), spool.stats())))
    spool.close()
    assert body == {
        "batch": {"id": "i", "spool": "s", "lane": "log", "after": 4, "through": 9},
        "backlog": {"lines": 1, "bytes": 2, "oldest_at": 7},
        "gaps": [{"lines": 1}],
        "answers": [{"id": "q"}],
        "data": [{"name": "users"}, {"snapshot": []}, {"severity": 0}],
    }
    assert list(body) == ["batch", "backlog", "gaps", "answers", "data"]
    alone = json.loads(gzip.decompress(built(Batch("i", "s", "live", 0, 1, ()), None)))
    assert (alone["gaps"], alone["answers"], alone["data"]) == ([], [], [])


async def test_a_component_that_fails_is_run_again_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "RESTART_SECONDS", 0.0)
    ran: list[str] = []

    class Fails:
        name = "fails"

        async def run(self) -> None:
            ran.append("fails")
            if len(ran) < 4:
                raise ValueError("made up")

    class Goes:
        name = "goes"

        async def run(self) -> None:
            while ran.count("fails") < 4:  # noqa: ASYNC110 - it is another component's doing
                await asyncio.sleep(0)
            ran.append("goes")

    await process.kept_all([Fails(), Goes()])
    assert ran == ["fails"] * 4 + ["goes"]
    assert [record.message.partition(" and")[0] for record in caplog.records] == ["fails failed"] * 3


def test_a_record_is_one_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.LogRecord("uplink", logging.ERROR, __file__, 1, "a\nb", (), sys.exc_info())
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line.startswith("ERROR a | b | ValueError: first | second (test_collector_uplink.py:")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer within 90 s"),
        (aiohttp.ServerDisconnectedError(), BROKEN),
        (ConnectionResetError(104, "Connection reset by peer"), BROKEN),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"), "asks for a client certificate"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA]"), "does not accept the client certificate"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "no TLS with the server: [ssl: wrong version number]"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_what_fails_is_said_plainly(error: Exception, said: str) -> None:
    assert said in plain(error, 90)


def test_looking_at_help_loads_nothing_heavy() -> None:
    look = (
        "import sys, collector.main;"
        "print([name for name in ('aiohttp', 'thrift', 'sqlite3', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
