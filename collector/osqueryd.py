"""Osqueryd's extension socket: the one module that touches osquery-python and thrift.

The client asks osqueryd for rows. What osquery-python's own client cannot take is taken here: bytes that are not UTF-8
become U+FFFD, strings and answers may have any length, and a call has a limit for all of it, not for each read.
"""

from __future__ import annotations

import socket as sockets
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from osquery.extensions.ExtensionManager import Client
from osquery.extensions.ttypes import InternalExtensionInfo
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportBase

_READ_BYTES = 65536
# Column names and short values repeat in every row: one string object each instead of 200,000.
_SHARED_LENGTH = 48
_SHARED_STRINGS = 4096


class OsqueryGoneError(Exception):
    """Osqueryd cannot be reached, hung up or took too long (``timed_out``)."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What osqueryd answered: ``code`` 0 and the rows, or another code and SQLite's ``message``. Values are text."""

    code: int
    message: str
    rows: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Registered:
    """An extension as osqueryd lists it."""

    uuid: int
    name: str
    version: str


class Osquery:
    """A connection to osqueryd, opened by the first call and again by the next one after it broke. For one thread."""

    def __init__(self, socket: Path, timeout: float) -> None:
        """A client of the extension socket. ``timeout``: seconds a whole call may take."""
        self._socket = socket
        self._timeout = timeout
        self._stream: Stream | None = None
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def query(self, sql: str) -> QueryResult:
        """Run one statement. Raises OsqueryGoneError; an SQL error is a result with a code."""
        answer = self._call("query", _writable(sql))
        return QueryResult(answer.status.code or 0, answer.status.message or "", answer.response or [])

    def extensions(self) -> list[Registered]:
        """The extensions registered now. Raises OsqueryGoneError."""
        listed = self._call("extensions")
        return [Registered(uuid, info.name or "", info.version or "") for uuid, info in listed.items()]

    def options(self) -> dict[str, str]:
        """Osqueryd's flags and their values. Raises OsqueryGoneError."""
        return {name: option.value or "" for name, option in self._call("options").items()}

    def ping(self) -> None:
        """Ask whether osqueryd lives. Raises OsqueryGoneError."""
        self._call("ping")

    def register(self, name: str, version: str, plugins: Mapping[str, Mapping[str, object]]) -> tuple[int, str]:
        """Register an extension: its uuid, or 0 and osqueryd's reason. Raises OsqueryGoneError."""
        info = InternalExtensionInfo(name=name, version=version, sdk_version="5.0.0", min_sdk_version="1.8.0")
        registry: dict[str, dict[str, list[object]]] = {kind: {i: [] for i in items} for kind, items in plugins.items()}
        status = self._call("registerExtension", info, registry)
        return (int(status.uuid or 0), "") if status.code == 0 else (0, status.message or "refused")

    def deregister(self, uuid: int) -> None:
        """Take an extension off osqueryd's list. Raises OsqueryGoneError."""
        self._call("deregisterExtension", uuid)

    def close(self) -> None:
        """Hang up. The next call connects anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._client = None

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            if self._stream is None:
                self._stream = Stream.connect(self._socket, self._timeout)
                self._client = Client(Protocol(self._stream))
            self._stream.limit(self._timeout)
            return getattr(self._client, method)(*arguments)
        except TimeoutError as error:
            self.close()
            raise OsqueryGoneError(f"no answer within {self._timeout:g} s", timed_out=True) from error
        except (OSError, EOFError, TException, ValueError, struct.error) as error:
            self.close()
            raise OsqueryGoneError(
                f"{self._socket}: {error}" if str(error) else f"{self._socket}: broken off"
            ) from error


class Stream(TTransportBase):  # type: ignore[misc]
    """A connected Unix socket as thrift wants it: buffered both ways, with one limit for a whole call."""

    def __init__(self, connection: sockets.socket) -> None:
        self._connection = connection
        self._deadline: float | None = None
        self._read = b""
        self._at = 0
        self._written: list[bytes] = []

    @classmethod
    def connect(cls, path: Path, timeout: float) -> Stream:
        """Connect to a path. Raises OSError."""
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(str(path))
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def limit(self, seconds: float | None) -> None:
        """From now on reads and writes must be done within so many seconds; None: never. Raises nothing itself."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._connection.settimeout(seconds)
        self._written.clear()

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises EOFError when the other side hung up, TimeoutError, OSError."""
        end = self._at + size
        if end <= len(self._read):
            piece = self._read[self._at : end]
            self._at = end
            return piece
        if size < 0:
            raise ValueError(f"a length of {size}")
        gathered = bytearray(self._read[self._at :])
        while len(gathered) < size:
            gathered += self._receive(max(_READ_BYTES, min(size - len(gathered), 1 << 20)))
        self._read = bytes(memoryview(gathered)[size:])
        self._at = 0
        return bytes(memoryview(gathered)[:size])

    def readAll(self, size: int) -> bytes:
        """Thrift's name of :meth:`take`."""
        return self.take(size)

    def write(self, piece: bytes) -> None:
        """Hold bytes until :meth:`flush`."""
        self._written.append(piece)

    def flush(self) -> None:
        """Send what was written. Raises OSError."""
        held, self._written = b"".join(self._written), []
        self._wait()
        self._connection.sendall(held)

    def close(self) -> None:
        """Hang up, also under a thread that reads."""
        with suppress(OSError):  # the other side was first
            self._connection.shutdown(sockets.SHUT_RDWR)
        self._connection.close()

    def _receive(self, size: int) -> bytes:
        self._wait()
        piece = self._connection.recv(size)
        if not piece:
            raise EOFError("the connection was closed")
        return piece

    def _wait(self) -> None:
        if self._deadline is None:
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


class Protocol(TBinaryProtocol):  # type: ignore[misc]
    """Thrift's binary protocol over a :class:`Stream`, with any bytes in strings of any length.

    Thrift's own protocol ends the connection at the first byte that is not UTF-8 and at 16 MB. Its accelerated one
    cannot be used: the code that osquery-python generated long ago does not fit it any more.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, string_length_limit=None)
        self._take = stream.take
        self._shared: dict[bytes, str] = {}

    def readString(self) -> str:
        """A string; what is not UTF-8 in it becomes U+FFFD."""
        raw = self._take(int.from_bytes(self._take(4), "big", signed=True))
        if len(raw) > _SHARED_LENGTH:
            return raw.decode("utf-8", "replace")
        text = self._shared.get(raw)
        if text is None:
            text = raw.decode("utf-8", "replace")
            if len(self._shared) < _SHARED_STRINGS:
                self._shared[raw] = text
        return text

    def writeString(self, text: str) -> None:
        """A string; lone surrogates, which UTF-8 has not, become question marks."""
        self.writeBinary(text.encode("utf-8", "replace"))


def _writable(sql: str) -> str:
    # A NUL would end the statement early in osqueryd: another statement than was asked.
    return sql.replace("\0", "\ufffd")
