"""The client of osqueryd's socket against a socket that answers what a real osqueryd has answered, and worse."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.osqueryd import Osquery, OsqueryGoneError


def text(raw: bytes) -> bytes:
    return struct.pack("!i", len(raw)) + raw


def reply(rows: list[dict[bytes, bytes]], code: int = 0, message: bytes = b"OK") -> bytes:
    """What osqueryd's query call answers, byte by byte."""
    status = b"\x08\x00\x01" + struct.pack("!i", code) + b"\x0b\x00\x02" + text(message) + b"\x00"
    listed = b"".join(
        b"\x0b\x0b" + struct.pack("!i", len(row)) + b"".join(text(k) + text(v) for k, v in row.items()) for row in rows
    )
    response = b"\x0c\x00\x01" + status + b"\x0f\x00\x02\x0d" + struct.pack("!i", len(rows)) + listed + b"\x00"
    return b"\x80\x01\x00\x02" + text(b"query") + struct.pack("!i", 0) + b"\x0c\x00\x00" + response + b"\x00"


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A socket that treats every connection by ``answer``, one after the other."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def once(payload: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(payload)

    return answer


def test_rows_with_any_bytes_arrive(tmp_path: Path) -> None:
    rows = [{b"path": b"/home/\xff\xfe/a", b"name": "ü😀".encode()}, {b"path": b"", b"name": b"\xed\xa0\x80"}]
    with answering(tmp_path / "s", once(reply(rows))), Osquery(tmp_path / "s", 5) as osquery:
        result = osquery.query("select path, name from file")
    assert (result.code, result.message) == (0, "OK")
    assert result.rows == [{"path": "/home/��/a", "name": "ü😀"}, {"path": "", "name": "���"}]


def test_a_value_over_thrifts_limit_arrives(tmp_path: Path) -> None:
    big = b"x" * 17_000_000
    with answering(tmp_path / "s", once(reply([{b"a": big}, {b"a": b"1"}]))), Osquery(tmp_path / "s", 30) as osquery:
        rows = osquery.query("select a from t").rows
    assert [len(row["a"]) for row in rows] == [17_000_000, 1]


def test_an_error_is_a_result(tmp_path: Path) -> None:
    payload = reply([], 1, b'near "selec": syntax error')
    with answering(tmp_path / "s", once(payload)), Osquery(tmp_path / "s", 5) as osquery:
        result = osquery.query("selec 1")
    assert (result.code, result.message, result.rows) == (1, 'near "selec": syntax error', [])


def test_a_call_has_one_limit_though_bytes_keep_coming(tmp_path: Path) -> None:
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in reply([{b"a": b"x" * 1000}]):
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
            if done.wait(0.02):
                return

    with answering(tmp_path / "s", drip), Osquery(tmp_path / "s", 0.3) as osquery:
        with pytest.raises(OsqueryGoneError) as caught:
            osquery.query("select 1")
        done.set()
    assert caught.value.timed_out


@pytest.mark.parametrize("payload", [b"", reply([{b"a": b"b"}])[:40], b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_broken_answer_says_gone_and_the_next_call_connects_anew(tmp_path: Path, payload: bytes) -> None:
    answers = iter([payload, reply([{b"a": b"b"}])])
    with (
        answering(tmp_path / "s", lambda connection: once(next(answers))(connection)),
        Osquery(tmp_path / "s", 5) as osquery,
    ):
        with pytest.raises(OsqueryGoneError) as caught:
            osquery.query("select 1")
        assert not caught.value.timed_out
        assert osquery.query("select 1").rows == [{"a": "b"}]


def test_no_socket_says_gone(tmp_path: Path) -> None:
    with pytest.raises(OsqueryGoneError, match=r"none\.em"):
        Osquery(tmp_path / "none.em", 1).query("select 1")


def test_a_nul_in_a_statement_does_not_shorten_it(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(reply([]))

    with answering(tmp_path / "s", keep), Osquery(tmp_path / "s", 5) as osquery:
        osquery.query("select 1\0 where 0")
        osquery.close()
    assert b"\0 where" not in seen[0]
