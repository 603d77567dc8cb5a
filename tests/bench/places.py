"""Databases to measure on: made anew for each benchmark, on the disk the checkout is on."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from server.app import opened_store, shipped_packs
from server.cli.database import make_database
from server.normalize.devices import DeviceFacts
from server.store import devices
from server.store.driver import Transaction
from server.store.store import Store
from tests.support.server import ROOT

Result = TypeVar("Result")

SCRATCH = ROOT / "build"
"""Not /tmp, which is memory on many machines: a commit there costs nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database with nothing in it yet, and a folder beside it that goes with it."""

    kind: str
    url: str
    directory: Path

    def with_store(self, work: Callable[[Store], Awaitable[Result]], packs: Path | None = None) -> Result:
        """Do something with a store of this process, while no server is at the database."""

        async def run() -> Result:
            async with opened_store(self.url, packs or shipped_packs(), max_age_days=36_500) as (store, _):
                return await work(store)

        return asyncio.run(run())

    def ask(self, sql: str) -> list[Any]:
        """The first row of a statement, asked by a connection of its own."""
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        try:
            return list(connection.execute(sql).fetchone())
        finally:
            connection.close()


@contextmanager
def fresh(kind: str, packs: Path | None = None) -> Iterator[Place]:
    """A new, initialised database of a kind, gone afterwards."""
    SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=SCRATCH, prefix="bench-") as name:
        place = Place(kind, f"sqlite:///{Path(name) / 'bench.db'}", Path(name))
        asyncio.run(make_database(place.url, packs or shipped_packs(), "UTC"))
        yield place


def enrolled(place: Place, count: int, platforms: Sequence[str] = ("linux",), packs: Path | None = None) -> list[str]:
    """Enrol devices, in one transaction and not over HTTP; returns their node keys."""

    async def work(tx: Transaction) -> list[str]:
        return [
            await devices.enroll(tx, _facts(number, platforms[number % len(platforms)]), "bench", time.time())
            for number in range(count)
        ]

    return place.with_store(lambda store: store.write(work), packs)


def _facts(number: int, platform: str) -> DeviceFacts:
    return DeviceFacts(
        hostname=f"bench-{number}",
        hardware_uuid=f"00000000-0000-4000-8000-{number:012}",
        serial=f"B{number:08}",
        platform=platform,
        os_name="Debian GNU/Linux",
        os_version="12",
        osquery_version="5.23.0",
    )
