"""A database that stands still under large bodies: late answers, then errors, in bounded memory; then all goes on."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.api.gate import ARRIVING_BYTES, IN_FLIGHT_BYTES
from tests.fault.conftest import Made
from tests.support import postgres
from tests.support.load import BEGIN, stored
from tests.support.server import Peer, Server, snapshot_line

DEVICES = 24
ROWS = 1000
ROW_BYTES = 4000
OSQUERY_SECONDS = 16.0
LATE_SECONDS = 4.0
MIB = 2**20


@contextmanager
def standing_still(database: Made) -> Iterator[None]:
    """Hold what whoever writes has to have."""
    if database.kind == "sqlite":
        connection = sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()
        return
    with postgres.held(database.url, "LOCK TABLE muster_migrations IN SHARE ROW EXCLUSIVE MODE"):
        yield


class Sender:
    """A device with one large answer, which it sends until it is taken."""

    def __init__(self, number: int, server: Server, secret: str) -> None:
        self.table = f"large_{number}"
        self.peer = Peer(server, secret)
        self.peer.enroll(system_info={"uuid": f"uuid-{number}", "hostname": f"h{number}"})
        rows = [{"n": str(row), "filler": "x" * ROW_BYTES} for row in range(ROWS)]
        line = snapshot_line(self.table, BEGIN, rows)
        self.body = json.dumps({"node_key": self.peer.node_key, "log_type": "result", "data": [line]}).encode()
        self.took: list[float] = []
        self.answers: list[bytes] = []

    @property
    def acknowledged(self) -> bool:
        return b"{}" in self.answers

    def send_on(self, stop: threading.Event) -> None:
        while not self.acknowledged and not stop.is_set():
            begin = time.monotonic()
            self.answers.append(self.peer.server.request("POST", "/api/osquery/log", self.body)[1])
            self.took.append(time.monotonic() - begin)


def resident(pid: int) -> int:
    """Bytes of memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("seconds", [20, pytest.param(120, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_a_database_that_stands_still(database: Made, seconds: int) -> None:
    server = Server(database.url)
    senders = [Sender(number, server, database.secret) for number in range(DEVICES)]
    assert sum(len(sender.body) for sender in senders) > IN_FLIGHT_BYTES
    before, most, stop = resident(server.pid), 0, threading.Event()
    threads = [threading.Thread(target=sender.send_on, args=(stop,)) for sender in senders]
    with standing_still(database):
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            most = max(most, resident(server.pid) - before)
            time.sleep(0.1)
        errors = [answer for sender in senders for answer in sender.answers]
        late = [took for sender in senders for took in sender.took]
    assert errors
    assert all(list(json.loads(answer)) == ["error"] for answer in errors)
    assert min(late) > LATE_SECONDS, "an error comes only after some patience: it silences a device for minutes"
    end = time.monotonic() + 90
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    stop.set()
    assert all(sender.acknowledged for sender in senders), "it goes on by itself"
    assert max(took for sender in senders for took in sender.took) < OSQUERY_SECONDS
    for sender in senders:
        assert stored(database.url, f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {sender.table}_history") == [(ROWS, ROWS)]
    assert server.stop() == 0
    assert most < 2.5 * IN_FLIGHT_BYTES + ARRIVING_BYTES, "bodies that nobody waits for any more pile up"
