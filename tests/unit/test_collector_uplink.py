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
from collector.uplink.enrol import _read_key
from collector.uplink.said import BROKEN, plain
from tests.support.certificates import Authority

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


@pytest.mark.parametrize("held", [bytes(range(128, 256)), b"", b"k" * 70_000, b"a\tb"])
def test_a_key_file_of_garbage_holds_no_key(held: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "node_key"
    path.write_bytes(held)
    assert _read_key(path) == ""
    assert f"{path} holds no key, so that the device enrols again" in caplog.text
    path.write_bytes(b"key-0\n")
    assert _read_key(path) == "key-0"


async def test_a_server_that_does_not_listen_is_told_without_pythons_words() -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as refused:
        async with aiohttp.ClientSession() as session:
            await session.get("http://127.0.0.1:9/")
    assert plain(refused.value) == "the server cannot be reached: Connection refused"


async def test_a_certificate_for_another_name_points_to_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=authority.serving("other")
    )
    trusting = ssl.create_default_context(cafile=authority.certificate)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(f"https://localhost:{port}/", ssl=trusting)
    said = plain(refused.value)
    assert "not valid for 'localhost'" in said and said.endswith("(setting server)")
