"""Small fleets whose verdicts hang on how long a day is, worked out by hand: clocks that go forward, another zone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.api.keys import Presence
from server.normalize.calendar import ALWAYS
from server.normalize.names import scheduled_name
from server.normalize.times import unix
from server.store.calendar import change_zone, set_zone
from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from server.worker import Worker
from tests.support.fleet_days import ZONE, catalog, disk
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

FORWARDING = [{"forwarding": "0"}]


@dataclass
class Edge:
    """One device, and what it answers at the edges of days; times are UTC."""

    store: Store
    worker: Worker
    device: Device
    now: list[float]

    async def says(self, at: str, query: str, said: list[dict[str, str]]) -> None:
        """An answer, on its way for a second."""
        self.now[0] = unix(at) + 1.0
        name = scheduled_name(query, catalog("first").queries[query, "linux"].version)
        body = {"node_key": "k", "log_type": "result", "data": [snapshot_line(name, unix(at), said)]}
        await self.store.ingest(self.device, parse_log(json.dumps(body).encode()))
        await self.worker.judge_news()

    async def at(self, at: str) -> None:
        """The worker looks for what is to be done."""
        self.now[0] = float(unix(at))
        await self.worker.judge_news()

    async def verdicts(self, control: str) -> list[tuple[Any, ...]]:
        """Day, status, lapsed, reason, since and whether it is provisional."""
        columns = "day, status, lapsed, reason, since_day, provisional"
        return await rows(self.store, f"SELECT {columns} FROM posture WHERE control = ? ORDER BY day", (control,))


@asynccontextmanager
async def edge(directory: Path, enrolled: str) -> AsyncIterator[Edge]:
    now = [float(unix(enrolled))]
    async with open_store(directory, catalog("first"), clock=lambda: now[0]) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, ZONE, "ann", now[0]))
        yield Edge(store, Worker(store, Presence()), await add_device(store, "edge"), now)


async def test_a_day_of_23_hours(tmp_path: Path) -> None:
    """Clocks go forward on 29 March 2026: it ends at 22:00, an hour earlier than the days before."""
    async with edge(tmp_path, "2026-03-28T08:00:00Z") as e:
        await e.says("2026-03-28T11:00:00Z", "forwarding", FORWARDING)
        await e.says("2026-03-28T11:00:01Z", "disks", disk("1"))
        await e.says("2026-03-28T23:30:00Z", "disks", disk("1"))  # half past midnight, of the 29th
        await e.says("2026-03-29T21:30:00Z", "disks", disk("0"))  # half past eleven in the evening
        await e.says("2026-03-29T22:30:00Z", "disks", disk("1"))  # half past midnight, of the 30th
        await e.at("2026-03-29T22:59:59Z")
        state = "SELECT starts_at, ends_at, state FROM days WHERE day = '2026-03-29'"
        assert await rows(e.store, state) == [("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "open")]
        await e.at("2026-03-29T23:00:00Z")  # the hour of grace is over
        assert await rows(e.store, state) == [("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "closed")]
        await e.at("2026-03-31T10:00:00Z")
        assert await e.verdicts("disk") == [
            ("2026-03-28", "pass", 0, None, "2026-03-28", 0),
            ("2026-03-29", "fail", 0, "rows_break_rule", "2026-03-29", 0),
            ("2026-03-30", "pass", 0, None, "2026-03-30", 0),
            ("2026-03-31", "stale", 0, "too_old", "2026-03-31", 1),
        ]
        # An answer of the last three days counts, whatever their hours.
        assert [(day, status) for day, status, *_ in await e.verdicts("forwarding")] == [
            ("2026-03-28", "pass"),
            ("2026-03-29", "pass"),
            ("2026-03-30", "pass"),
            ("2026-03-31", "stale"),
        ]
        assert await rows(e.store, "SELECT * FROM posture_revisions") == []


async def test_another_zone(tmp_path: Path) -> None:
    """On 10 June 2026 the fleet goes over to New York: the 11th begins in Berlin and ends there, after 30 hours."""
    async with edge(tmp_path, "2026-06-09T08:00:00Z") as e:
        await e.says("2026-06-09T11:00:00Z", "disks", disk("0"))
        await e.at("2026-06-10T10:00:00Z")
        before = await rows(e.store, "SELECT * FROM days WHERE day < '2026-06-10'")
        await e.store.write(lambda tx: change_zone(tx, "America/New_York", "ann", e.now[0]))
        await e.says("2026-06-10T21:00:00Z", "disks", disk("1"))
        await e.says("2026-06-10T21:00:01Z", "forwarding", FORWARDING)
        await e.says("2026-06-10T22:30:00Z", "disks", disk("0"))  # the 11th by Berlin's clocks, the 10th by New York's
        await e.says("2026-06-12T03:00:00Z", "disks", disk("1"))  # the 12th by Berlin's, the 11th by New York's
        await e.says("2026-06-13T03:30:00Z", "disks", disk("0"))
        await e.at("2026-06-13T12:00:00Z")
        assert await rows(e.store, "SELECT * FROM days WHERE day < '2026-06-10'") == before
        assert await rows(e.store, "SELECT day, starts_at, ends_at, zone, state FROM days ORDER BY day") == [
            ("2026-06-09", "2026-06-08T22:00:00Z", "2026-06-09T22:00:00Z", "Europe/Berlin", "closed"),
            ("2026-06-10", "2026-06-09T22:00:00Z", "2026-06-10T22:00:00Z", "Europe/Berlin", "closed"),
            ("2026-06-11", "2026-06-10T22:00:00Z", "2026-06-12T04:00:00Z", "America/New_York", "closed"),
            ("2026-06-12", "2026-06-12T04:00:00Z", "2026-06-13T04:00:00Z", "America/New_York", "closed"),
            ("2026-06-13", "2026-06-13T04:00:00Z", "2026-06-14T04:00:00Z", "America/New_York", "open"),
        ]
        assert await e.verdicts("disk") == [
            ("2026-06-09", "fail", 0, "rows_break_rule", "2026-06-09", 0),
            ("2026-06-10", "pass", 0, None, "2026-06-10", 0),
            ("2026-06-11", "pass", 1, None, "2026-06-11", 0),
            ("2026-06-12", "fail", 0, "rows_break_rule", "2026-06-12", 0),
            ("2026-06-13", "stale", 0, "too_old", "2026-06-13", 1),
        ]
        assert [(day, status) for day, status, *_ in await e.verdicts("forwarding")] == [
            ("2026-06-09", "no_data"),
            ("2026-06-10", "pass"),
            ("2026-06-11", "pass"),
            ("2026-06-12", "pass"),
            ("2026-06-13", "stale"),
        ]
        assert await rows(e.store, "SELECT * FROM posture_revisions") == []
