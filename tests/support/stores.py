"""A store in this process, on a database of its own: a SQLite file, or a database of the test run's Postgres."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from server.app import opened_database, shipped_packs
from server.catalog.catalog import Catalog, load_catalog
from server.normalize.devices import DeviceFacts
from server.store.devices import Device, find_or_add
from server.store.driver import Transaction
from server.store.migrate import migrate
from server.store.store import Store
from tests.support import postgres

SINCE_1970 = 36_500


@cache
def shipped_catalog() -> Catalog:
    """The packs that come with Muster, read once."""
    return load_catalog(shipped_packs())


_kind = "sqlite"
_urls: dict[Path, str] = {}
_templates: dict[bool, str] | None = None


@contextmanager
def opening(kind: str) -> Iterator[None]:
    """Let ``open_store`` open databases of this kind for a while, within ``on``, which drops them."""
    global _kind
    before, _kind = _kind, kind
    try:
        yield
    finally:
        _kind = before


@contextmanager
def on(kind: str) -> Iterator[None]:
    """Let ``open_store`` open databases of this kind: sqlite or postgres."""
    try:
        with opening(kind):
            yield
    finally:
        while _urls:
            postgres.drop_database_now(_urls.popitem()[1])


@contextmanager
def copying() -> Iterator[None]:
    """Let ``open_store`` copy a database of Postgres meanwhile, in place of migrating every one and making its tables.

    What was made for the shipped catalog serves only that; the other one is just migrated.
    """
    global _templates
    _templates = {}
    try:
        yield
    finally:
        for url in _templates.values():
            postgres.drop_database_now(url)
        _templates = None


async def _like(catalog: Catalog) -> str:
    """What a new database of Postgres is a copy of."""
    if _templates is None:
        return postgres.BYTE_ORDER
    shipped = catalog is shipped_catalog()
    if shipped not in _templates:
        _templates[shipped] = await postgres.new_database()
        async with opened_database(_templates[shipped]) as database:
            await migrate(database.driver, time.time())
            if shipped:
                await Store(database.driver, catalog).ship()
    return postgres.copy_of(_templates[shipped])


async def url_in(directory: Path, catalog: Catalog | None = None) -> str:
    """The URL of the database that belongs to a folder; a new one is empty, or may be ready for a catalog."""
    if _kind == "sqlite":
        return f"sqlite:///{directory / 'store.db'}"
    if directory not in _urls:
        _urls[directory] = await postgres.new_database(await _like(catalog) if catalog else postgres.BYTE_ORDER)
    return _urls[directory]


@asynccontextmanager
async def open_store(
    directory: Path, catalog: Catalog | None = None, clock: Callable[[], float] = time.time
) -> AsyncIterator[Store]:
    """A migrated store in ``directory`` that believes any past time."""
    catalog = catalog or shipped_catalog()
    async with opened_database(await url_in(directory, catalog), create=True) as database:
        await migrate(database.driver, clock())
        store = Store(database.driver, catalog, max_age_days=SINCE_1970, clock=clock)
        await store.ship()
        yield store


@asynccontextmanager
async def passing_store(
    directory: Path, catalog: Catalog | None = None, clock: Callable[[], float] = time.time
) -> AsyncIterator[Store]:
    """As ``open_store``, for a test that makes many of them: a database of Postgres is dropped at once."""
    try:
        async with open_store(directory, catalog, clock) as store:
            yield store
    finally:
        if directory in _urls:
            await postgres.drop_database(_urls.pop(directory))


async def add_device(store: Store, name: str, platform: str = "linux") -> Device:
    """A device as an enrolment would make it."""
    facts = DeviceFacts(
        hostname=name,
        hardware_uuid=f"uuid-of-{name}",
        serial="",
        platform=platform,
        os_name="",
        os_version="",
        osquery_version="5.23.0",
    )

    async def work(tx: Transaction) -> Device:
        device_no = await find_or_add(tx, facts, store.clock())
        found = await tx.row("SELECT device_id FROM devices WHERE hostname = ?", (name,))
        assert found is not None
        return Device(device_no, found[0], platform)

    return await store.write(work)


async def rows(store: Store, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows of a statement over anything, internal tables too."""
    return await store.read(lambda tx: tx.rows(sql, parameters))


_VIEWS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name",
    "postgres": "SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY viewname",
}
NOT_COMPARED = {"opened_seq", "closed_seq", "muster_superseded_seq"}


async def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Everything the database tells its users, and what it keeps to go on from; sorted, without commit sequences."""
    dump: dict[str, list[tuple[Any, ...]]] = {}
    names = await rows(store, _VIEWS[_kind])
    for (name,) in [*names, ("muster_instants",), ("muster_runs_received",)]:
        columns, found = await store.read(lambda tx, name=name: tx.select(f'SELECT * FROM "{name}"'))  # type: ignore[misc]
        kept = [position for position, column in enumerate(columns) if column not in NOT_COMPARED]
        dump[name] = sorted((tuple(row[position] for position in kept) for row in found), key=repr)
    return dump
