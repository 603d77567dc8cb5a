"""A whole device: the stand-in for osqueryd with the collector's extension, and the uplink beside it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.core import running, wire
from tests.support.core.running import COLLECTOR, ROOT, Core

PATIENCE = 60.0


def settings(directory: Path, server: str, secret: str, socket: Path, **more: str) -> dict[str, str]:
    """The environment of the collector's processes: a state of its own below ``directory``."""
    (directory / "enroll_secret").write_text(secret + "\n")
    given = {
        "server": server,
        "enroll_secret_path": str(directory / "enroll_secret"),
        "state_dir": str(directory / "state"),
        "socket": str(socket),
        "policy_file": str(directory / "policy.toml"),
        "log_level": "debug",
        **more,
    }
    ours = {
        key: value for key, value in os.environ.items() if not key.startswith("MUSTER_") and "proxy" not in key.lower()
    }
    return {**ours, **{f"MUSTER_COLLECTOR_{key.upper()}": value for key, value in given.items()}}


class Device:
    """The processes of one device, each of which can be killed and begun again."""

    def __init__(self, core: Core, directory: Path, environment: dict[str, str]) -> None:
        self.core = core
        self.directory = directory
        self.environment = environment
        self.uplink: subprocess.Popen[bytes] | None = None

    def start_uplink(self) -> None:
        with (self.directory / "uplink.log").open("ab") as log:
            self.uplink = subprocess.Popen(
                [sys.executable, "-m", "collector.main", "uplink"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill_uplink(self) -> None:
        assert self.uplink is not None
        self.uplink.kill()
        self.uplink.wait(PATIENCE)

    def stop_uplink(self) -> int:
        assert self.uplink is not None
        self.uplink.terminate()
        return self.uplink.wait(PATIENCE)

    def kill_extension(self) -> None:
        """SIGKILL; nothing if there is none just now."""
        for pid in extension_pids(self.core):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def waiting(self) -> int:
        """Lines in the spool; it is looked at as anybody may look."""
        path = self.directory / "state" / "spool.db"
        if not path.exists():
            return 0
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM lines").fetchone()[0])
        finally:
            connection.close()

    def words(self) -> str:
        """The uplink's log."""
        log = self.directory / "uplink.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def said(self) -> str:
        """The ends of all logs."""
        return f"uplink:\n{self.words()[-6000:]}\ncore and extension:\n{self.core.said()}"


def extension_pids(core: Core) -> list[int]:
    """Processes of the extension, those left by a core that was killed, too."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                if (
                    b"collector.main" in arguments
                    and b"extension" in arguments
                    and str(core.socket).encode() in arguments
                ):
                    found.append(int(folder.name))
    return found


def is_attached(core: Core) -> bool:
    """Whether core knows the extension and can reach it."""
    found = core.query("SELECT path FROM osquery_extensions WHERE name = 'muster'")
    return len(found) == 1 and wire.listens(found[0]["path"])


def wait_until(
    holds: Callable[[], object], told: Callable[[], str] = str, seconds: float = PATIENCE, *, every: float = 0.1
) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"it did not come to it\n{told()}"
        time.sleep(every)


def all_delivered(made: Device) -> None:
    """Wait until nothing is in the spool any more."""
    wait_until(lambda: made.waiting() == 0, made.said)


@contextmanager
def device(
    directory: Path,
    server: str,
    secret: str,
    *,
    flags: dict[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    tables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    osqueryd: str = "",
    told: Mapping[str, str] | None = None,
) -> Iterator[Device]:
    """A device whose core has autoloaded the extension, with an uplink to a server; all are ended afterwards.

    Args:
        directory: where the collector has its state and its log.
        server: the server's URL.
        secret: the enrol secret.
        flags: of core.
        config: core's.
        tables: the stand-in's.
        environment: added to that of all its processes.
        osqueryd: a real one in place of the stand-in.
        told: settings of the collector.
    """
    # The environment is core's as well, since an autoloaded extension has that of osqueryd.
    loaded = {"logger_plugin": "muster", "extensions_require": "muster", "config_plugin": "filesystem"}
    with running.core(
        {**loaded, **(flags or {})}, autoload=COLLECTOR, config=config, tables=tables, begin=False, osqueryd=osqueryd
    ) as core:
        core.environment = {**settings(directory, server, secret, core.socket, **(told or {})), **(environment or {})}
        made = Device(core, directory, core.environment)
        try:
            core.start()
            wait_until(lambda: is_attached(core), made.said)
            if not osqueryd:
                core.await_ready()
            made.start_uplink()
            yield made
        finally:
            if made.uplink is not None and made.uplink.poll() is None:
                made.kill_uplink()
            if core.process is not None and core.process.poll() is None:
                core.stop()
            made.kill_extension()
