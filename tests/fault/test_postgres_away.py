"""Postgres crashes under load and comes back: nothing acknowledged is lost, no key is called invalid, all goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.fault.conftest import made
from tests.support import postgres
from tests.support.load import Load, devices_of
from tests.support.server import Peer, Server

OSQUERY_SECONDS = 16
"""How long osquery waits for an answer."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Postgres of this module's own, which may be stopped, and keeps what it has committed."""
    started = postgres.start_server(durable=True)
    yield started
    started.ensure_postgres_running()  # its own clean-up wants to stop it


def crash(cluster: Any) -> None:
    """An immediate shutdown: no checkpoint, so it comes back by recovery."""
    process = cluster.get_postmaster_info().process
    os.kill(process.pid, signal.SIGQUIT)
    process.wait(timeout=30)


def config_of(peer: Peer) -> dict[str, Any]:
    body = json.dumps({"node_key": peer.node_key}).encode()
    value: dict[str, Any] = json.loads(peer.server.request("POST", "/api/osquery/config", body)[1])
    return value


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_postgres_is_away_and_comes_back(cluster: Any, seconds: int) -> None:
    name = f"muster_away_{seconds}"
    url = str(cluster.get_uri())
    asyncio.run(postgres.run(f"CREATE DATABASE {name} {postgres.BYTE_ORDER}", url))
    database = made("postgres", urlunsplit(urlsplit(url)._replace(path=f"/{name}")))
    server = Server(database.url)
    load = Load(devices_of(server, database.secret, 6))
    with load.going():
        load.more(30)
        crash(cluster)
        time.sleep(seconds)  # the fault itself, not a wait for something
        if seconds > OSQUERY_SECONDS:
            assert list(config_of(load.devices[0].peer)) == ["error"]
        cluster.ensure_postgres_running()
        load.more(60)
    assert "packs" in config_of(load.devices[0].peer)
    load.check(database.url)
    assert max(device.slowest for device in load.devices) < OSQUERY_SECONDS
    if seconds > OSQUERY_SECONDS:
        assert load.refused, "nobody waits that long"
    assert server.stop() == 0
