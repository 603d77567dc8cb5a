"""``kill -9`` of the server while it is fed: after a restart and a resend every acknowledged row is there once."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path

import pytest

from tests.support.server import Peer, Server, ask, muster, snapshot_line

DEVICES = 4
BODIES = 60


class Device:
    """A device that sends numbered snapshots and remembers which were acknowledged."""

    def __init__(self, number: int, peer: Peer) -> None:
        self.table = f"fed_{number}"
        self.peer = peer
        self.begin = int(time.time()) - BODIES - 10
        self.acknowledged: list[int] = []

    def feed(self, stop: threading.Event) -> None:
        """Send on until the server is gone."""
        for number in range(BODIES):
            if stop.is_set():
                return
            if number in self.acknowledged:
                continue
            try:
                answer = self.peer.log(self.line(number))
            except OSError:
                return
            if answer == {}:
                self.acknowledged.append(number)

    def line(self, number: int) -> dict[str, object]:
        """A row of its own and one that every body has."""
        return snapshot_line(self.table, self.begin + number, [{"n": str(number)}, {"n": "always"}])


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_is_there_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    database = f"sqlite:///{tmp_path / 't.db'}"
    secret = json.loads(muster("init", "--database", database, "--json").stdout)["enroll_secret"]
    server = Server(database)
    devices = []
    for number in range(DEVICES):
        peer = Peer(server, secret)
        peer.enroll(system_info={"uuid": f"u{number}", "hostname": f"h{number}"})
        devices.append(Device(number, peer))
    for _ in range(3):
        stop = threading.Event()
        threads = [threading.Thread(target=device.feed, args=(stop,)) for device in devices]
        for thread in threads:
            thread.start()
        enough = chance.randint(5, 40)
        while sum(len(device.acknowledged) for device in devices) < enough and any(t.is_alive() for t in threads):
            time.sleep(0.002)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        check(database, devices)
        server = Server(database)
        for device in devices:
            device.peer.server = server
    for device in devices:
        device.feed(threading.Event())
        device.acknowledged.clear()
        device.feed(threading.Event())  # everything again: nothing may change
    check(database, devices)
    assert server.stop() == 0
    for device in devices:
        assert len(device.acknowledged) == BODIES
        assert ask(database, f"SELECT COUNT(*) FROM {device.table}_history") == [[BODIES + 1]]
        assert ask(database, f"SELECT first_at < last_at FROM coverage WHERE query = '{device.table}'") == [[1]]


def check(database: str, devices: list[Device]) -> None:
    for device in devices:
        if not device.acknowledged:
            continue
        stored = ask(database, f"SELECT n, COUNT(*) FROM {device.table}_history GROUP BY n")
        counts = dict(map(tuple, stored))
        assert set(counts.values()) == {1}, "a row is there twice"
        assert {str(number) for number in device.acknowledged} <= counts.keys()
        assert counts["always"] == 1
