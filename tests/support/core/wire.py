"""Thrift as osqueryd speaks it: bytes go through as they are, and no string is too long.

A string of osqueryd is bytes. Here it is text in which a byte that is no UTF-8 is a lone surrogate
(``surrogateescape``), so that it can be written in JSON as ``\\udcff`` and leaves as the byte 0xff.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osquery.extensions import Extension, ExtensionManager
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.server.TServer import TThreadedServer
from thrift.Thrift import TApplicationException
from thrift.transport.TSocket import TServerSocket, TSocket
from thrift.transport.TTransport import TBufferedTransport, TBufferedTransportFactory, TTransportException

logging.getLogger("thrift").setLevel(logging.CRITICAL)  # that nobody listens yet is said as an error

PING_MESSAGE = "pong"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call brought: a plugin's code, message and rows, or with code 1 why there was none."""

    code: int
    message: str
    rows: list[dict[str, str]]
    answered: bool = True
    """False: the extension gave no answer (gone, raised, hung, broke off)."""


class _Protocol(TBinaryProtocol):  # type: ignore[misc]
    def readString(self) -> str:
        return str(self.readBinary().decode("utf-8", "surrogateescape"))

    def writeString(self, text: str) -> None:
        self.writeBinary(text.encode("utf-8", "surrogateescape"))


class _ProtocolFactory:
    def getProtocol(self, transport: Any) -> _Protocol:
        return _Protocol(transport, string_length_limit=None)


class _Socket(TSocket):  # type: ignore[misc]
    def write(self, buff: bytes) -> None:
        """All of it; thrift's own copies the rest of the buffer after each piece."""
        try:
            self.handle.sendall(buff)
        except TimeoutError as error:
            raise TTransportException(TTransportException.TIMED_OUT, "THRIFT_EAGAIN (timed out)") from error
        except OSError as error:
            raise TTransportException(message="write() send(): Broken pipe") from error


def listens(path: str) -> bool:
    """Whether somebody accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def ping(path: str, seconds: float) -> bool:
    """Whether an extension answers in time."""
    answer = _asked(path, seconds, lambda client: client.ping())
    return answer.answered and answer.code == 0


def shutdown(path: str, seconds: float) -> None:
    """Ask an extension to end itself."""
    _asked(path, seconds, lambda client: client.shutdown())


def call(path: str, seconds: float, registry: str, item: str, request: Mapping[str, str]) -> Answer:
    """One call on a connection of its own, as osqueryd makes them; never raises."""
    return _asked(path, seconds, lambda client: client.call(registry, item, dict(request)))


def query(path: str, seconds: float, sql: str) -> Answer:
    """Ask core, as a client of its socket; never raises."""
    return _asked(path, seconds, lambda client: client.query(sql), ExtensionManager.Client)


def _asked(path: str, seconds: float, question: Any, kind: Any = Extension.Client) -> Answer:
    transport_socket = _Socket(unix_socket=path)
    transport_socket.setTimeout(seconds * 1000)
    transport = TBufferedTransport(transport_socket)
    try:
        try:
            transport.open()
        except TTransportException:
            return Answer(1, f"Extension socket not available: {path}", [], answered=False)
        answer = question(kind(_Protocol(transport, string_length_limit=None)))
    except TApplicationException as error:
        return Answer(1, f"Extension call failed: {error.message}", [], answered=False)
    except Exception as error:
        return Answer(1, f"Extension call failed: {_said(error)}", [], answered=False)
    finally:
        transport.close()
    status = getattr(answer, "status", answer)
    if status is None or status.code is None:
        return Answer(1, "Extension call failed: no status", [], answered=False)
    return Answer(status.code, status.message or "", getattr(answer, "response", None) or [])


def _said(error: Exception) -> str:
    if not isinstance(error, TTransportException):
        return f"{type(error).__name__}: {error}"
    if error.type == TTransportException.TIMED_OUT:
        return "THRIFT_EAGAIN (timed out)"
    if str(error.message).startswith("write()"):
        return str(error.message)
    return "No more data to read."


def serve(path: str, handler: Any) -> None:
    """Host the ExtensionManager on a Unix socket, in threads of its own; returns when it listens."""
    transport = TServerSocket(unix_socket=path)
    server = TThreadedServer(
        ExtensionManager.Processor(handler), transport, TBufferedTransportFactory(), _ProtocolFactory(), daemon=True
    )
    listening = threading.Event()
    listen = transport.listen

    def listened() -> None:
        listen()
        listening.set()

    transport.listen = listened
    threading.Thread(target=server.serve, daemon=True, name="extension-manager").start()
    if not listening.wait(10):
        raise OSError(f"cannot listen on {path}")
