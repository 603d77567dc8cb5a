"""A thousand collectors with a channel open: what they hold of memory, and how soon all of them are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson

from server.normalize.questions import parse_question
from server.store import asked, devices
from server.store.driver import Transaction
from server.store.registry import read_tables
from server.store.store import Store
from tests.bench.measure import Aim, Line, cpu_seconds
from tests.bench.places import Place, facts_of_device, fresh
from tests.bench.scale import Scale
from tests.bench.servers import Target, muster_serving
from tests.support.channel import hello

CHANNELS = 1000
IDLE_SECONDS = 5.0
QUERY = "users"
AT_ONCE = 50


def idle_channels(kind: str, scale: Scale) -> Iterator[Line]:
    """Open channels, leave them alone, then put one question to all, from this process."""
    count = max(2, scale.of(CHANNELS))
    with fresh(kind) as place:
        keys = _collectors(place, count)
        with muster_serving(place.url) as server:
            yield from asyncio.run(_measured(kind, place, server, keys))


def _collectors(place: Place, count: int) -> list[str]:
    async def work(tx: Transaction) -> list[str]:
        now = time.time()
        return [
            await devices.enroll(tx, facts_of_device(number, "linux"), "bench", now, collector="0.1.0")
            for number in range(count)
        ]

    return place.with_store(lambda store: store.write(work))


async def _measured(kind: str, place: Place, server: Target, keys: Sequence[str]) -> list[Line]:
    before = _resident_kb(server.pid)
    async with AsyncExitStack() as stack:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        await stack.enter_async_context(session)
        begun = time.monotonic()
        sockets: list[aiohttp.ClientWebSocketResponse] = []
        for start in range(0, len(keys), AT_ONCE):
            sockets += await asyncio.gather(*(_open(session, server, key) for key in keys[start : start + AT_ONCE]))
        opened = time.monotonic() - begun
        idle, used = time.monotonic(), cpu_seconds(server.pid)
        readers = [asyncio.create_task(_question(socket)) for socket in sockets]
        await asyncio.sleep(IDLE_SECONDS)
        after, spent = _resident_kb(server.pid), cpu_seconds(server.pid)
        share = None if used is None or spent is None else (spent - used) / (time.monotonic() - idle)
        asked_at = await asyncio.to_thread(_ask_all, place)
        times = sorted(await asyncio.gather(*readers))
        await asyncio.gather(*(socket.close() for socket in sockets))
    facts = {"channels": len(keys), "opened_a_second": round(len(keys) / opened)}
    return [
        Line(
            name="memory of an idle channel",
            database=kind,
            value=(after - before) / len(keys),
            unit="kB",
            facts=facts | {"idle_cpu": None if share is None else round(share, 4)},
        ),
        Line(
            name="one question pushed to all channels",
            database=kind,
            value=times[-1] - asked_at,
            unit="s",
            aim=Aim(at_most=3.0, unit="s"),
            facts=facts
            | {"first": round(times[0] - asked_at, 3), "median": round(times[len(times) // 2] - asked_at, 3)},
        ),
    ]


async def _open(session: aiohttp.ClientSession, server: Target, key: str) -> aiohttp.ClientWebSocketResponse:
    """A channel that has been greeted, and asked the time."""
    address = f"http://127.0.0.1:{server.port}/api/collector/channel"
    socket = await session.ws_connect(address, headers={"Authorization": f"NodeKey {key}"})
    await socket.send_str(orjson.dumps(hello()).decode())
    while orjson.loads(await socket.receive_str())["type"] != "ask":
        pass
    return socket


async def _question(socket: aiohttp.ClientWebSocketResponse) -> float:
    """When a channel's question came."""
    while True:
        message = orjson.loads(await socket.receive_str())
        if message["type"] == "ask" and parse_question(message["id"]):
            return time.monotonic()


def _ask_all(place: Place) -> float:
    """Put a question to every device; returns when it is written down."""

    async def put(store: Store) -> float:
        version = store.catalog.queries[QUERY, "linux"].version

        async def work(tx: Transaction) -> None:
            table = (await read_tables(tx))[QUERY].name
            numbers = await tx.rows("SELECT device_no FROM muster_devices")
            questions = [(number, table, version) for (number,) in numbers]
            now = time.time()
            await asked.put(tx, questions, asked.BY_PERSON, "bench", time.strftime("%Y-%m-%d", time.gmtime()), now)

        await store.write(work)
        return time.monotonic()

    return place.with_store(put)


def _resident_kb(pid: int) -> int:
    """What a process has resident now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
