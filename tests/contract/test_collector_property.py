"""Any interleaving of batches with lost answers, replays, splits and divergences ends with each line counted once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server.store.devices import Device
from server.store.store import Store
from server.wire.collector import parse_batch
from tests.contract.test_schema_that_moves import second_server
from tests.contract.test_store import T0, event
from tests.support.collector_peer import new_id
from tests.support.stores import add_device, open_store, rows, shipped_catalog

DEVICES = 12
STEPS = 30
TAKEN_AT_MOST = 5
"""Lines of a batch; here the device learns by being told."""


@dataclass
class Spool:
    """A device's spool and sender, and a network that may hold requests back and bring them again."""

    device: Device
    name: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    spool: str = field(default_factory=new_id)
    settled: int = 0
    batch: tuple[str, int] | None = None
    """The batch under way: its id, and through which line it goes."""
    most: int = 8
    requests: list[bytes] = field(default_factory=list)
    """Everything that was ever sent and is not too large."""
    backup: tuple[str, int] | None = None
    goes_back: bool = False

    def put(self, random: Random) -> None:
        """New lines: events, of which some are equal but for their run, and status lines."""
        for _ in range(random.randint(1, 6)):
            number = len(self.lines)
            if random.random() < 0.2:
                line = {"unixTime": T0 + number, "severity": 0, "message": f"{self.name} {number}", "version": "5"}
            else:
                line = event("counted", T0 + number // 3, number, "added", {"device": self.name, "n": str(number % 4)})
            self.lines.append(line)

    def request(self, random: Random) -> bytes | None:
        """The batch under way, or a new one; the same one has the same bytes."""
        if self.batch is None:
            if self.settled == len(self.lines):
                return None
            through = min(len(self.lines), self.settled + random.randint(1, self.most))
            self.batch = (new_id(), through)
        mark = {
            "id": self.batch[0],
            "spool": self.spool,
            "lane": "log",
            "after": self.settled,
            "through": self.batch[1],
        }
        return json.dumps({"batch": mark, "data": self.lines[self.settled : self.batch[1]]}).encode()

    def split(self) -> bool:
        """Whether the batch under way is too large for the server, which says so whenever it comes; halve it then."""
        count = self.batch[1] - self.settled if self.batch else 0
        if count > TAKEN_AT_MOST:
            self.most, self.batch = count // 2, None
        return count > TAKEN_AT_MOST

    def answered(self, fate: str) -> None:
        """Hear the answer to the batch under way."""
        assert self.batch is not None
        if fate == "diverged":
            assert self.goes_back, "nothing went back, and yet the server knows more than the device"
            self.spool = new_id()
        else:
            self.settled, self.most = self.batch[1], 8
        self.batch = None


async def send(stores: list[Store], spool: Spool, random: Random, *, lose: float = 0.0) -> None:
    """Send the next batch to some server, or to two at once; its answer may be lost."""
    raw = spool.request(random)
    if raw is None or spool.split():
        return
    spool.requests.append(raw)
    copies = 2 if random.random() < 0.2 else 1
    chosen = [random.choice(stores) for _ in range(copies)]
    fates = await asyncio.gather(*(store.take(spool.device, parse_batch(raw)) for store in chosen))
    assert len({fate == "diverged" for fate in fates}) == 1
    if random.random() >= lose:
        spool.answered(fates[0])


async def step(stores: list[Store], spool: Spool, random: Random, *, back: bool) -> None:
    """One thing that may happen."""
    what = random.choice(["put", "send", "send", "replay", "save", *(["restore"] if back else [])])
    if what == "put":
        spool.put(random)
    elif what == "send":
        await send(stores, spool, random, lose=0.4)
    elif what == "replay" and spool.requests:
        raw = random.choice(spool.requests)  # the network brings it again, whenever; nobody hears the answer
        await random.choice(stores).take(spool.device, parse_batch(raw))
    elif what == "save":
        spool.backup = (spool.spool, spool.settled)
    elif what == "restore" and spool.backup:
        spool.spool, spool.settled = spool.backup
        spool.batch, spool.goes_back = None, True


async def play(stores: list[Store], spools: list[Spool], random: Random, *, back: bool) -> None:
    for _ in range(STEPS):
        await asyncio.gather(*(step(stores, spool, random, back=back) for spool in spools))
    while any(spool.settled < len(spool.lines) for spool in spools):
        await asyncio.gather(*(send(stores, spool, random) for spool in spools))
    for spool in spools:  # and at the end all of it once more
        for raw in spool.requests:
            await random.choice(stores).take(spool.device, parse_batch(raw))


async def check(store: Store, spools: list[Spool]) -> None:
    for spool in spools:
        results = [line for line in spool.lines if "name" in line]
        found = await rows(store, "SELECT valid_from, n FROM muster_rows_counted WHERE device = ?", (spool.name,))
        assert len(found) == len(results), spool.name
        found = await rows(
            store, "SELECT message FROM status_logs WHERE device_id = ? ORDER BY 1", (spool.device.device_id,)
        )
        assert [row[0] for row in found] == sorted(line["message"] for line in spool.lines if "message" in line)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("back", [False, True], ids=["onwards", "with restored spools"])
async def test_each_line_counts_once(tmp_path: Path, seed: int, back: bool) -> None:
    random = Random(seed)
    async with open_store(tmp_path) as one, second_server(tmp_path, shipped_catalog()) as two:
        spools = [Spool(await add_device(one, f"d{n}"), f"d{n}") for n in range(DEVICES)]
        await play([one, two], spools, random, back=back)
        await check(one, spools)
        taken = one.taken.answers + one.taken.statuses + two.taken.answers + two.taken.statuses
        sent = sum(len(spool.lines) for spool in spools)
        if not back:  # no line was even looked at twice
            assert taken == sent
        assert taken >= sent
