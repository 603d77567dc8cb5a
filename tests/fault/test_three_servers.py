"""Three ``muster serve`` on one Postgres, devices spread over them: to a device they are one server."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from server.normalize.times import unix
from server.store.lease import LEASE_SECONDS
from tests.fault.conftest import made
from tests.support.load import BEGIN, stored
from tests.support.server import Peer, Server, database_of, snapshot_line

DAY = 86_400


class Trio:
    """The servers, and what tells one from another."""

    def __init__(self, database: str, secret: str) -> None:
        self.database = database
        self.secret = secret
        self.servers = [Server(database) for _ in range(3)]

    def device(self, name: str, server: int = 0) -> Peer:
        """A device, enrolled with one of them."""
        peer = Peer(self.servers[server], self.secret)
        peer.enroll(system_info={"uuid": f"uuid-{name}", "hostname": name})
        assert peer.node_key
        return peer

    def config(self, peer: Peer, server: Server) -> bytes:
        """The config one of them serves."""
        body = json.dumps({"node_key": peer.node_key}).encode()
        return server.request("POST", "/api/osquery/config", body)[1]

    def knows(self, peer: Peer, server: Server) -> bool:
        """Whether one of them takes the device's key."""
        return b"node_invalid" not in self.config(peer, server)

    def leader(self) -> Server:
        """Which of them holds the lease."""
        ((holder,),) = stored(self.database, "SELECT holder FROM muster_leases WHERE name = 'leader'")
        pid = int(holder.split(":")[1])
        (found,) = [server for server in self.servers if server.pid == pid]
        return found


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    directory: Path = tmp_path_factory.mktemp("trio")
    with database_of("postgres", directory) as url:
        trio = Trio(url, made("postgres", url).secret)
        yield trio
        for server in trio.servers:
            assert server.stop() == 0, "".join(server.output)


def test_who_enrols_with_one_is_known_to_the_others_at_once(trio: Trio) -> None:
    for number in range(6):
        peer = trio.device(f"enrolled-{number}", number % 3)
        assert all(trio.knows(peer, server) for server in trio.servers)


def test_each_serves_the_same_config(trio: Trio) -> None:
    peer = trio.device("configured")
    configs = {trio.config(peer, server) for server in trio.servers}
    assert len(configs) == 1
    assert b"schedule" in configs.pop()


def test_who_enrols_again_has_one_key_everywhere_within_two_seconds(trio: Trio) -> None:
    old = trio.device("again")
    assert all(trio.knows(old, server) for server in trio.servers), "each remembers the key now"
    new = trio.device("again", 1)
    since = time.monotonic()
    assert all(trio.knows(new, server) for server in trio.servers)
    waiting = list(trio.servers)
    while waiting:
        asked = time.monotonic()
        assert asked - since < 2.5, "a revoked key is still taken"
        waiting = [server for server in waiting if trio.knows(old, server)]


def test_one_devices_answers_through_all_of_them_end_as_through_one(trio: Trio) -> None:
    chance = random.Random(1)
    rows = [{"name": name, "size": str(size)} for name in "abc" for size in range(3)]
    lines = [snapshot_line("mixed", BEGIN + 60 * turn, chance.sample(rows, 4)) for turn in range(40)]
    one, spread = trio.device("straight"), trio.device("spread")
    for line in lines:
        assert one.log(line) == {}
    mixed = [*lines, *chance.sample(lines, 10)]
    chance.shuffle(mixed)

    def send(position: int, line: dict[str, Any]) -> dict[str, Any]:
        peer = Peer(trio.servers[position % 3], trio.secret)
        peer.node_key = spread.node_key
        return peer.log(line)

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(send, range(len(mixed)), mixed)) == [{}] * len(mixed)
    first, second = (
        stored(
            trio.database,
            f"SELECT name, size, valid_from, valid_to FROM mixed_history WHERE hostname = '{name}' ORDER BY 1, 2, 3",
        )
        for name in ("straight", "spread")
    )
    assert first == second
    assert len(first) > 40


def test_a_table_one_of_them_makes_the_others_use(trio: Trio) -> None:
    peers = [trio.device(f"sharing-{number}", number) for number in range(3)]
    for turn in range(3):
        table = f"foreign_{turn}"
        rows = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "c": "3"}]
        with ThreadPoolExecutor(3) as threads:  # all at once the first time
            answers = list(threads.map(lambda p, r, t=table: p.snapshot(t, BEGIN, [r]), peers, rows))
        assert answers == [{}] * 3
        for number, peer in enumerate(peers):
            everything = {f"{column}{number}": "9" for column in "xyz"}
            assert peer.snapshot(table, BEGIN + 60 + turn, [everything]) == {}
        assert stored(trio.database, f"SELECT COUNT(*) FROM muster_queries WHERE query = '{table}'") == [(1,)]
        found = stored(trio.database, f"SELECT COUNT(*), COUNT(x0), COUNT(y1), COUNT(z2) FROM {table}")
        assert found == [(3, 1, 1, 1)]
    assert stored(trio.database, "SELECT COUNT(*) FROM rejects") == [(0,)]


def test_the_leader_dies_and_another_judges(trio: Trio) -> None:
    leader = trio.leader()
    alive = [server for server in trio.servers if server is not leader]
    leader.kill()
    try:
        peer = trio.device("late", trio.servers.index(alive[0]))
        asked = int(time.time())
        # A late answer brings days into scope that nobody has judged.
        assert peer.snapshot("late", asked - 3 * DAY, [{"a": "1"}]) == {}
        end = time.monotonic() + LEASE_SECONDS + 30
        closed: list[tuple[str]] = []
        while len(closed) < 2:
            assert time.monotonic() < end, "".join(alive[0].output + alive[1].output)
            time.sleep(1)
            closed = stored(trio.database, "SELECT day, starts_at FROM days WHERE state = 'closed' ORDER BY day")
        assert trio.leader() in alive
        ((acquired,),) = stored(trio.database, "SELECT acquired_at FROM muster_leases WHERE name = 'leader'")
        assert unix(acquired) >= asked - 1
    finally:
        trio.servers[trio.servers.index(leader)] = Server(trio.database)
