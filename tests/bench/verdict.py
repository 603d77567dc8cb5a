"""How long an answer takes to its provisional verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from server.normalize.names import scheduled_name
from server.store.store import Store
from tests.bench.bodies import PREFIX, log_body, request
from tests.bench.library import Speaker, answers_of, read
from tests.bench.measure import Aim, Line
from tests.bench.places import Place, devices_of, enrolled, fresh
from tests.bench.scale import Scale
from tests.bench.servers import muster_serving
from tests.support.stores import shipped_catalog

QUERY, CONTROL, PLATFORM = "listening_ports", "no-cleartext-remote-access", "linux"
TELNET = {"name": "telnetd", "port": "23", "protocol": "6", "address": "0.0.0.0"}
PATIENCE = 180.0
PAUSE = 0.1


def answer_to_verdict(kind: str, scale: Scale) -> Iterator[Line]:
    """The worst case: an answer that comes right after the server has judged, so that it waits for the next time."""
    with fresh(kind) as place:
        (key,) = enrolled(place, 1, [PLATFORM])
        place.with_store(_first_answer)
        with muster_serving(place.url) as server:
            # Starting, the server judges what it finds.
            _wait(place, "pass")
            version = shipped_catalog().queries[QUERY, PLATFORM].version
            rows = [*map(dict, answers_of(PLATFORM)[QUERY]), TELNET]
            body = log_body(key, scheduled_name(QUERY, version), int(time.time()), rows)
            server.load([request(f"{PREFIX}log", body)], b"{}", 1)
            took = _wait(place, "fail")
    yield Line(
        name="an answer arriving to its provisional verdict, worst case",
        database=kind,
        value=took,
        unit="s",
        aim=Aim(at_most=60, unit="s"),
    )


async def _first_answer(store: Store) -> None:
    (device,) = await devices_of(store)
    line = Speaker(store.catalog, PLATFORM).line(QUERY, int(time.time()) - 1, answers_of(PLATFORM)[QUERY])
    await store.ingest(device, read([line]))


def _wait(place: Place, status: str) -> float:
    """Wait until today's verdict is so; returns the seconds."""
    began = time.perf_counter()
    while (waited := time.perf_counter() - began) < PATIENCE:
        today = datetime.now(UTC).date().isoformat()
        asked = f"FROM posture WHERE day = '{today}' AND control = '{CONTROL}' AND status = '{status}'"
        if place.ask(f"SELECT COUNT(*) {asked}")[0]:
            return waited
        time.sleep(PAUSE)
    raise TimeoutError(f"no verdict {status} within {PATIENCE} s")
