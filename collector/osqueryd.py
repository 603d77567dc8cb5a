"""Osqueryd's extension socket: the one module that touches osquery-python and thrift.

The client asks osqueryd for rows; the server answers what osqueryd calls an extension for. What osquery-python's own
cannot take is taken here: bytes that are not UTF-8 become U+FFFD, strings and answers may have any length, a call of
the client has a limit for all of it, and calls of the server run side by side and cannot raise.
"""

from __future__ import annotations

import logging
import select
import socket as sockets
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from osquery.extensions.Extension import Processor
from osquery.extensions.ExtensionManager import Client
from osquery.extensions.ttypes import ExtensionResponse, ExtensionStatus, InternalExtensionInfo
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportBase

Answer = tuple[int, list[dict[str, str]]]
Plugin = Callable[[dict[str, str]], Answer]
"""What answers calls of one plugin: the request in, a code and rows out. 0 is success."""
Plugins = Mapping[str, Mapping[str, Plugin]]
"""Plugins by registry (``logger``, ``config``) and name."""

_LOG = logging.getLogger(__name__)
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

    def register(self, name: str, version: str, plugins: Plugins) -> tuple[int, str]:
        """Register an extension: its uuid, or 0 and osqueryd's reason. Raises OsqueryGoneError."""
        info = InternalExtensionInfo(name=name, version=version, sdk_version="5.0.0", min_sdk_version="1.8.0")
        registry: dict[str, dict[str, list[object]]] = {kind: {i: [] for i in items} for kind, items in plugins.items()}
        status = self._call("registerExtension", info, registry)
        return (int(status.uuid or 0), "") if status.code == 0 else (0, status.message or "refused")

    def update_config(self, source: str, text: str) -> str:
        """Have osqueryd take a config now instead of at its next refresh; what it says against it, or nothing.

        Raises OsqueryGoneError.
        """
        # Any of osqueryd's own config plugins does it: this is a call of their kind, not of the one.
        request = {"action": "update", "source": source, "data": text}
        status = self._call("call", "config", "filesystem", request).status
        return "" if status.code == 0 else status.message or "refused"

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
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or "broken off"
            raise OsqueryGoneError(f"{self._socket}: {reason}") from error


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
        if size > _READ_BYTES:
            return self._take_large(size)
        gathered = self._read[self._at :]
        while len(gathered) < size:
            gathered += self._receive()
        self._read, self._at = gathered, size
        return gathered[:size]

    def _take_large(self, size: int) -> bytes:
        """A long string, read into the memory it stays in: it may be most of what this process uses."""
        whole = bytearray(memoryview(self._read)[self._at :])
        self._read, self._at = b"", 0
        piece = bytearray(_READ_BYTES)
        with memoryview(piece) as view:
            while len(whole) < size:  # grown by what came, not by what is announced
                self._wait()
                got = self._connection.recv_into(view[: min(_READ_BYTES, size - len(whole))])
                if not got:
                    raise EOFError("the connection was closed")
                whole += view[:got]
        return whole  # type: ignore[return-value]  # what thrift does with bytes a bytearray can

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

    def wait_for_data(self) -> bool:
        """Wait until there is something to read; False if the other side hung up. Raises OSError."""
        self._read, self._at = self._read[self._at :], 0
        if not self._read:
            self._read = self._connection.recv(_READ_BYTES)
        return bool(self._read)

    def hang_up(self) -> None:
        """End the connection, also under a thread that reads."""
        with suppress(OSError):  # the other side was first
            self._connection.shutdown(sockets.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and free it."""
        self.hang_up()
        self._connection.close()

    def _receive(self) -> bytes:
        self._wait()
        piece = self._connection.recv(_READ_BYTES)
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


class Server:
    """Answers osqueryd's calls on a listening socket, each connection in a thread of its own.

    A slow call holds up neither pings nor other calls. Nothing that a plugin does reaches osqueryd as an exception,
    and a logger's answer is always code 0: any other ends osqueryd.
    """

    def __init__(self, listener: sockets.socket, plugins: Plugins, shut_down: Callable[[], None]) -> None:
        """``shut_down`` is called when osqueryd says that it ends."""
        listener.setblocking(False)
        self._listener = listener
        self._processor = Processor(_Handler(plugins, shut_down))
        self._streams: set[Stream] = set()
        self._calls = 0
        self._change = threading.Condition()
        self._wake, self._woken = sockets.socketpair()
        self._accepting = threading.Thread(target=self._accept, name="extension", daemon=True)
        self._accepting.start()

    def close(self, seconds: float) -> None:
        """Take no more connections, give calls under way so many seconds, and hang up. The listener is the caller's."""
        self._wake.send(b"x")
        self._accepting.join()
        deadline = time.monotonic() + seconds
        with self._change:
            while self._calls and (left := deadline - time.monotonic()) > 0:
                self._change.wait(left)
            for stream in self._streams:
                stream.hang_up()
        self._wake.close()
        self._woken.close()

    def _accept(self) -> None:
        going = True
        while going:
            ready, _, _ = select.select([self._listener, self._woken], [], [])
            going = self._woken not in ready
            while self._accept_one():
                pass  # at the end, too: who connected before is heard

    def _accept_one(self) -> bool:
        """Whether there was, or soon may be, another connection."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            _LOG.warning("a connection of osqueryd was lost: %s", error)
            time.sleep(0.05)  # no descriptor may be free
            return isinstance(error, ConnectionError)
        connection.setblocking(True)
        stream = Stream(connection)
        with self._change:
            self._streams.add(stream)
        threading.Thread(target=self._serve, args=(stream,), name="call", daemon=True).start()
        return True

    def _serve(self, stream: Stream) -> None:
        try:
            protocol = Protocol(stream)
            while stream.wait_for_data():
                self._count(1)
                try:
                    self._processor.process(protocol, protocol)
                finally:
                    self._count(-1)
        except (OSError, EOFError, TException, ValueError, struct.error) as error:
            _LOG.warning("a call of osqueryd broke off: %s", error or type(error).__name__)
        except Exception:
            _LOG.exception("a call of osqueryd could not be read")
        finally:
            with self._change:
                self._streams.discard(stream)
            stream.close()

    def _count(self, by: int) -> None:
        with self._change:
            self._calls += by
            self._change.notify_all()


class _Handler:
    """What thrift calls for each of osqueryd's calls."""

    def __init__(self, plugins: Plugins, shut_down: Callable[[], None]) -> None:
        self._plugins = plugins
        self._shut_down = shut_down

    def ping(self) -> Any:
        return ExtensionStatus(code=0, message="OK")

    def call(self, registry: str, item: str, request: dict[str, str] | None) -> Any:
        plugin = self._plugins.get(registry, {}).get(item)
        code, message = 1, "there is no such plugin here"
        rows: list[dict[str, str]] = []
        if plugin is not None:
            try:
                code, rows = plugin(request or {})
                message = "OK" if code == 0 or registry == "logger" else "it could not be done"
            except Exception as error:
                _LOG.exception("the plugin %s failed", registry)
                code, message = (0 if registry == "logger" else 1), f"{type(error).__name__}: {error}"
        return ExtensionResponse(status=ExtensionStatus(code=code, message=message), response=rows)

    def shutdown(self) -> None:
        self._shut_down()


def _writable(sql: str) -> str:
    # A NUL would end the statement early in osqueryd: another statement than was asked.
    return sql.replace("\0", "\ufffd")
