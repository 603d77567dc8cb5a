"""Noticing that other packs are in force, and going over to them while the server runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from server.catalog.problems import CatalogError
from server.store import applications, served
from server.store.driver import StoreError
from server.store.in_force import InForce, load_in_force
from server.store.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it is looked whether other packs are in force."""
AGAIN_SECONDS = 30.0
"""How long after a failure it is tried again."""

KeyOf = Callable[[InForce], Awaitable[bytes | None]]


class Reloader:
    """Keeps one server's store at what is in force by the database. ``key_of`` gives the key that packs hash with."""

    def __init__(self, store: Store, key_of: KeyOf, server: str) -> None:
        self._store = store
        self._key_of = key_of
        self._server = server
        self._not_before = 0.0
        self._problem: str | None = None

    async def begin(self) -> None:
        """Write down what this server began with."""
        await self._note(None)

    async def look(self) -> None:
        """Go over to other packs if the database has any in force; what fails is tried again later."""
        if time.monotonic() < self._not_before:
            return
        try:
            version = await self._store.read(applications.version)
            if version != self._store.in_force.version:
                await self._load()
            elif self._problem is not None:
                await self._note(None)
        except (CatalogError, StoreError, OSError) as error:  # OSError: no room for the files of the packs
            self._not_before = time.monotonic() + AGAIN_SECONDS
            log.error("the packs now in force cannot be loaded, those before are kept: %s", error)
            await self._note(str(error))

    async def _load(self) -> None:
        before = self._store.in_force
        found = await load_in_force(self._store.driver, before)
        if found is None or found is before:
            return  # devices have come, or what could not be loaded is in force no more
        await self._store.adopt(found, await self._key_of(found))
        await self._note(None)
        canary = f", the canary's are of application {found.canary.number}" if found.canary else ""
        log.info("the packs of application %d are in force%s", found.base.number, canary)

    async def seen(self) -> None:
        """Write down that this server runs."""
        if not await self._store.write(lambda tx: served.note_seen(tx, self._server, self._store.clock())):
            await self._note(self._problem)

    async def end(self) -> None:
        """Write down that this server has ended."""
        try:
            await self._store.write(lambda tx: served.note_gone(tx, self._server))
        except StoreError as error:
            log.warning("that this server ends was not written down: %s", error)

    async def _note(self, problem: str | None) -> None:
        store = self._store
        self._problem = problem
        try:
            await store.write(lambda tx: served.note_loaded(tx, self._server, store.in_force, problem, store.clock()))
        except StoreError as error:
            log.warning("what this server has in force was not written down: %s", error)
