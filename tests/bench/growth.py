"""What a long time of equal answers leaves in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from server.catalog.schema import PLATFORMS
from server.normalize.rows import Column
from server.normalize.times import iso
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.names import quoted
from server.store.store import Store
from server.store.tables import SQL_TYPES, QueryTable
from server.store.thinning import REORDER_DAYS, thin
from tests.bench.library import Speaker, answers_of, read
from tests.bench.measure import Aim, Line
from tests.bench.places import Place, devices_of, enrolled, fresh
from tests.bench.scale import Scale

CHANGED_ONE_IN = 50
INVENTORY = {"linux": "deb_packages", "darwin": "apps", "windows": "programs"}
VERSION = {"linux": "version", "darwin": "bundle_version", "windows": "version"}
ROWS = {"linux": 800, "darwin": 200, "windows": 150}
"""How long the inventory is. A recorded Debian host has 813 packages; the simulated ones have too few."""
UPGRADED = 5
"""Rows of its inventory that change on a device's day of change."""
DAY, HOUR = 86_400, 3600

Row = Mapping[str, str]


def stored_bytes(kind: str, scale: Scale) -> Iterator[Line]:
    """Hourly snapshots of the shipped library, against the rows that changed in tables with their values alone."""
    count, days = scale.of(12), scale.of(30, full=365)
    with fresh(kind) as place:
        enrolled(place, count, PLATFORMS)
        empty = place.stored_bytes()
        answers = place.with_store(lambda store: _live(place, store, days))
        stored = place.stored_bytes() - empty
        before = place.stored_bytes()
        rows = place.with_store(_copy_bare)
        bare = place.stored_bytes() - before
    yield Line(
        name=f"{days} days of hourly snapshots of the shipped library, {count} devices, 2 % of them changing a day",
        database=kind,
        value=stored,
        unit="bytes",
        limit=bare,
        ratio=stored / bare,
        aim=Aim(at_most=2),
        facts={"answers": answers, "rows": rows, "bytes_an_answer": round(stored / answers, 1)},
    )


async def _live(place: Place, store: Store, days: int) -> int:
    """Let every device answer everything every hour; returns how many answers that were.

    What is older than the reorder window is thinned at the end of every day, as the server's worker does it.
    """
    start = (int(time.time()) // DAY - days) * DAY
    lives = [_Life(store, device, Random(number)) for number, device in enumerate(await devices_of(store))]
    said = 0
    for day in range(days):
        said += sum(await asyncio.gather(*(life.day(day, start + day * DAY) for life in lives)))
        if day >= REORDER_DAYS:
            await thin(store.driver, iso(start + (day + 1 - REORDER_DAYS) * DAY))
        await place.settle()
    return said


class _Life:
    """One device: what it answers now."""

    def __init__(self, store: Store, device: Device, chance: Random) -> None:
        self._store = store
        self._device = device
        self._chance = chance
        self._speaker = Speaker(store.catalog, device.platform)
        self._inventory = INVENTORY[device.platform]
        self._answers = dict(answers_of(device.platform))
        self._answers[self._inventory] = _lengthened(self._answers[self._inventory], ROWS[device.platform])

    async def day(self, number: int, start: int) -> int:
        """Answer every hour of a day; returns how many answers that were."""
        if number and self._chance.randrange(CHANGED_ONE_IN) == 0:
            column = VERSION[self._device.platform]
            self._answers[self._inventory] = _upgraded(self._answers[self._inventory], column, number, self._chance)
        lines = [
            self._speaker.line(query, start + hour * HOUR + second, rows)
            for hour in range(24)
            for second, (query, rows) in enumerate(self._answers.items())
        ]
        return (await self._store.ingest(self._device, read(lines))).answers


def _lengthened(rows: Sequence[Row], count: int) -> list[Row]:
    return [{**rows[n % len(rows)], "name": f"{rows[n % len(rows)]['name']}-{n // len(rows)}"} for n in range(count)]


def _upgraded(rows: Sequence[Row], column: str, day: int, chance: Random) -> list[Row]:
    chosen = set(chance.sample(range(len(rows)), min(UPGRADED, len(rows))))
    return [{**row, column: f"{row[column]}.{day}"} if n in chosen else row for n, row in enumerate(rows)]


async def _copy_bare(store: Store) -> int:
    """Copy every stored row into a table with its device, its interval, its values, and no index."""

    async def work(tx: Transaction) -> int:
        copied = 0
        for table in (await store.tables(tx)).values():
            names = ", ".join(["device_no", "valid_from", "valid_to", *(quoted(c.sql_name) for c in table.columns)])
            if await tx.row(f"SELECT 1 FROM {table.rows_name} LIMIT 1") is None:
                continue
            await tx.run(f"CREATE TABLE {_bare(table)} ({', '.join(map(' '.join, _columns(table.columns)))})")
            copied += await tx.run(f"INSERT INTO {_bare(table)} ({names}) SELECT {names} FROM {table.rows_name}")
        return copied

    return await store.write(work)


def _bare(table: QueryTable) -> str:
    return quoted(f"bare_{table.name}")


def _columns(columns: Sequence[Column]) -> list[tuple[str, str]]:
    own = [(quoted(column.sql_name), SQL_TYPES[column.kind]) for column in columns]
    return [("device_no", "BIGINT"), ("valid_from", "TEXT"), ("valid_to", "TEXT"), *own]
