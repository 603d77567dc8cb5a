"""No bytes that osqueryd could send give another code than 0, end the server, or stop the calls that come after."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.extension.holding import Holding
from collector.extension.logger import Logger
from collector.osqueryd import Server
from collector.spool import Gap, Line

KEYS = st.sampled_from([b"string", b"snapshot", b"log", b"status", b"category", b"action", b"init", b"x"])
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("s f i m h c u name".split()), inner),
    max_leaves=10,
)
VALUES = st.binary(max_size=200) | NESTED.map(lambda value: json.dumps(value).encode())
REQUESTS = st.dictionaries(KEYS, VALUES, max_size=4)


class Sink:
    """Takes anything."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.gaps: list[Gap] = []

    def put(self, lines: Any) -> None:
        self.lines += lines

    def lost(self, gaps: Any) -> None:
        self.gaps += gaps


class Served:
    """The logger behind a socket, spoken to byte by byte as osqueryd does."""

    def __init__(self, path: Path) -> None:
        self.sink = Sink()
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._server = Server(self._listener, {"logger": {"muster": Logger(Holding(self.sink))}}, lambda: None)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def close(self) -> None:
        self._server.close(5)
        self._listener.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served(tmp_path_factory.mktemp("s") / "s")
    yield one
    one.close()


def text(raw: bytes) -> bytes:
    return struct.pack("!i", len(raw)) + raw


def call_of(request: dict[bytes, bytes]) -> bytes:
    entries = b"".join(text(key) + text(value) for key, value in request.items())
    fields = b"\x0b\x00\x01" + text(b"logger") + b"\x0b\x00\x02" + text(b"muster")
    fields += b"\x0d\x00\x03\x0b\x0b" + struct.pack("!i", len(request)) + entries + b"\x00"
    return b"\x80\x01\x00\x01" + text(b"call") + struct.pack("!i", 7) + fields


def code_of(connection: socket.socket) -> int:
    """The code in the answer: after the header (version, name, number), the fields success, status, code."""
    head = b"\x80\x01\x00\x02" + text(b"call") + struct.pack("!i", 7) + b"\x0c\x00\x00\x0c\x00\x01\x08\x00\x01"
    answer = b""
    while len(answer) < len(head) + 4:
        piece = connection.recv(4096)
        assert piece, "the connection was closed"
        answer += piece
    assert answer.startswith(head)
    return int.from_bytes(answer[len(head) : len(head) + 4], "big", signed=True)


@given(request=REQUESTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_request_is_answered_with_success(served: Served, request: dict[bytes, bytes]) -> None:
    with served.connect() as connection:
        connection.sendall(call_of(request))
        wanted = 1 if request.get(b"action") == b"features" else 0
        assert code_of(connection) == wanted


@given(noise=st.binary(max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_ends_its_own_connection_only(served: Served, noise: bytes) -> None:
    with served.connect() as other:
        other.sendall(noise)
        other.shutdown(socket.SHUT_WR)
    with served.connect() as connection:
        connection.sendall(call_of({b"init": b"osqueryd"}))
        assert code_of(connection) == 0


def test_a_slow_call_holds_up_no_other(served: Served) -> None:
    with served.connect() as slow, served.connect() as quick:
        whole = call_of({b"string": b'{"name":"slow"}'})
        slow.sendall(whole[:40])
        quick.sendall(call_of({b"string": b'{"name":"quick"}'}))
        assert code_of(quick) == 0
        slow.sendall(whole[40:])
        assert code_of(slow) == 0
    assert [line.name for line in served.sink.lines[-2:]] == ["quick", "slow"]


def test_twenty_megabytes_with_bad_bytes_are_taken(served: Served) -> None:
    rows = b",".join([b'{"path":"/home/\xff/x","n":"12345678"}'] * 500_000)
    with served.connect() as connection:
        connection.sendall(call_of({b"snapshot": b'{"snapshot":[' + rows + b'],"name":"big","unixTime":1795385154}'}))
        assert code_of(connection) == 0
    line = served.sink.lines.pop()
    assert (line.kind, line.name, line.at) == ("snapshot", "big", 1795385154)
    assert len(line.text) > 18_000_000
    assert line.text.count(b"\xef\xbf\xbd") == 500_000
