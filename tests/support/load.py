"""Devices that send numbered answers without end, and remember which of them were acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from server.app import opened_database
from server.store.driver import Transaction
from tests.support.server import Peer, Server, snapshot_line

BEGIN = int(time.time()) - 200_000
"""Two days ago, so that a second for each answer is never in the future."""
WAIT_SECONDS = 60.0


def stored(database: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement over everything a database has, internal tables too."""

    async def read() -> list[tuple[Any, ...]]:
        async with opened_database(database) as opened:
            return await opened.driver.read(lambda tx: _rows(tx, statement))

    return asyncio.run(read())


async def _rows(tx: Transaction, statement: str) -> list[tuple[Any, ...]]:
    return await tx.rows(statement)


class Device:
    """One device and its table: every answer has a row of its own and one that all of them have."""

    def __init__(self, number: int, server: Server, secret: str, filler: str = "") -> None:
        self.table = f"fed_{number}"
        self.peer = Peer(server, secret)
        self.filler = filler
        self.acknowledged: set[int] = set()
        self.sent: set[int] = set()
        self.refused: list[str] = []
        self.slowest = 0.0
        self.next = 0
        enrolled = self.peer.enroll(system_info={"uuid": f"uuid-{number}", "hostname": f"h{number}"})
        assert self.peer.node_key, enrolled

    def send(self, number: int) -> bool:
        """Send an answer; returns whether it was acknowledged. Raises ``OSError`` where there is no server."""
        rows = [{"n": str(number), "filler": self.filler}, {"n": "always", "filler": ""}]
        line = snapshot_line(self.table, BEGIN + number, rows)
        body = {"node_key": self.peer.node_key, "log_type": "result", "data": [line]}
        self.sent.add(number)
        begin = time.monotonic()
        _, answer = self.peer.server.request("POST", "/api/osquery/log", json.dumps(body).encode())
        self.slowest = max(self.slowest, time.monotonic() - begin)
        value = json.loads(answer)
        assert "node_invalid" not in value, "osquery would throw away its key"
        if value == {}:
            self.acknowledged.add(number)
            return True
        assert list(value) == ["error"], answer
        self.refused.append(value["error"])
        return False

    def step(self, chance: random.Random) -> None:
        """Send the next answer as often as it takes, now and then with one that was acknowledged before."""
        if self.acknowledged and chance.random() < 0.1:
            self.send(chance.choice(sorted(self.acknowledged)))
        if self.send(self.next):
            self.next += 1

    def check(self, database: str) -> None:
        """Everything acknowledged is stored, and nothing twice, and nothing that was never sent."""
        if not self.acknowledged:
            return
        found = stored(database, f"SELECT n, COUNT(*) FROM {self.table}_history GROUP BY n")
        counts = {str(n): count for n, count in found}
        assert counts.pop("always") == 1
        assert set(counts.values()) <= {1}, "a row is there twice"
        numbers = {int(n) for n in counts}
        assert self.acknowledged <= numbers, f"lost: {sorted(self.acknowledged - numbers)}"
        assert numbers <= self.sent


class Load:
    """Devices that send in threads of their own until they are told to stop."""

    def __init__(self, devices: Sequence[Device], seed: int = 0) -> None:
        self.devices = devices
        self._seed = seed
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    @property
    def acknowledged(self) -> int:
        """How many answers have been, of all devices."""
        return sum(len(device.acknowledged) for device in self.devices)

    @property
    def refused(self) -> int:
        """How many answers were answered with an error."""
        return sum(len(device.refused) for device in self.devices)

    @contextmanager
    def going(self) -> Iterator[None]:
        """Send meanwhile. An answer that osquery must not get is raised at the end."""
        self._stop.clear()
        self._threads = [threading.Thread(target=self._feed, args=(device,)) for device in self.devices]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        for error in self._failed:
            raise error

    def _feed(self, device: Device) -> None:
        chance = random.Random(f"{self._seed} {device.table} {device.next}")
        try:
            while not self._stop.is_set():
                try:
                    device.step(chance)
                except OSError:
                    self._stop.wait(0.05)  # no server, or it died over this answer
        except BaseException as error:
            self._failed.append(error)

    def until(self, reached: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """Wait while the devices send until ``reached``; fails where that takes longer than ``seconds``."""
        end = time.monotonic() + seconds
        while not reached():
            assert not self._failed, self._failed
            assert time.monotonic() < end, f"{self.acknowledged} acknowledged, {self.refused} refused"
            time.sleep(0.002)

    def more(self, count: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until ``count`` more answers have been acknowledged."""
        before = self.acknowledged
        self.until(lambda: self.acknowledged >= before + count, seconds)

    def move_to(self, server: Server) -> None:
        """Let the devices speak to another server."""
        for device in self.devices:
            device.peer.server = server

    def check(self, database: str) -> None:
        """See ``Device.check``."""
        for device in self.devices:
            device.check(database)


def devices_of(server: Server, secret: str, count: int, filler: str = "") -> list[Device]:
    """So many devices, enrolled."""
    return [Device(number, server, secret, filler) for number in range(count)]
