"""Extensions that core starts itself, and starts again when they have ended."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon


def autoloaded(load_file: Path, allow_unsafe: bool) -> tuple[list[Path], list[str]]:
    """The extensions that a load file names and osqueryd starts, and what it says of those that it does not."""
    start: list[Path] = []
    said: list[str] = []
    try:
        lines = load_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return [], [f"Could not autoload extensions: Cannot open file for reading: {load_file}"]
    for line in lines:
        named = Path(line.strip())
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        for path in sorted(named.iterdir()) if named.is_dir() else [named]:
            if problem := _problem(path, allow_unsafe):
                said.append(problem)
            else:
                start.append(path)
    return start, said


def _problem(path: Path, allow_unsafe: bool) -> str:
    unsafe = f"Will not autoload extension with unsafe directory permissions: {path}"
    try:
        real = path.resolve(strict=True)
        facts, folder = real.stat(), real.parent.stat()
    except OSError:
        return unsafe
    if folder.st_mode & stat.S_ISVTX or not facts.st_mode & stat.S_IXUSR:
        return unsafe
    if not allow_unsafe and (facts.st_mode & stat.S_IWOTH or facts.st_uid not in (0, os.getuid())):
        return unsafe
    if path.suffix != ".ext":
        return f"Will not autoload extension not ending in one of '.ext': {path}"
    return ""


def executable(path: Path) -> bool:
    """Whether the kernel can start it; a shell would run a file without ``#!``, osqueryd does not."""
    start = path.read_bytes()[:200].split(b"\n")[0]
    if start.startswith(b"\x7fELF"):
        return True
    interpreter = start[2:].strip(b" ").split(b" ")[0]
    return start.startswith(b"#!") and os.path.exists(interpreter)


class Processes:
    """The processes of the autoloaded extensions, by path."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        self._paths: list[Path] = []

    def load(self) -> None:
        flags = self._daemon.flags
        if not flags.autoload:
            return
        self._paths, said = autoloaded(Path(flags.autoload), flags.on("allow_unsafe"))
        for line in said:
            self._daemon.say(1, "extensions.cpp", 426, line)
        self.start_missing()

    def start_missing(self) -> list[str]:
        """Start those that do not run; the paths of those that were started."""
        started = []
        for path in self._paths:
            running = self._running.get(path)
            if path.exists() and (running is None or running.poll() is not None):
                self._start(path)
                started.append(str(path))
        return started

    def _start(self, path: Path) -> None:
        if not executable(path):
            self._daemon.say(2, "watcher.cpp", 790, f"Could not start extension process: {path}, error: 8")
            return
        flags = self._daemon.flags
        verbose = ["--verbose"] if flags.on("verbose") else []
        interval = max(1, round(flags.interval))
        timeout = max(1, round(flags.extensions_timeout))
        arguments = ["--socket", flags.socket, "--timeout", str(timeout), "--interval", str(interval)]
        environment = dict(os.environ)
        if not flags.on("disable_watchdog"):
            environment["OSQUERY_EXTENSIONS"] = "true"
        # The shell becomes the extension, so its process id is the extension's.
        command = ["/bin/sh", "-c", 'OSQUERY_EXTENSION=$$ exec "$@"', "sh", str(path), *verbose, *arguments]
        inherited = [] if self._daemon.pidfile is None else [self._daemon.pidfile]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=inherited)
        self._running[path] = process
        self._daemon.journal.write("started", path=str(path), pid=process.pid)

    def pids(self) -> dict[str, int]:
        return {str(path): one.pid for path, one in self._running.items() if one.poll() is None}

    def end(self) -> None:
        """None is left behind."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
