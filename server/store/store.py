"""The store: what the rest of Muster may ask of the database, each method one transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import TypeVar

from server.catalog.catalog import Catalog
from server.catalog.problems import CatalogError
from server.normalize.devices import DeviceFacts
from server.normalize.text import clean_text
from server.store import access, devices
from server.store.applications import content
from server.store.asking import ANSWERS_AT_ONCE, AskedQuestions
from server.store.batches import Fate
from server.store.cohorts import Cohorts
from server.store.deliveries import Delivery, Ingested, Taken
from server.store.driver import Driver, Transaction, Work
from server.store.in_force import InForce, Part, in_force_at
from server.store.ingest import Ingest
from server.store.intake import Intake
from server.store.keyring import Keyring
from server.store.questions import Questions
from server.store.registry import Registry, read_tables
from server.store.retype import patiently, retype
from server.store.shipped import table_shapes
from server.store.shipping import ship_tables
from server.store.tables import QueryTable
from server.store.watch import ClockWatch
from server.wire.messages import BadLine, CollectorBatch, LogBody

log = logging.getLogger(__name__)

Result = TypeVar("Result")

CATALOGS_KEPT = 3
"""Packs of the past that are kept once somebody asked for them."""


class Store:
    """An opened, migrated database together with the packs in force, whose queries it keeps."""

    def __init__(
        self,
        driver: Driver,
        packs: Catalog | InForce,
        *,
        max_age_days: int = 90,
        clock: Callable[[], float] = time.time,
        minimise_key: bytes | None = None,
    ) -> None:
        self.driver = driver
        self.in_force = packs if isinstance(packs, InForce) else InForce(Part(packs))
        self.clock = clock
        self._max_age_days = max_age_days
        self.taken = Taken()
        self._past: InForce | None = None
        self._read: dict[str, Catalog] = {}
        self._generation = driver.generation
        self._begin(self.in_force, minimise_key)
        self._intake = Intake(self.write, self._ingest)
        self._keyring = Keyring(driver)
        self.clocks = ClockWatch(driver, clock)
        asked = AskedQuestions(driver, clock, lambda device: self.in_force.config_of(device)[1].asked, self._intake.put)
        self.questions = Questions(self.clocks, asked)
        """What devices are asked beside their schedules."""

    @property
    def catalog(self) -> Catalog:
        """The packs that are in force for all devices that are in no canary."""
        return self.in_force.base.catalog

    @property
    def familiar(self) -> Container[bytes]:
        """What ``parse_log`` may leave unread."""
        return self._cohorts.familiar

    def _begin(self, in_force: InForce, minimise_key: bytes | None) -> None:
        """Take answers by these packs from now on: a round that is under way ends by those before."""
        self._cohorts = Cohorts(in_force, minimise_key)
        # A registry of its own: what the one before knows, it may know only of a transaction still under way.
        self._registry = Registry(table_shapes(*in_force.catalogs))
        self._ingest = Ingest(self._registry, self._cohorts, self._max_age_days, self.clock)
        self.in_force = in_force

    async def in_force_at(self, at: str) -> InForce:
        """What was in force at an instant (ISO-8601, UTC).

        It is what is in force now where none were applied, and where this version of Muster cannot read what was.
        """
        now = self.in_force
        try:
            found = await in_force_at(self.driver, at, [now, self._past] if self._past else [now])
        except CatalogError as error:
            log.warning("the packs of %s cannot be read, those in force now stand for them: %s", at, error)
            return now
        if found is not None and found is not now:
            self._past = found
        return found or now

    async def catalog_of(self, digest: str) -> Catalog:
        """The packs of a hash that were once applied. The few read last are kept, for reading them takes a second.

        Raises ``CatalogError`` where this version of Muster cannot read them, ``StoreError`` where they are not there.
        """
        for in_force in (self.in_force, self._past):
            for part in in_force.parts if in_force else ():
                if part.hash == digest:
                    return part.catalog
        if (known := self._read.pop(digest, None)) is None:
            known = await asyncio.to_thread((await self.read(partial(content, digest=digest))).load)
        self._read[digest] = known
        while len(self._read) > CATALOGS_KEPT:
            del self._read[next(iter(self._read))]
        return known

    async def adopt(self, in_force: InForce, minimise_key: bytes | None) -> None:
        """Serve, store and judge by other packs from now on; their tables are made first.

        If that fails the ones before stay, and the error is raised.
        """
        await self._ship(in_force)
        self._begin(in_force, minimise_key)
        self._intake.ingest = self._ingest

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
        """Make the tables of the queries in force and record the versions served from now on."""
        await self._ship(self.in_force)

    async def _ship(self, in_force: InForce) -> None:
        shapes = table_shapes(*in_force.catalogs)

        async def work(tx: Transaction) -> list[tuple[str, str, str]]:
            return await ship_tables(tx, Registry(shapes), in_force.catalogs, self.clock())

        for query, column, kind in await patiently(self._changing, work):
            await retype(self._changing, self._registry, query, column, kind)

    async def _changing(self, work: Work[Result]) -> Result:
        """As ``write``, for work that changes tables while answers are stored in them."""

        async def run(tx: Transaction) -> Result:
            try:
                return await work(tx)
            finally:
                self._registry.forget()

        return await self.write(run)

    async def tables(self, tx: Transaction) -> dict[str, QueryTable]:
        """Every query's table, as of this transaction."""
        return await read_tables(tx)

    # -- devices -----------------------------------------------------------------------------------------------

    async def enroll(
        self, secret: str, facts: DeviceFacts, host_identifier: str, collector: str | None = None
    ) -> str | None:
        """Enrol a device and return its node key; None where the secret is wrong.

        The key is osquery's, or that of the ``collector`` of a version.
        """

        async def work(tx: Transaction) -> str | None:
            if not await access.may_enroll(tx, secret):
                return None
            return await devices.enroll(tx, facts, clean_text(host_identifier), self.clock(), collector)

        node_key = await self.write(work)
        self._keyring.forget()
        return node_key

    async def device_of(self, node_key: str, agent: str = devices.OSQUERY) -> devices.Device | None:
        """Whose node key it is; None for one that is not in use, or not that of an ``agent``.

        A revocation takes effect within two seconds.
        """
        device = await self._keyring.device_of(node_key)
        return device if device is not None and device.agent == agent else None

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
        self.taken.count(done)
        if done.doubtful:
            self.clocks.doubt(device)
        return done

    async def take(self, device: devices.Device, batch: CollectorBatch) -> Fate:
        """Store a batch of a device's collector, unless it is known or has diverged. Returns when that is durable.

        Its answers come first: they are durable before their lines count as delivered, and count once by themselves.
        """
        for start in range(0, len(batch.answers), ANSWERS_AT_ONCE):
            await self.questions.answered(device, batch.answers[start : start + ANSWERS_AT_ONCE])
        done = await self._intake.put(Delivery(device, batch.body, batch=batch.mark, backlog=batch.backlog))
        self.taken.count_batch(done)
        if done.doubtful:
            self.clocks.doubt(device)
        return done.fate

    async def reject(self, device: devices.Device, lines: Sequence[BadLine]) -> None:
        """Keep what a device sent and nobody could read."""
        await self.write(lambda tx: self._ingest.reject(tx, device, lines))
