"""Run the stand-in, or a real osqueryd, from a test."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.core import wire

ROOT = Path(__file__).parent.parent.parent.parent
COLLECTOR = (sys.executable, "-m", "collector.main", "extension")
"""The extension as osqueryd would autoload it, without its arguments."""
FAILED = 78


_OWN = frozenset("control journal tables tick watch ping_lag".split())
"""Flags that osqueryd does not have."""


class CoreEndedError(Exception):
    """The stand-in ended while it was told something."""


class Core:
    """A stand-in, running or not; ``start`` begins a new process on the same sockets."""

    def __init__(
        self, directory: Path, flags: Mapping[str, str], environment: Mapping[str, str], osqueryd: str = ""
    ) -> None:
        self.directory = directory
        self.socket = directory / "osq.em"
        self.journal = directory / "journal"
        self._control = directory / "control"
        self._osqueryd = osqueryd
        self._flags = {
            "extensions_socket": str(self.socket),
            "control": str(self._control),
            "journal": str(self.journal),
            "pidfile": str(directory / "pid"),
            "database_path": str(directory / "db"),
            "extensions_timeout": "20",
            "disable_watchdog": "true",
            **flags,
        }
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a process; returns when it can be told something, which may be before extensions are there."""
        self._control.unlink(missing_ok=True)
        with (self.directory / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(), cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 20
        while time.monotonic() < until and self.process.poll() is None:
            if wire.listens(str(self.socket if self._osqueryd else self._control)):
                return
            time.sleep(0.01)

    def _command(self) -> list[str]:
        if not self._osqueryd:
            flags = [f"--{key}={value}" for key, value in self._flags.items()]
            return [sys.executable, "-m", "tests.support.core", *flags]
        own = {"logger_path": self.directory, "schedule_splay_percent": 0}
        known = {key: value for key, value in self._flags.items() if key not in _OWN}
        return [self._osqueryd, "--force", *(f"--{key}={value}" for key, value in {**own, **known}.items())]

    def query(self, sql: str) -> list[dict[str, str]]:
        """Ask by the socket, as any client; nothing where nobody listens."""
        answer = wire.query(str(self.socket), 10, sql)
        return answer.rows

    def do(self, what: str, **values: Any) -> dict[str, Any]:
        """Tell it something. Raises ``CoreEndedError`` if it ended, ``AssertionError`` if it could not."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(str(self._control))
                with connection.makefile("rwb") as stream:
                    stream.write(json.dumps({"do": what, **values}).encode() + b"\n")
                    stream.flush()
                    line = stream.readline()
        except OSError as error:
            raise CoreEndedError(self.said()) from error
        if not line:
            raise CoreEndedError(self.said())
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer
        return answer

    def log(self, query: str, *lines: Mapping[str, str]) -> list[Any]:
        """Log the lines of one run; [code, message] of each."""
        answers: list[Any] = self.do("log", query=query, lines=list(lines))["answers"]
        return answers

    def await_extension(self, name: str, seconds: float = 20) -> None:
        assert self.do("await", extension=name, seconds=seconds)["ok"], self.said()

    def await_ready(self, seconds: float = 20) -> None:
        """Wait until config and loggers have been asked; or until it has ended."""
        until = time.monotonic() + seconds
        assert self.process is not None
        ready_of = self.process.pid
        while time.monotonic() < until and self.process.poll() is None:
            if any(entry["event"] == "ready" and entry["pid"] == ready_of for entry in self.entries()):
                return
            time.sleep(0.01)
        raise CoreEndedError(self.said())

    def entries(self) -> list[dict[str, Any]]:
        """What the journal says, over all processes."""
        if not self.journal.exists():
            return []
        whole = self.journal.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def calls(self, registry: str = "") -> list[dict[str, Any]]:
        return [entry for entry in self.entries() if entry["event"] == "call" and registry in ("", entry["registry"])]

    def answered(self) -> list[str]:
        """Every result and snapshot line that a logger answered with 0, in order."""
        return [_line(entry) for entry in self.calls("logger") if _line(entry) and entry["response"]["code"] == 0]

    def sent(self) -> list[str]:
        """Every result and snapshot line that went out, answered or not."""
        return [_line(entry) for entry in self.entries() if entry["event"] == "sending" and _line(entry)]

    def said(self) -> str:
        """The end of what it wrote on standard error, its extensions' words among it."""
        return (self.directory / "stderr").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL; autoloaded extensions are left to themselves, as osqueryd's are."""
        assert self.process is not None
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """SIGTERM, as a service manager would; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 20) -> int:
        """The exit code of one that ends by itself."""
        assert self.process is not None
        self.process.wait(seconds)
        return self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        return self.process.wait(20)


def _line(entry: Mapping[str, Any]) -> str:
    request = entry["request"] if entry.get("registry") == "logger" else {}
    return str(request.get("string") or request.get("snapshot") or "")


def extension_file(directory: Path, command: Sequence[str], name: str = "muster.ext") -> Path:
    """A file that osqueryd autoloads and that becomes a command; and the load file beside it, which is returned."""
    folder = directory / "ext"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {shlex.join(command)} "$@"\n')
    path.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    load = directory / "extensions.load"
    load.write_text(f"{path}\n")
    return load


@contextmanager
def core(
    flags: Mapping[str, str] | None = None,
    *,
    autoload: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    begin: bool = True,
    osqueryd: str = "",
    **more: str,
) -> Iterator[Core]:
    """A running stand-in in a short directory of its own, ended and removed afterwards.

    Args:
        flags: osqueryd's, and the stand-in's own, by name; also as keywords.
        autoload: the command of an extension that it starts.
        tables: rows by table, see ``tables.py``.
        config: what ``config_plugin=filesystem`` (the default) reads.
        environment: added to the environment, also of an autoloaded extension.
        begin: start it; else the test does.
        osqueryd: a real one to run in place of the stand-in; it can be neither told nor asked what it did.
        more: flags.
    """
    given = {**(flags or {}), **more}
    directory = Path(tempfile.mkdtemp(prefix="core-", dir="/tmp"))  # a socket's path has 107 bytes
    if autoload:
        given["extensions_autoload"] = str(extension_file(directory, autoload))
    if tables is not None:
        (directory / "tables.json").write_text(json.dumps(tables))
        given["tables"] = str(directory / "tables.json")
    if config is not None:
        (directory / "osquery.conf").write_text(json.dumps(config))
        given["config_path"] = str(directory / "osquery.conf")
    made = Core(directory, given, environment or {}, osqueryd)
    try:
        if begin:
            made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()
        shutil.rmtree(directory, ignore_errors=True)
