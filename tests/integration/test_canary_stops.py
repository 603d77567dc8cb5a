"""A canary under way on a real server, that simulated devices make stop: by a slow query, and by falling silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.catalog.config import config_hash
from server.catalog.content import Content
from tests.support import packs
from tests.support.load import stored
from tests.support.server import HURRIED, MUSTER, Peer, Server, muster_here

SCHEDULE = (
    "-- What runs.\n-- volatile: executions, wall_time_ms, user_time, system_time\nSELECT name, interval, executions,"
    " denylisted, wall_time_ms, user_time, system_time FROM osquery_schedule\n"
)
INFO = "-- The osquery that answers.\nSELECT version, config_hash FROM osquery_info\n"
FILES: dict[str, str | None] = {
    "queries/osquery_schedule.sql": SCHEDULE,
    "queries/osquery_info.sql": INFO,
    packs.PACK: "title: All\nqueries: {residents: , osquery_schedule: , osquery_info: }\ncontrols: [no-guests]\n",
}
SLOW = "-- Who there is.\n-- cost: 20ms\nSELECT username AS who, uid, shell FROM users\n"
BASE = packs.content(FILES)
CANARY = packs.content({**FILES, packs.RESIDENTS: SLOW})
SILENT = packs.content({**FILES, packs.RESIDENTS: SLOW, "fleet.yaml": "canary: {silent_minutes: 0.2}\n"})
SECONDS = 120
"""Longer than a server takes to notice; it looks every twenty seconds."""


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)


@dataclass
class Laptop:
    """A device that fetches its config, runs it and tells how that went."""

    name: str
    peer: Peer
    config: dict[str, Any]
    hash: str = ""

    def refresh(self) -> None:
        body = json.dumps({"node_key": self.peer.node_key}).encode()
        answer = self.peer.server.request("POST", "/api/osquery/config", body)[1]
        self.config, self.hash = json.loads(answer), config_hash(answer)

    @property
    def in_canary(self) -> bool:
        return "shell FROM users" in json.dumps(self.config)

    def report(self, milliseconds: int) -> None:
        """Run everything once; ``residents`` takes so long."""
        named = {
            name.partition("@")[0]: (f"pack/{pack}/{name}", name, entry)
            for pack, content in self.config["packs"].items()
            for name, entry in content["queries"].items()
        }
        rows = [
            {
                "name": full, "interval": str(entry["interval"]), "executions": "1", "denylisted": "0",
                "wall_time_ms": str(milliseconds if query == "residents" else 1), "user_time": "1", "system_time": "0",
            }
            for query, (full, _, entry) in named.items()
        ]  # fmt: skip
        now = int(time.time())
        self.peer.snapshot(named["osquery_schedule"][1], now, rows)
        self.peer.snapshot(named["osquery_info"][1], now, [{"version": "5.23.0", "config_hash": self.hash}])


@contextmanager
def rollout(url: str, tmp_path: Path, canary: Content, program: str = HURRIED) -> Iterator[tuple[Server, list[Laptop]]]:
    """A server with ten laptops, three of them in the canary, all of which have their config."""
    at = ("--database", url)
    base, new = packs.write(BASE, tmp_path / "base"), packs.write(canary, tmp_path / "canary")
    made = json.loads(muster_here("init", *at, "--packs", str(base), "--json").stdout)
    server = Server(url, program=program)
    try:
        laptops = []
        for number in range(10):
            laptop = Laptop(f"laptop-{number}", Peer(server, made["enroll_secret"]), {})
            laptop.peer.enroll(system_info={"uuid": f"uuid-{number}", "hostname": laptop.name})
            laptop.refresh()
            laptop.report(5)
            laptops.append(laptop)
        enrolled = time.time()
        for (device_id,) in stored(url, "SELECT device_id FROM devices WHERE hostname < 'laptop-3'"):
            muster_here("device", "tag", device_id, "+eng", *at)
        until(lambda: int(time.time()) > int(enrolled))  # who enrols in the second in which it begins may be silent
        muster_here("packs", "apply", str(new), "--canary", "tag=eng", "--by", "ada", *at)

        def served() -> bool:
            for laptop in laptops:
                laptop.refresh()
            return [laptop.in_canary for laptop in laptops] == [True] * 3 + [False] * 7

        until(served)
        until(lambda: stored(url, "SELECT COUNT(*) FROM muster_served WHERE number = 2") == [(3,)])
        yield server, laptops
    finally:
        assert server.stop() == 0, "".join(server.output)


def state(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(muster_here("packs", "history", "--json", "--database", url).stdout)[0]
    return found


def is_stopped(url: str) -> bool:
    return stored(url, "SELECT state FROM muster_applications WHERE number = 2") == [("stopped",)]


def is_over(url: str, laptops: list[Laptop], reason: str) -> None:
    """The canary is stopped for that reason, its devices go back, and it cannot be promoted."""
    until(lambda: is_stopped(url))
    assert (state(url)["stopped_by"], state(url)["stop_reason"]) == ("muster", reason)

    def back() -> bool:
        for laptop in laptops:
            laptop.refresh()
        return not any(laptop.in_canary for laptop in laptops)

    until(back)
    shown = muster_here("packs", "status", "--database", url).stdout
    assert "The canary of application 2 was stopped by muster at 20" in shown and f"\n  {reason}\n" in shown
    refused = muster_here("packs", "promote", "--force", "--database", url, check=False)
    assert refused.returncode == 1 and reason in refused.stderr


def test_a_slow_query_stops_the_canary(kind: str, empty: str, tmp_path: Path) -> None:
    program = MUSTER if kind == "sqlite" else HURRIED  # one of these waits as long as it takes
    with rollout(empty, tmp_path, CANARY, program) as (server, laptops):
        for laptop, took in zip(laptops[:3], (1800, 30, 2500), strict=True):
            laptop.report(took)
        is_over(
            empty,
            laptops,
            "residents takes 1.8 s a run (the median of 3 devices), and its header says 20 ms: laptop-2 2.5 s",
        )
    assert any("is stopped: residents takes 1.8 s" in line for line in server.output)


def test_devices_that_fall_silent_stop_the_canary(empty: str, tmp_path: Path) -> None:
    with rollout(empty, tmp_path, SILENT) as (_, laptops):
        talking = [laptops[0], *laptops[3:]]

        def stopped() -> bool:
            for laptop in talking:
                laptop.report(5)
            return is_stopped(empty)

        until(stopped)
        is_over(
            empty,
            laptops,
            "2 of 3 devices were not heard of for 0.2 minutes after they were served it, and 0 of the 7 others:"
            " laptop-1, laptop-2",
        )
