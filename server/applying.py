"""Putting packs into force: by hand, or because a server is started with them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from server.catalog.content import Content, read_content
from server.evaluate.check import checked
from server.store import applications
from server.store.applications import FOLDER, SHIPPED, Application
from server.store.driver import Driver, Transaction
from server.store.in_force import InForce, Part, load_in_force
from server.store.shipping import Applied, Request, put_into_force

log = logging.getLogger(__name__)


async def apply(driver: Driver, content: Content, request: Request, now: float) -> tuple[Applied, Part]:
    """Check packs and apply them. Raises ``CatalogError`` with every problem, and then nothing has changed."""
    catalog = await checked(content)
    applied = await put_into_force(driver, content, catalog, request, now)
    return applied, Part(catalog, applied.application.number, content.hash)


async def settle(driver: Driver, packs: Path | None, shipped: Path, by: str, now: float) -> InForce:
    """What a server that is started with ``packs`` serves; it is applied if it is not in force.

    A folder that was put into force so and has not changed since is left alone: what was applied by hand after it
    outlives a restart. Without a folder the library ``shipped`` with Muster is applied, unless other packs ever were.
    """
    folder = await asyncio.to_thread(read_content, packs) if packs else None

    async def read(tx: Transaction) -> tuple[Application | None, Application | None, Application | None]:
        return *await applications.in_force(tx), await applications.last_of(tx, FOLDER)

    base, canary, last = await driver.read(read)
    known: InForce | None = None
    content = folder
    if folder is None and (base is None or base.origin == SHIPPED):
        content = await asyncio.to_thread(read_content, shipped)
    if content and content.hash not in {one.hash for one in (base, canary) if one}:
        if base and folder and last and last.hash == folder.hash:
            log.warning(
                "application %d stays in force: %s was applied before it, as application %d, and has not changed since",
                base.number, packs, last.number,
            )  # fmt: skip
        else:
            _, part = await apply(driver, content, Request(by=by, origin=FOLDER if folder else SHIPPED), now)
            known = InForce(part)
    found = await load_in_force(driver, known)
    assert found is not None, "packs were applied just now"
    return found
