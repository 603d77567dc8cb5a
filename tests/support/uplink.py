"""The uplink as a process, and a scripted server for what a real one does only when it is in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from collector.spool import Line, Spool

ROOT = Path(__file__).parent.parent.parent
SECRET = "made-up-enrol-secret"
PATIENCE = 30.0


class Uplink:
    """A collector's uplink with a state of its own, running or not."""

    def __init__(
        self, directory: Path, server: str, osquery: Path | str = "/nowhere/osquery.em", **settings: str
    ) -> None:
        self.state = directory / "state"
        self.secret_file = directory / "enroll_secret"
        if not self.secret_file.exists():
            self.secret_file.write_text(SECRET + "\n")
        self._log = directory / "uplink.log"
        ours = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
        given = {
            "server": server,
            "socket": str(osquery),
            "state_dir": str(self.state),
            "enroll_secret_path": str(self.secret_file),
            "log_level": "debug",
            **settings,
        }
        self.environment = {**ours, **{f"MUSTER_COLLECTOR_{key.upper()}": value for key, value in given.items()}}
        self.process: subprocess.Popen[bytes] | None = None
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.spool = Spool(self.state / "spool.db", 64 * 1024 * 1024)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "dev", "-m", "collector.main", "uplink"],
                cwd=ROOT,
                env={**self.environment, "PYTHONWARNINGS": "error"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def put(self, *texts: bytes, kind: str = "result") -> None:
        """Spool lines, as the extension's process or a live question would."""
        self.spool.put([Line(kind, "users", int(time.time()), text) for text in texts])

    def waiting(self) -> int:
        """Lines that are not delivered yet."""
        return self.spool.stats().lines

    async def until(self, what: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until something holds; the log is shown if it never does."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"it did not come to it; the uplink said:\n{self.said()}"
            assert self.process is None or self.process.poll() is None, f"the uplink ended:\n{self.said()}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def uplink(
    directory: Path, server: str, osquery: Path | str = "/nowhere/osquery.em", **settings: str
) -> AsyncIterator[Uplink]:
    """An uplink that runs, and ends on SIGTERM afterwards as it should."""
    made = Uplink(directory, server, osquery, **settings)
    made.start()
    try:
        yield made
        if made.process is not None and made.process.poll() is None:
            began = time.monotonic()
            assert await asyncio.to_thread(made.stop) == 0, made.said()
            assert time.monotonic() - began < 8, made.said()
        assert "Traceback" not in made.said(), made.said()
    finally:
        made.spool.close()
        if made.process is not None and made.process.poll() is None:
            made.kill()


@dataclass
class Asked:
    """A request that came."""

    path: str
    key: str
    body: Any
    raw: bytes
    at: float


Answering = Callable[[web.Request, Asked], Awaitable[web.StreamResponse | None]]


@dataclass
class ScriptedServer:
    """Enrols whoever knows the secret and takes every batch, unless ``answer`` says otherwise. It has no channel."""

    url: str = ""
    secret: str = SECRET
    requests: list[Asked] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """In force; the last one given is the last."""
    taken: list[bytes] = field(default_factory=list)
    """The bodies of batches that were taken."""
    answer: Answering | None = None
    """Asked first; what it returns is the answer, None leaves it to the script."""
    given: int = 0
    down: bool = False
    """Hang up on everybody."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        key = request.headers.get("Authorization", "").removeprefix("NodeKey ")
        asked = Asked(request.path, key, body, raw, time.monotonic())
        if self.down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        self.requests.append(asked)
        spoken_of = request.path.endswith(("/enroll", "/batch"))
        if spoken_of and self.answer is not None and (answered := await self.answer(request, asked)) is not None:
            return answered
        if request.path == "/api/collector/enroll":
            if body["enroll_secret"] != self.secret:
                return web.json_response({"error": "enrolment refused"}, status=401)
            self.given += 1
            self.keys = [f"key-{self.given}"]
            return web.json_response({"node_key": self.keys[-1], "node_invalid": False})
        if key not in self.keys:
            return web.json_response({"node_invalid": True}, status=401)
        if request.path == "/api/collector/batch":
            self.taken.append(raw)
            return web.json_response({"taken": body["batch"]["through"] if body else _through(raw)})
        return web.json_response({"error": "not here"}, status=404)

    def asked_for(self, path: str) -> list[Asked]:
        return [request for request in self.requests if request.path == f"/api/collector/{path}"]

    def lines(self, key: str = "data") -> list[Any]:
        """The lines of all batches taken."""
        return [line for body in self.taken for line in json.loads(body)[key]]


def _through(raw: bytes) -> int:
    head = json.loads(raw.partition(b'"batch":')[2].partition(b"}")[0] + b"}")
    return int(head["through"])


@asynccontextmanager
async def scripted_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """A server on loopback, in this process."""
    scripted = ScriptedServer()
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        scripted.url = f"{'https' if tls else 'http'}://localhost:{port}"
        yield scripted
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prepared(directory: Path, answer: Answering | None = None) -> AsyncIterator[tuple[ScriptedServer, Uplink]]:
    """An uplink that is enrolled already, and its server."""
    async with scripted_server() as server:
        server.answer = answer
        server.keys = ["key-0"]
        (directory / "state").mkdir(mode=0o700)
        (directory / "state" / "node_key").write_text("key-0\n")
        async with uplink(directory, server.url) as device:
            yield server, device
