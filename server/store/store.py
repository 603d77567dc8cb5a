"""The store: what the rest of Muster may ask of the database, each method one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

import orjson

from server.catalog.catalog import Catalog
from server.normalize.devices import DeviceFacts
from server.normalize.minimise import Minimiser
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store import access, devices
from server.store.driver import Driver, Transaction, Work
from server.store.ingest import Delivery, Ingest, Ingested
from server.store.intake import Intake
from server.store.keyring import Keyring
from server.store.registry import Registry
from server.store.retype import patiently, retype
from server.store.shipped import shipped_queries
from server.store.tables import QueryTable
from server.store.watch import ClockWatch
from server.wire.messages import BadLine, LogBody

Result = TypeVar("Result")


class Store:
    """An opened, migrated database together with the catalog whose queries it keeps."""

    def __init__(
        self,
        driver: Driver,
        catalog: Catalog,
        *,
        max_age_days: int = 90,
        clock: Callable[[], float] = time.time,
        minimise_key: bytes | None = None,
    ) -> None:
        self.driver = driver
        self.catalog = catalog
        self.clock = clock
        shipped = shipped_queries(catalog)
        self._registry = Registry({name: (query.mode, query.columns) for name, query in shipped.items()})
        fresh_days = max((loaded.control.fresh_within_days for loaded in catalog.judged()), default=1)
        minimiser = Minimiser(catalog.minimisation, minimise_key)
        self.familiar: Container[bytes] = minimiser.familiar
        """What ``parse_log`` may leave unread."""
        self._ingest = Ingest(self._registry, shipped, max_age_days, fresh_days, clock, minimiser)
        self._intake = Intake(self.write, self._ingest)
        self._generation = driver.generation
        self._keyring = Keyring(driver)
        self.clocks = ClockWatch(driver, clock)

    async def write(self, work: Work[Result]) -> Result:
        """Run ``work`` in a transaction and return when it is durable."""
        return await self.driver.write(self._fresh(work))

    async def read(self, work: Work[Result]) -> Result:
        """Run ``work`` on one consistent view."""
        return await self.driver.read(work)

    def _fresh(self, work: Work[Result]) -> Work[Result]:
        async def run(tx: Transaction) -> Result:
            if self._generation != self.driver.generation:
                self._generation = self.driver.generation
                self._registry.forget()
            try:
                return await work(tx)
            except BaseException:
                self._registry.forget()  # it may know of tables that are undone now
                raise

        return run

    async def ship(self) -> None:
        """Make the tables of the catalog's queries and record the versions served from now on."""

        async def work(tx: Transaction) -> list[tuple[str, str, str]]:
            retyped = await self._registry.ship(tx, self.clock())
            await tx.many(
                "INSERT INTO muster_query_versions (query, version, platforms, mode, sql, columns, first_served_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (query, version) DO NOTHING",
                [
                    (
                        query.name,
                        query.version,
                        ",".join(query.platforms),
                        query.mode,
                        query.sql,
                        orjson.dumps([[c.name, c.kind, c.volatile] for c in query.columns]).decode(),
                        iso(self.clock()),
                    )
                    for query in {q.version: q for q in self.catalog.queries.values()}.values()
                ],
            )
            return retyped

        for query, column, kind in await patiently(self.write, work):
            await retype(self.write, self._registry, query, column, kind)

    async def tables(self, tx: Transaction) -> dict[str, QueryTable]:
        """Every query's table, as of this transaction."""
        return await Registry({}).all(tx)

    # -- devices -----------------------------------------------------------------------------------------------

    async def enroll(self, secret: str, facts: DeviceFacts, host_identifier: str) -> str | None:
        """Enrol a device and return its node key; None where the secret is wrong."""

        async def work(tx: Transaction) -> str | None:
            if not await access.may_enroll(tx, secret):
                return None
            return await devices.enroll(tx, facts, clean_text(host_identifier), self.clock())

        node_key = await self.write(work)
        self._keyring.forget()
        return node_key

    async def device_of(self, node_key: str) -> devices.Device | None:
        """Whose node key it is; None for one that is not in use. A revocation takes effect within two seconds."""
        return await self._keyring.device_of(node_key)

    async def heard(self, device_nos: Iterable[int]) -> None:
        """Note that these devices were heard of just now."""
        told = [(device_no, None) for device_no in device_nos]
        if told:
            await self.write(lambda tx: devices.heard(tx, told, self.clock()))

    # -- ingest ------------------------------------------------------------------------------------------------

    async def ingest(self, device: devices.Device, body: LogBody) -> Ingested:
        """Store a body of a device's log lines. Returns when it is durable; the same body again changes nothing.

        What cannot be stored becomes rows of ``rejects`` and never costs the lines beside it.
        """
        done = await self._intake.put(Delivery(device, body))
        if done.doubtful:
            self.clocks.doubt(device)
        return done

    async def reject(self, device: devices.Device, lines: Sequence[BadLine]) -> None:
        """Keep what a device sent and nobody could read."""
        await self.write(lambda tx: self._ingest.reject(tx, device, lines))
