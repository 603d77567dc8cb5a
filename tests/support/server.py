"""A real ``muster serve`` in a process of its own, and a client that speaks to it as osqueryd does."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from click.testing import CliRunner

from server.app import opened_database
from server.cli.main import cli
from server.store.ask import SqlAnswer
from tests.support import postgres, recorded

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 30
MUSTER, HURRIED = "server.cli.main", "tests.support.hurried"
"""What a server may run: the program, or that in a hurry."""
_PLAIN = {"NO_COLOR": "1", "COLUMNS": "200"}


def muster(*arguments: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", MUSTER, *arguments],
        cwd=cwd or ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return _checked(done) if check else done


def muster_here(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """As ``muster``, but in this process, which has loaded the program and much of the packs already.

    For tests without an event loop of their own, of what a command says and how it ends.
    """
    ours = {key: None for key in os.environ if key.startswith("MUSTER_")}
    result = CliRunner().invoke(cli, arguments, env={**ours, **_PLAIN}, prog_name="muster", catch_exceptions=False)
    done = subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
    return _checked(done) if check else done


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode != 0:
        raise AssertionError(f"muster {' '.join(done.args)} ended with {done.returncode}:\n{done.stderr}")
    return done


def ask(database: str, statement: str) -> list[list[Any]]:
    """The rows of a statement, guarded as ``muster sql`` guards it."""
    answer = asyncio.run(answer_to(database, statement, limit=100_000))
    assert answer.truncated is False
    return answer.rows


async def answer_to(database: str, statement: str, limit: int = 10, seconds: float = 30) -> SqlAnswer:
    """The answer to a statement of a user. Raises ``SqlRefusedError``."""
    async with opened_database(database) as opened:
        return await opened.asker.ask(statement, limit=limit, seconds=seconds)


def stored_bytes(database: str) -> bytes:
    """Everything that is kept: the bytes of a SQLite file and of those beside it, or the rows of all tables."""
    if database.startswith("sqlite:///"):
        path = Path(database.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))
    return asyncio.run(postgres.every_row(database))


class Server:
    """A running server; ``kill`` is the default way to stop one in a fault test."""

    running: ClassVar[list[Server]] = []

    def __init__(
        self,
        database: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        program: str = MUSTER,
    ) -> None:
        self.database = database
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, "serve", "--database", database, "--listen", "127.0.0.1:0", *options],
            cwd=ROOT,
            env={**_environment(), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self.output: list[str] = []
        for line in self._process.stdout:
            self.output.append(line)
            if line.startswith("Muster listens on "):
                address = line.split()[-1]
                self.port = int(address.rpartition(":")[2])
                # A server whose log nobody reads would stand still once the pipe is full.
                self._reader = threading.Thread(target=self.output.extend, args=(self._process.stdout,), daemon=True)
                self._reader.start()
                self.running.append(self)
                return
        self._process.wait(timeout=30)
        self._process.stdout.close()
        raise AssertionError(f"the server did not start:\n{''.join(self.output)}")

    @property
    def pid(self) -> int:
        """The process, for whoever watches what it costs."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self._process.terminate()
        return self._end()

    def _end(self) -> int:
        assert self._process.stdout is not None
        code = self._process.wait(timeout=30)
        self.running.remove(self)
        self._reader.join(timeout=30)
        self._process.stdout.close()
        return code

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection of its own, as osqueryd makes them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, endpoint: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """A POST to one of osquery's endpoints; the answer is a JSON object, always."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        status, answer = self.request("POST", f"/api/osquery/{endpoint}", body, sent)
        assert status < 500, f"{endpoint} answered {status}: {answer!r}"
        value = json.loads(answer)
        assert isinstance(value, dict), f"{endpoint} answered {answer!r}: osqueryd needs an object"
        return value


class Peer:
    """One device's side of osquery's TLS API."""

    def __init__(self, server: Server, secret: str) -> None:
        self.server = server
        self.secret = secret
        self.node_key = ""

    def enroll(self, **details: dict[str, str]) -> dict[str, Any]:
        """Enrol as a Linux machine with these rows as host_details."""
        body = {
            "enroll_secret": self.secret,
            "host_identifier": "made-up",
            "platform_type": "9",
            "host_details": {"os_version": {"platform": "debian"}, **details},
        }
        answer = self.server.post("enroll", json.dumps(body).encode())
        self.node_key = answer.get("node_key", "")
        return answer

    def log(self, *lines: dict[str, Any], log_type: str = "result") -> dict[str, Any]:
        """Send log lines."""
        body = {"node_key": self.node_key, "log_type": log_type, "data": list(lines)}
        return self.server.post("log", json.dumps(body).encode())

    def snapshot(self, name: str, unix_time: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Send one snapshot."""
        return self.log(snapshot_line(name, unix_time, rows))

    def questions(self) -> dict[str, str]:
        """Ask for distributed queries; their SQL by id."""
        answer = self.server.post("distributed/read", json.dumps({"node_key": self.node_key}).encode())
        queries = answer["queries"]
        assert all(isinstance(sql, str) for sql in queries.values()), "osquery would take none of them"
        return dict(queries)

    def answer(self, question: str, *rows: dict[str, str], status: int = 0) -> dict[str, Any]:
        """Answer a distributed query."""
        body = {
            "node_key": self.node_key,
            "queries": {question: list(rows)},
            "statuses": {question: status},
            "messages": {question: "" if status == 0 else "no such table: time"},
            "stats": {question: {"wall_time_ms": 1, "user_time": 1, "system_time": 0, "memory": 4096}},
        }
        return self.server.post("distributed/write", json.dumps(body).encode())

    def replay(self, name: str) -> int:
        """Send a recorded session with our secret and node key in it; returns how many requests that were."""
        count = 0
        for request in recorded.requests(name):
            body = request.body.replace(recorded.RECORDED_SECRET, self.secret.encode())
            headers = {}
            if request.endpoint != "enroll" and self.node_key:
                for known in (b"node-key-0001", b"node-key-0002", b"node-key-0003"):
                    body = body.replace(known, self.node_key.encode())
                if "Authorization" in request.headers:
                    headers["Authorization"] = f"NodeKey {self.node_key}"
            if request.gzip:
                headers["Content-Encoding"] = "gzip"
                body = gzip.compress(body)
            answer = self.server.post(request.endpoint, body, headers)
            if request.endpoint == "enroll" and "node_key" in answer:
                self.node_key = answer["node_key"]
            count += 1
        return count


def snapshot_line(name: str, unix_time: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A snapshot as osquery writes it."""
    return {
        "snapshot": rows,
        "action": "snapshot",
        "name": name,
        "hostIdentifier": "made-up",
        "calendarTime": "Mon Jan  1 00:00:00 2024 UTC",
        "unixTime": unix_time,
        "epoch": 0,
        "counter": 0,
        "numerics": False,
    }


@contextmanager
def database_of(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a database that is not there yet, or is empty; kind is sqlite or postgres."""
    if kind == "sqlite":
        yield f"sqlite:///{directory / 't.db'}"
        return
    database = postgres.new_database_now()
    try:
        yield database
    finally:
        postgres.drop_database_now(database)


@contextmanager
def serving(directory: Path, *options: str, database: str = "") -> Iterator[tuple[Server, dict[str, str]]]:
    """A fresh database and a server on it, stopped at the end; with what ``muster init`` printed.

    It is a SQLite file in ``directory`` unless ``database`` is the URL of one that has no schema yet.
    """
    database = database or f"sqlite:///{directory / 't.db'}"
    with ThreadPoolExecutor(1) as thread:  # whoever asks may be in an event loop, as tests of the console are
        made = json.loads(thread.submit(muster_here, "init", "--database", database, "--json").result().stdout)
    server = Server(database, "--max-age-days", "36500", *options)
    try:
        yield server, made
    finally:
        assert server.stop() == 0, "".join(server.output)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
    return {**kept, **_PLAIN, "PYTHONWARNINGS": "error"}
