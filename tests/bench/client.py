"""The load: prepared requests over a bounded number of connections, from a process of its own.

Client and server share the machine, so the client does next to nothing: no event loop, no HTTP library, requests
made before the clock starts, one send and mostly one receive each. ``python -m tests.bench.client`` reads a pickled
``Load`` from standard input and prints a ``Sent`` as JSON.
"""

from __future__ import annotations

import json
import pickle
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_SECONDS = 120.0
RECEIVE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests to send, each once, and the body every answer must have."""

    port: int
    requests: Sequence[bytes]
    answer: bytes | None = None
    connections: int = 32
    tls_each: bool = False
    """A new TLS connection for each request, as osqueryd makes them; else connections are kept."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a load: seconds from first request to last answer, and the client's own processor seconds."""

    requests: int
    seconds: float
    client_seconds: float
    wrong: dict[str, int]
    median_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class LoadError(RuntimeError):
    """Some answers were not what they had to be; the figures mean nothing."""


def send(load: Load) -> Sent:
    """Send a load from a new process. Raises ``LoadError`` if any answer was wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.client"], input=pickle.dumps(load), stdout=subprocess.PIPE, cwd=ROOT,
        timeout=TIMEOUT_SECONDS * 5, check=True,
    )  # fmt: skip
    sent = Sent(**json.loads(done.stdout))
    if sent.wrong or sent.requests != len(load.requests):
        raise LoadError(f"{sent.requests} of {len(load.requests)} requests were answered; wrong answers: {sent.wrong}")
    return sent


class _Answers:
    """Judges answers and remembers how long they took."""

    def __init__(self, wanted: bytes | None) -> None:
        self._wanted = wanted
        self.latencies: list[float] = []
        self.wrong: Counter[str] = Counter()

    def whole(self, data: bytes) -> bool:
        """Whether an answer has arrived whole; if so it is judged."""
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            return False
        at = head.find(b"Content-Length: ")
        length = int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return False
        if not head.startswith(b"HTTP/1.1 200") or (self._wanted is not None and body != self._wanted):
            self.wrong[f"{head[9:12].decode()} {body[:80].decode('utf-8', 'replace')}"] += 1
        return True


def _kept(load: Load, answers: _Answers) -> float:
    """Send over kept connections; returns the seconds."""
    selector = selectors.DefaultSelector()
    todo = iter(load.requests)
    sockets = [
        socket.create_connection(("127.0.0.1", load.port), TIMEOUT_SECONDS)
        for _ in range(min(load.connections, len(load.requests)))
    ]
    for opened in sockets:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(opened, selectors.EVENT_READ)
    clock = time.perf_counter
    began: dict[socket.socket, float] = {}
    parts: dict[socket.socket, bytes] = {}
    started = clock()
    for opened, request in zip(sockets, todo, strict=False):
        began[opened] = clock()
        opened.sendall(request)
    while began:
        ready = selector.select(TIMEOUT_SECONDS)
        if not ready:
            answers.wrong["no answer in time"] += 1
            break
        for key, _ in ready:
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            data = connection.recv(RECEIVE_BYTES)
            if not data:
                answers.wrong["connection closed"] += 1
                del began[connection]
                selector.unregister(connection)
                continue
            data = parts.pop(connection, b"") + data
            if not answers.whole(data):
                parts[connection] = data
                continue
            now = clock()
            answers.latencies.append(now - began[connection])
            request = next(todo, b"")
            if request:
                began[connection] = now
                connection.sendall(request)
            else:
                del began[connection]
    seconds = clock() - started
    for opened in sockets:
        opened.close()
    return seconds


def _each(load: Load, answers: _Answers) -> float:
    """Send every request over a TLS connection of its own; returns the seconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    requests = list(load.requests)

    def one_after_another(todo: Iterator[bytes]) -> None:
        for request in todo:
            began = time.perf_counter()
            with (
                socket.create_connection(("127.0.0.1", load.port), TIMEOUT_SECONDS) as raw,
                context.wrap_socket(raw) as connection,
            ):
                connection.sendall(request)
                data = b""
                while not answers.whole(data):
                    more = connection.recv(RECEIVE_BYTES)
                    if not more:
                        answers.wrong["connection closed"] += 1
                        return
                    data += more
            answers.latencies.append(time.perf_counter() - began)

    started = time.perf_counter()
    with ThreadPoolExecutor(load.connections) as pool:
        shares = [iter(requests[number :: load.connections]) for number in range(load.connections)]
        for done in [pool.submit(one_after_another, share) for share in shares]:
            done.result()
    return time.perf_counter() - started


def main() -> None:
    """Run the load that standard input holds."""
    load: Load = pickle.load(sys.stdin.buffer)
    answers = _Answers(load.answer)
    worked = time.process_time()
    seconds = _each(load, answers) if load.tls_each else _kept(load, answers)
    worked = time.process_time() - worked
    ordered = sorted(answers.latencies) or [0.0]
    sent = Sent(
        len(answers.latencies), seconds, worked, dict(answers.wrong),
        round(ordered[len(ordered) // 2] * 1000, 2), round(ordered[len(ordered) * 99 // 100] * 1000, 2),
    )  # fmt: skip
    sys.stdout.write(json.dumps(asdict(sent)))


if __name__ == "__main__":
    main()
