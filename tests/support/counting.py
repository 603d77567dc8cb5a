"""A server that counts: it takes batches as the real one does, keeps every line it took, and has moods."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_UP = -1
"""In place of a status: the connection ends without an answer."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How one batch of log lines is answered in place of being taken."""

    status: int
    body: bytes = b""
    stored: bool = False
    """It is stored all the same: only the answer is lost on its way."""


def says(status: int, **value: Any) -> Mood:
    """An answer with a JSON object."""
    return Mood(status, json.dumps(value).encode())


@dataclass
class CountingServer:
    """What came, and what is to be answered next.

    Attributes:
        lines: every result or snapshot line taken, as often as it was.
        gaps: the gap lines taken.
        moods: answers to the next batches of log lines, one each.
        lost_answers: the share of batches that are taken and not answered.
        poison: a batch with a line that contains it is refused with 400.
    """

    port: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    moods: deque[Mood] = field(default_factory=deque)
    poison: str = ""
    lost_answers: float = 0.0
    enrolled: int = 0
    met: list[int] = field(default_factory=list)
    """The statuses answered in a mood."""
    marks: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> Mood:
        if path == "/api/collector/enroll":
            self.enrolled += 1
            return says(200, node_key=f"key-{self.enrolled}", node_invalid=False)
        if path == "/api/collector/batch":
            with self.lock:
                return self._batch(body)
        if path == "/api/collector/poll":
            return says(200, messages=[])
        return says(404, error="not here")

    def _batch(self, body: dict[str, Any]) -> Mood:
        mark, texts = body["batch"], [json.dumps(line) for line in body.get("data", [])]
        if self.poison and any(self.poison in text for text in texts):
            return says(400, error="a line cannot be read")
        mood = self.moods.popleft() if self.moods and mark["lane"] == "log" else None
        if mood is not None:
            self.met.append(mood.status)
            if not mood.stored:
                return mood
        taken = self._take(mark, texts, body.get("gaps", []))
        if self.chance.random() < self.lost_answers:
            self.met.append(HANG_UP)
            return Mood(HANG_UP)
        return mood or taken

    def _take(self, mark: dict[str, Any], texts: list[str], gaps: list[dict[str, Any]]) -> Mood:
        spool = (mark["spool"], mark["lane"])
        through, known = self.marks.get(spool, (0, ""))
        if known == mark["id"]:
            return says(200, taken=mark["through"])
        if mark["after"] < through:
            return says(409, diverged=True)
        self.marks[spool] = (mark["through"], mark["id"])
        self.lines.update(text for text in texts if '"severity"' not in text)
        self.gaps += gaps
        return says(200, taken=mark["through"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that are cut are what these tests are about."""


@contextmanager
def counting_server() -> Iterator[CountingServer]:
    """One on loopback, in threads of this process."""
    counting = CountingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                raw = gzip.decompress(raw)
            self._say(counting.answer(self.path, json.loads(raw)))

        def do_GET(self) -> None:
            self._say(counting.answer(self.path, {}))

        def _say(self, mood: Mood) -> None:
            if mood.status == HANG_UP:
                self.close_connection = True
                return
            self.send_response(mood.status)
            self.send_header("Content-Length", str(len(mood.body)))
            self.end_headers()
            self.wfile.write(mood.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = _Server(("127.0.0.1", 0), Handler)
    counting.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield counting
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
