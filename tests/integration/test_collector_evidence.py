"""The day's evidence from a stand-in for osqueryd, and from a real one where MUSTER_OSQUERYD names it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collector.evidence import Evidence
from collector.osqueryd import Osquery, OsqueryGoneError
from collector.spool import Line, Spool
from tests.support.core.running import core
from tests.support.evidencing import query

OSQUERYD = os.environ.get("MUSTER_OSQUERYD", "")
SCHEDULE = {"schedule": {"pack/base/ran@0123456789": {"query": "SELECT 1 AS one", "interval": 1, "snapshot": True}}}
QUERIES = [
    query("ran@0123456789", "SELECT 1 AS one"),
    query("host@0123456789", "SELECT hostname, uuid FROM system_info"),
    query("broken@0123456789", "SELECT * FROM nowhere"),
]


class AnyTurn:
    def background(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


@dataclass
class Device:
    """A spool and the evidence that goes into it."""

    spool: Spool
    evidence: Evidence

    def lines(self) -> list[dict[str, Any]]:
        lines: list[Line] = []
        while (batch := self.spool.batch("log", 10**6, 100)) is not None:
            lines += batch.lines
            self.spool.settle(batch)
        return [json.loads(line.text) for line in lines]


def device(folder: Path, socket: Path, queries: list[dict[str, Any]]) -> Device:
    spool = Spool(folder / "spool.db", 2**24)
    day = int(time.time()) // 86_400 * 86_400
    told = [{"day": time.strftime("%Y-%m-%d", time.gmtime(day)), "starts_at": day, "ends_at": day + 86_400}]
    spool.keep("hello", json.dumps({"calendar": told}).encode())
    spool.keep("config", json.dumps({"queries": queries}).encode())
    return Device(spool, Evidence(spool, lambda seconds: Osquery(socket, seconds), lambda _: None, AnyTurn()))


@contextmanager
def stand_in() -> Iterator[Path]:
    with core(config=SCHEDULE, tick="0.05") as running:
        yield running.socket


@contextmanager
def real() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="osq-") as folder:
        place = Path(folder)
        (place / "osquery.conf").write_text(json.dumps(SCHEDULE))
        flags = {
            "config_path": place / "osquery.conf",
            "extensions_socket": place / "osq.em",
            "database_path": place / "db",
            "pidfile": place / "pid",
            "logger_path": place,
            "disable_watchdog": "true",
        }
        with (place / "said").open("wb") as said:
            process = subprocess.Popen([OSQUERYD, *(f"--{key}={value}" for key, value in flags.items())], stderr=said)
        try:
            yield place / "osq.em"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(
    params=[
        stand_in,
        pytest.param(real, marks=pytest.mark.skipif(not OSQUERYD, reason="MUSTER_OSQUERYD names no osqueryd")),
    ],
    ids=["stand-in", "osqueryd"],
)
def socket(request: pytest.FixtureRequest) -> Iterator[Path]:
    with request.param() as path:
        wait_for(lambda: ran(path))
        yield path


def ran(socket: Path) -> bool:
    try:
        with Osquery(socket, 5) as connection:
            rows = connection.query("SELECT name, executions FROM osquery_schedule").rows
    except OsqueryGoneError:
        return False
    return any(row["name"] == "pack/base/ran@0123456789" and int(row["executions"]) > 0 for row in rows)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_what_the_schedule_did_not_run_is_taken(socket: Path, tmp_path: Path) -> None:
    one = device(tmp_path, socket, QUERIES)
    running = asyncio.create_task(one.evidence.run())
    one.evidence.stir()
    lines: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while len(lines) < 2:
            await asyncio.sleep(0.05)
            lines += one.lines()
    running.cancel()
    snapshot, status = lines
    with Osquery(socket, 5) as connection:
        (host,) = connection.query("SELECT hostname, uuid, hardware_serial FROM system_info").rows
    assert (snapshot["name"], snapshot["action"]) == ("host@0123456789", "snapshot")
    assert snapshot["snapshot"] == [{"hostname": host["hostname"], "uuid": host["uuid"]}]
    assert snapshot["decorations"] == {"muster_uuid": host["uuid"], "muster_serial": host["hardware_serial"]}
    assert status["message"] == "Error executing scheduled query broken@0123456789: no such table: nowhere"
    assert "ran@0123456789" not in json.dumps(lines)
    assert str(await one.evidence.evidence_now()) == "2 taken, 1 failed"


async def test_osqueryd_killed_while_it_answers(tmp_path: Path) -> None:
    with core(config=SCHEDULE, watch="manual") as running:
        running.await_ready()
        running.do("slow", contains="'slow'", seconds=20)
        one = device(tmp_path, running.socket, [query("slow", "SELECT 'slow' AS it"), query("host", QUERIES[1]["sql"])])
        now = asyncio.create_task(one.evidence.evidence_now())
        await asyncio.to_thread(wait_for, lambda: b'"running": ["slow"' in (one.spool.get("evidence") or b""))
        running.kill()
        done = await now
        assert (done.failed, done.complete) == (1, False)
        running.start()
        running.await_ready()
        assert str(await one.evidence.evidence_now()) == "1 taken, 1 not asked again today"
        status, snapshot = one.lines()
        assert "osqueryd ended while it ran" in status["message"]
        assert snapshot["name"] == "host"


async def test_what_osqueryd_denylisted(tmp_path: Path) -> None:
    with core(config=SCHEDULE) as running:
        running.await_ready()
        running.do("deny", query="pack/base/ran@0123456789")
        one = device(tmp_path, running.socket, QUERIES[:2])
        assert str(await one.evidence.evidence_now()) == "1 taken, 1 denylisted by osqueryd"


async def test_osqueryd_is_away(tmp_path: Path) -> None:
    one = device(tmp_path, tmp_path / "nowhere.em", QUERIES)
    done = await one.evidence.evidence_now()
    assert not done.complete
    assert "osqueryd cannot be asked" in done.problem
    assert one.lines() == []
