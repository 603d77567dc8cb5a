"""The extension under a real osqueryd, where there is one (MUSTER_OSQUERYD=/path/to/osqueryd, as root)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.osqueryd import Osquery
from collector.spool import Spool
from tests.support.core.running import COLLECTOR, ROOT, extension_file

OSQUERYD = os.environ.get("MUSTER_OSQUERYD", "")
pytestmark = [
    pytest.mark.skipif(not OSQUERYD, reason="MUSTER_OSQUERYD names no osqueryd"),
    pytest.mark.skipif(os.name == "posix" and os.getuid() != 0, reason="osqueryd autoloads what belongs to root"),
]
TICK = {"tick": {"query": "SELECT unix_time FROM time", "interval": 1, "snapshot": True}}


class Real:
    """An osqueryd that starts the extension, logs to it and gets its config from it."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.socket = directory / "osq.em"
        self.state = directory / "state"
        self.say({"schedule": TICK, "options": {"schedule_splay_percent": 0}})
        load = extension_file(directory, COLLECTOR)
        environment = {**os.environ, "MUSTER_COLLECTOR_STATE_DIR": str(self.state), "PYTHONPATH": str(ROOT)}
        given = {
            "database_path": directory / "db",
            "pidfile": directory / "pid",
            "extensions_socket": self.socket,
            "extensions_autoload": load,
            "extensions_require": "muster",
            "extensions_timeout": 10,
            "logger_plugin": "muster",
            "config_plugin": "muster",
            "logger_path": directory,
            "disable_events": "true",
        }
        self._log = (directory / "log").open("wb")
        self.process = subprocess.Popen(
            [OSQUERYD, "--force", *(f"--{key}={value}" for key, value in given.items()), *flags],
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )

    def say(self, config: dict[str, Any]) -> None:
        """What the server would: a config."""
        spool = Spool(self.state / "spool.db", 268_435_456)
        spool.keep("config", json.dumps({"type": "config", "config": json.dumps(config)}).encode())
        spool.close()

    def ticks(self) -> int:
        with closing(sqlite3.connect(self.state / "spool.db")) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM lines WHERE name = 'tick'").fetchone()[0])

    def processes(self) -> tuple[list[int], list[int]]:
        """The keepers and the working processes of its extension."""
        keepers: list[int] = []
        workers: list[int] = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.socket).encode() in words and b"extension" in words:
                (workers if b"--keeper" in words else keepers).append(int(path.name))
        return keepers, workers

    def goes_on(self) -> None:
        """Two more lines come."""
        before = self.ticks()
        self.until(lambda: self.ticks() >= before + 2)

    def until(self, true: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, f"osqueryd ended with code {self.process.returncode}"
            assert time.monotonic() < end, "it did not become true"
            time.sleep(0.05)

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self._log.close()
        return code


@pytest.fixture(params=["--disable_watchdog", "--watchdog_level=0"], ids=["alone", "watched"])
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    with tempfile.TemporaryDirectory(prefix="real-", dir="/tmp") as directory:
        one = Real(Path(directory), request.param)
        try:
            one.until(lambda: one.ticks() > 0)
            yield one
        finally:
            if one.process.poll() is None:
                one.end()


def test_it_outlives_the_death_of_either_process_and_a_new_config_reaches_it(real: Real) -> None:
    for which in (1, 1, 0):
        [pid] = real.processes()[which]
        os.kill(pid, signal.SIGKILL)
        real.goes_on()
    real.until(lambda: [len(some) for some in real.processes()] == [1, 1])
    other = {"two": {"query": "SELECT 2 AS b", "interval": 1, "snapshot": True}}
    real.say({"schedule": {**TICK, **other}})
    with Osquery(real.socket, 10) as osquery:
        real.until(lambda: len(osquery.query("SELECT name FROM osquery_schedule").rows) == 2)
    assert real.end() == 0
    end = time.monotonic() + 10
    while any(real.processes()):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)
    assert list(real.socket.parent.glob("osq.em*")) == []
