"""Databases to measure on, made anew for each benchmark on the disk the checkout is on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from server.app import opened_store, shipped_packs
from server.cli.database import make_database
from server.normalize.devices import DeviceFacts
from server.store import devices
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.store import Store
from tests.support import postgres
from tests.support.server import ROOT

Result = TypeVar("Result")

SCRATCH = ROOT / "build"
"""Not /tmp, which is memory on many machines: a commit there costs nothing."""
KINDS = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class Place:
    """An initialised database with nothing in it yet, and a folder that goes with it."""

    kind: str
    url: str
    directory: Path
    packs: Path
    admin_token: str
    enroll_secret: str

    def with_store(self, work: Callable[[Store], Awaitable[Result]]) -> Result:
        """Do something with a store of this process, while no server is at the database."""

        async def run() -> Result:
            async with opened_store(self.url, self.packs, max_age_days=36_500) as (store, _):
                return await work(store)

        return asyncio.run(run())

    def ask(self, sql: str) -> list[Any]:
        """The first row of a statement, asked by a connection of its own."""
        if self.kind == "postgres":
            return list(asyncio.run(postgres.run(sql, self.url))[0].values())
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        try:
            return list(connection.execute(sql).fetchone())
        finally:
            connection.close()

    async def settle(self) -> None:
        """What Postgres does by itself within hours after much was written: make room, and count to plan by."""
        if self.kind == "postgres":
            await postgres.run("VACUUM ANALYZE", self.url)

    def stored_bytes(self) -> int:
        """What the database takes on the disk, pages that are free again not counted."""
        if self.kind == "postgres":
            return int(self.ask("SELECT pg_database_size(current_database())")[0])
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(
            self.ask(
                "SELECT (c.page_count - f.freelist_count) * s.page_size"
                " FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s"
            )[0]
        )


@contextmanager
def fresh(kind: str, prepare: Callable[[Path], Path] | None = None) -> Iterator[Place]:
    """A new database of a kind, gone afterwards. ``prepare`` makes the packs in the place's folder."""
    SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        directory = Path(name)
        packs = prepare(directory) if prepare else shipped_packs()
        if kind == "postgres":
            url = asyncio.run(postgres.new_database(at=cluster()))
        else:
            url = f"sqlite:///{directory / 'bench.db'}"
        try:
            made = asyncio.run(make_database(url, packs, "UTC"))
            assert made is not None
            yield Place(kind, url, directory, packs, made["admin_token"], made["enroll_secret"])
        finally:
            if kind == "postgres":
                asyncio.run(postgres.drop_database(url, cluster()))


@cache
def cluster() -> str:
    """The URL of a Postgres that commits as a real one does, unlike the one other tests use."""
    return os.environ.get("MUSTER_TEST_POSTGRES") or str(_started().get_uri())


@cache
def _started() -> Any:
    return postgres.start_server(durable=True, under=SCRATCH)


def enrolled(place: Place, count: int, platforms: Sequence[str] = ("linux",)) -> list[str]:
    """Enrol devices in turn of these platforms, not over HTTP; returns their node keys."""

    async def work(tx: Transaction) -> list[str]:
        return [
            await devices.enroll(tx, facts_of_device(number, platforms[number % len(platforms)]), "bench", time.time())
            for number in range(count)
        ]

    return place.with_store(lambda store: store.write(work))


async def devices_of(store: Store) -> list[Device]:
    """The devices in the order they were enrolled."""
    found = await store.read(
        lambda tx: tx.rows("SELECT device_no, device_id, platform FROM muster_devices ORDER BY device_no")
    )
    return [Device(*row) for row in found]


def facts_of_device(number: int, platform: str) -> DeviceFacts:
    """What the device of a number says of itself."""
    return DeviceFacts(
        hostname=f"bench-{number}",
        hardware_uuid=f"00000000-0000-4000-8000-{number:012}",
        serial=f"B{number:08}",
        platform=platform,
        os_name="Debian GNU/Linux",
        os_version="12",
        osquery_version="5.23.0",
    )
