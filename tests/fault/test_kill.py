"""``kill -9`` of the server at random moments of a load: what was acknowledged is there, and once."""

from __future__ import annotations

import random
import time

import pytest

from tests.fault.conftest import Made
from tests.support.load import Load, devices_of, stored
from tests.support.server import Server

DEVICES = 4


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_what_was_acknowledged_is_there_once(database: Made, kills: int) -> None:
    chance = random.Random(kills)
    server = Server(database.url)
    load = Load(devices_of(server, database.secret, DEVICES), seed=kills)
    for _ in range(kills):
        with load.going():
            load.more(chance.randint(1, 40))
            time.sleep(chance.uniform(0, 0.02))  # somewhere within a commit, or before, or after
            server.kill()
        load.check(database.url)
        server = Server(database.url)
        load.move_to(server)
    with load.going():
        load.more(20)
    everything_again(load)
    assert server.stop() == 0
    load.check(database.url)
    for device in load.devices:
        assert stored(database.url, f"SELECT COUNT(*) FROM {device.table}_history") == [(device.next + 1,)]
        covered = stored(
            database.url, f"SELECT status, COUNT(*) FROM coverage WHERE query = '{device.table}' GROUP BY 1"
        )
        assert covered == [("ok", 1)]


def everything_again(load: Load) -> None:
    """A replay changes nothing."""
    for device in load.devices:
        if device.sent - device.acknowledged:
            assert device.send(device.next), device.refused
            device.next += 1
        for number in sorted(device.acknowledged)[-100:]:
            assert device.send(number), device.refused
