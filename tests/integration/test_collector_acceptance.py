"""The collector with osqueryd, from a scheduled query to the server's tables; with the stand-in, and with a real
osqueryd where MUSTER_OSQUERYD names one."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import Device, device, extension_pids, is_attached, wait_until
from tests.support.core.running import FAILED
from tests.support.server import Server, ask, muster_here, serving

OSQUERYD = os.environ.get("MUSTER_OSQUERYD", "")
KINDS = [
    "stand-in",
    pytest.param("osqueryd", marks=pytest.mark.skipif(not OSQUERYD, reason="MUSTER_OSQUERYD is not set")),
]
TICKS = {"query": "SELECT unix_time AS at FROM time", "interval": 1}
CONTROL = "only-root-has-uid-0"
WITHIN_SECONDS = 1.0
BAD_NAME = b"bad-\xff\xfe.txt"

pytestmark = pytest.mark.timeout(240)


@contextmanager
def running(kind: str, directory: Path, tables: Any = None, **queries: Any) -> Iterator[tuple[Device, Server]]:
    """A device of that kind with ``ticks`` on its schedule, and its server."""
    config = {"schedule": {"ticks": TICKS, **queries}}
    osqueryd = OSQUERYD if kind == "osqueryd" else ""
    with (
        serving(directory) as (server, made),
        device(
            directory,
            f"http://127.0.0.1:{server.port}",
            made["enroll_secret"],
            config=config,
            tables=tables,
            osqueryd=osqueryd,
        ) as one,
    ):
        yield one, server


def ticks(server: Server) -> list[int]:
    """The times that have arrived; none before the first."""
    if not ask(server.database, "SELECT 1 FROM coverage WHERE query = 'ticks'"):
        return []
    return sorted(int(at) for (at,) in ask(server.database, "SELECT at FROM ticks_history"))


RESTARTS = 2
"""Of core in one test."""


def newer_ticks(device: Device, server: Server) -> None:
    """Wait for lines that were logged after now."""
    last = max(ticks(server), default=0)
    wait_until(lambda: max(ticks(server), default=0) > last + 1, device.said)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_no_text_arrive_and_do_no_harm(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.txt").touch()
    (folder / os.fsdecode(BAD_NAME)).touch()
    rows = [{"directory": str(folder), "filename": name} for name in ("good.txt", os.fsdecode(BAD_NAME))]
    files = {"query": f"SELECT filename FROM file WHERE directory = '{folder}'", "interval": 2, "snapshot": True}
    with running(kind, tmp_path, {"file": rows}, files=files) as (device, server):
        wait_until(lambda: ask(server.database, "SELECT 1 FROM coverage WHERE query = 'files'"), device.said)
        names = {str(name) for (name,) in ask(server.database, "SELECT filename FROM files")}
        assert names == {"good.txt", "bad-\ufffd\ufffd.txt"}
        newer_ticks(device, server)
        assert ask(server.database, "SELECT * FROM rejects") == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_longer_than_thrift_takes_does_no_harm(kind: str, tmp_path: Path) -> None:
    padding = "some padding that makes the row a hundred bytes or so, since osqueryd makes many rows slowly"
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 180000)"
    big = {"query": f"{many} SELECT i, '{padding}' AS text FROM n", "interval": 4, "snapshot": True}
    with running(kind, tmp_path, big=big) as (device, server):
        lost = "SELECT query, reason FROM posture_collector_gaps WHERE query = 'big'"
        wait_until(lambda: ask(server.database, lost) == [["big", "too_large"]], device.said, 120)
        newer_ticks(device, server)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_killed_or_stopped_is_back_without_help(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as (device, server):
        core = device.core
        wait_until(lambda: ticks(server), device.said)
        core.kill()
        core.start()
        wait_until(lambda: is_attached(core), device.said)
        newer_ticks(device, server)
        assert core.stop() == 0, device.said()
        wait_until(lambda: extension_pids(core) == [], device.said)
        core.start()
        wait_until(lambda: is_attached(core), device.said)
        newer_ticks(device, server)
        device.kill_uplink()
        device.start_uplink()
        newer_ticks(device, server)
        found = ticks(server)
        # Killed before it noted what it had logged, it may log the second of its end once more as it begins again.
        assert len(found) - len(set(found)) <= RESTARTS
        assert ask(server.database, "SELECT * FROM rejects") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_extension_costs_neither_osqueryd_nor_a_line(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as (device, server):
        core = device.core
        newer_ticks(device, server)
        for _ in range(3):
            (logging,) = children_of_extension(device)
            os.kill(logging, signal.SIGKILL)
            wait_until_anew(device, logging)
        newer_ticks(device, server)
        assert core.process is not None and core.process.poll() is None, device.said()
        found = ticks(server)
        assert found == list(range(found[0], found[-1] + 1)) or kind == "stand-in", "a second is missing"


def wait_until_anew(device: Device, killed: int) -> None:
    def answers() -> bool:
        now = children_of_extension(device)
        return len(now) == 1 and now != [killed] and is_attached(device.core)

    wait_until(answers, device.said)


def children_of_extension(device: Device) -> list[int]:
    """The processes that answer osqueryd, which are not those that keep them running."""
    pids = extension_pids(device.core)
    return [pid for pid in pids if parent_of(pid) in pids]


def parent_of(pid: int) -> int:
    """0 for one that has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_live_question_is_answered_within_a_second(kind: str, tmp_path: Path) -> None:
    with running(kind, tmp_path) as (device, server):
        wait_until(lambda: ask(server.database, "SELECT 1 FROM posture_collectors WHERE connected = 1"), device.said)
        ((hostname,),) = ask(server.database, "SELECT hostname FROM devices")
        path = server.database.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            asking = ("device", "ask", hostname, "--control", CONTROL, "--by", "eve", "--database", server.database)
            outcome = "SELECT outcome, via FROM posture_asked WHERE asked_by = 'eve'"
            with ThreadPoolExecutor(1) as thread:
                command = thread.submit(muster_here, *asking)
                wait_until(lambda: database.execute(outcome).fetchone(), device.said, every=0.01)
                asked = time.monotonic()
                wait_until(lambda: database.execute(outcome).fetchone()[0], device.said, every=0.01)
                took = time.monotonic() - asked
                command.result()
            assert database.execute(outcome).fetchall() == [("answered", "collector")], device.said()
        assert took < WITHIN_SECONDS
        assert ask(server.database, "SELECT COUNT(*) FROM users WHERE username = 'root'") == [[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_extension_osqueryd_ends(kind: str, tmp_path: Path) -> None:
    """What remains possible: the whole extension is gone, the one that keeps it too, when a line is logged."""
    with running(kind, tmp_path) as (device, server):
        newer_ticks(device, server)
        file = device.core.directory / "ext" / "muster.ext"
        file.rename(file.with_suffix(".away"))  # it is not started again before a line is logged
        device.kill_extension()
        assert device.core.wait(60) == FAILED
        assert "Error logging the results of query: ticks" in device.core.said()
        file.with_suffix(".away").rename(file)
        device.core.start()
        wait_until(lambda: is_attached(device.core), device.said)
        newer_ticks(device, server)
