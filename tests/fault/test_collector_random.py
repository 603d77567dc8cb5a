"""Everything between osqueryd and the tables is killed and cut at random; then every accepted line is there once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from server.catalog.catalog import load_catalog
from server.normalize.names import scheduled_name
from tests.fault.conftest import Made
from tests.support import packs
from tests.support.collector import Device, all_delivered, device
from tests.support.core.lines import About
from tests.support.core.running import CoreEndedError
from tests.support.counting import counting_server
from tests.support.load import stored
from tests.support.server import Server
from tests.support.troubled import Relay, relay

QUERY = "happenings"
EVENTS = """-- What happened.
-- mode: events
-- columns: id bigint, what text
SELECT uid AS id, path AS what FROM process_events
"""
PACKS = packs.content({f"queries/{QUERY}.linux.sql": EVENTS, "events.yaml": f"title: Events\nqueries: {{{QUERY}: }}\n"})
FLAGS = {"extensions_interval": "1", "ping_lag": "0.1", "watch": "auto"}


class Traffic:
    """Logs numbered events without end, in runs of one to five, and begins core again when it has ended."""

    def __init__(self, device: Device, name: str, seed: int) -> None:
        self.device = device
        self.restarts = 0
        self._name = name
        self._chance = random.Random(seed)
        self._next = 0
        self._runs = 0
        self._ended = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._go_on, name="traffic")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._problem:
            raise self._problem

    def _go_on(self) -> None:
        try:
            while not self._ended.is_set():
                with suppress(CoreEndedError):
                    self.device.core.log(QUERY, *({"string": self._line()} for _ in range(self._chance.randint(1, 5))))
                    self._runs += 1
                    self._ended.wait(self._chance.uniform(0, 0.05))
                    continue
                self.revive()
        except BaseException as problem:
            self._problem = problem

    def revive(self) -> None:
        """As a service manager does it."""
        core = self.device.core
        assert core.process is not None
        while True:
            if core.process.poll() is None:
                with suppress(CoreEndedError):
                    core.await_ready(30)
                    return
            core.wait()
            self.restarts += 1
            core.start()

    def _line(self) -> str:
        self._next += 1
        unix = int(time.time())
        fields = About(self._name, "stand-in", unix, 0, {}).fields(self._runs)
        return json.dumps({**fields, "columns": {"id": str(self._next), "what": "x" * 100}, "action": "added"})


class Troubles:
    """One of the faults, every now and then."""

    def __init__(self, device: Device, relay: Relay, seed: int, server: Server | None = None, *options: str) -> None:
        self.device = device
        self.relay = relay
        self.server = server
        self.met: dict[str, int] = {}
        self._options = options
        self._chance = random.Random(seed)
        self._all: list[Callable[[], None]] = [
            self.extension_killed,
            self.uplink_killed,
            self.core_killed,
            self.network_cut,
            self.network_away,
        ]
        if server is not None:
            self._all += [self.server_killed, self.network_bad]

    def go_on(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        rounds = [*self._all]
        self._chance.shuffle(rounds)
        while time.monotonic() < until:
            trouble = rounds.pop() if rounds else self._chance.choice(self._all)  # each of them at least once
            self.met[trouble.__name__] = self.met.get(trouble.__name__, 0) + 1
            trouble()
            time.sleep(self._chance.uniform(0.05, 1.5))

    def mostly(self, trouble: Callable[[], None]) -> None:
        """Let this one come as often as all others together."""
        self._all += [trouble] * len(self._all)

    def settle(self) -> None:
        """No more of it."""
        self.relay.trouble, self.relay.down = 0.0, False
        self.relay.cut()
        self.device.kill_uplink()  # one that was begun just now does not sit out a long wait
        self.device.start_uplink()

    def extension_killed(self) -> None:
        self.device.kill_extension()

    def uplink_killed(self) -> None:
        self.device.kill_uplink()
        self.device.start_uplink()

    def core_killed(self) -> None:
        with suppress(CoreEndedError):
            self.device.core.kill()

    def server_killed(self) -> None:
        assert self.server is not None
        self.server.kill()
        time.sleep(self._chance.uniform(0, 1))
        self.server = Server(self.server.database, *self._options)
        self.relay.target = self.server.port

    def network_cut(self) -> None:
        self.relay.cut()

    def network_away(self) -> None:
        self.relay.down = True
        time.sleep(self._chance.uniform(0, 1.5))
        self.relay.down = False

    def network_bad(self) -> None:
        self.relay.trouble = self._chance.choice([0.0, 0.2, 0.6])


@pytest.mark.parametrize(
    ("seconds", "seed"),
    [
        (15, 1),
        pytest.param(60, 2, marks=[pytest.mark.slow]),
        pytest.param(60, 3, marks=[pytest.mark.slow]),
    ],
)
@pytest.mark.timeout(400)
def test_every_line_that_was_accepted_is_there_once(database: Made, tmp_path: Path, seconds: int, seed: int) -> None:
    folder = packs.write(PACKS, tmp_path / "packs")
    options = ("--packs", str(folder))
    name = scheduled_name(QUERY, load_catalog(folder).queries[QUERY, "linux"].version)
    server = Server(database.url, *options)
    with (
        relay(server.port, seed) as between,
        device(tmp_path, f"http://127.0.0.1:{between.port}", database.secret, flags=FLAGS) as made,
    ):
        troubles = Troubles(made, between, seed, server, *options)
        in_trouble(made, Traffic(made, name, seed), troubles, seconds)
        it_is_all_there(database.url, made)
    assert troubles.server is not None and troubles.server.stop() == 0


def in_trouble(made: Device, traffic: Traffic, troubles: Troubles, seconds: int) -> None:
    """Traffic while troubles last; then let it settle until everything is delivered."""
    traffic.start()
    try:
        troubles.go_on(seconds)
    finally:
        traffic.stop()
    traffic.revive()
    troubles.settle()
    all_delivered(made)
    assert made.stop_uplink() == 0, made.said()


@pytest.mark.timeout(300)
def test_nothing_is_counted_twice(tmp_path: Path) -> None:
    """The tables would hide a batch that was stored twice, since no event is there twice: here each line is counted."""
    with (
        counting_server() as server,
        relay(server.port, seed=4) as between,
        device(tmp_path, f"http://127.0.0.1:{between.port}", "made-up", flags=FLAGS) as made,
    ):
        troubles = Troubles(made, between, seed=4)
        server.lost_answers, between.trouble = 0.6, 0.3
        # One that begins sends at once; after some failures it would rather wait.
        troubles.mostly(troubles.uplink_killed)
        traffic = Traffic(made, QUERY, seed=4)
        in_trouble(made, traffic, troubles, seconds=12)
        assert len(server.met) > 5, "hardly an answer was lost"
        taken = {_number(line): count for line, count in server.lines.items()}
        assert {_number(line) for line in made.core.answered()} <= set(taken), made.said()
        assert set(taken.values()) == {1} and len(taken) > 100
        assert server.gaps == []


def it_is_all_there(database: str, made: Device) -> None:
    refused = [call for call in made.core.calls("logger") if call["answered"] and "string" in call["request"]]
    assert [call for call in refused if call["response"]["code"] != 0] == []
    found = stored(database, f"SELECT id, COUNT(*) FROM {QUERY}_history GROUP BY id")
    counts = {int(number): count for number, count in found}
    answered, sent = ({_number(line) for line in lines} for lines in (made.core.answered(), made.core.sent()))
    assert len(answered) > 100, "it was hardly tried"
    assert answered <= set(counts), f"lost: {sorted(answered - set(counts))}\n{made.said()}"
    assert set(counts) <= sent
    assert set(counts.values()) == {1}, "a line is there twice"
    assert stored(database, "SELECT COUNT(*) FROM posture_collector_gaps") == [(0,)]
    assert stored(database, "SELECT COUNT(*) FROM rejects") == [(0,)]
    assert stored(database, "SELECT COUNT(*) FROM devices") == [(1,)]


def _number(line: str) -> int:
    return int(json.loads(line)["columns"]["id"]) if '"id"' in line else 0
