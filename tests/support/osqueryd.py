"""A real osqueryd, where MUSTER_OSQUERYD names one, with nothing but its socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from collector.osqueryd import Osquery, OsqueryGoneError

OSQUERYD = os.environ.get("MUSTER_OSQUERYD", "")
needs_osqueryd = pytest.mark.skipif(not OSQUERYD, reason="MUSTER_OSQUERYD names no osqueryd")


@contextmanager
def osqueryd(**flags: str) -> Iterator[Path]:
    """Its extension socket, once it answers there. It has a worker and a watchdog, as where it is installed."""
    place = Path(tempfile.mkdtemp(prefix="osq-", dir="/tmp"))
    (place / "osquery.conf").write_text("{}")
    given = {
        "force": "true",
        "config_path": str(place / "osquery.conf"),
        "database_path": str(place / "db"),
        "pidfile": str(place / "pid"),
        "logger_path": str(place),
        "extensions_socket": str(place / "osq.em"),
        "disable_events": "true",
        **flags,
    }
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(
            [OSQUERYD, *(f"--{key}={value}" for key, value in given.items())], stdout=said, stderr=said
        )
    try:
        awaited(place / "osq.em")
        yield place / "osq.em"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(place, ignore_errors=True)


def awaited(socket: Path, seconds: float = 30) -> int:
    """Wait until it answers; the process that does, which is the worker."""
    until = time.monotonic() + seconds
    while True:
        with closing(Osquery(socket, 5)) as connection:
            try:
                return int(connection.query("SELECT pid FROM osquery_info").rows[0]["pid"])
            except OsqueryGoneError:
                assert time.monotonic() < until, "osqueryd does not answer"
        time.sleep(0.05)
