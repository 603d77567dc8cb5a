"""A command's one transaction on a database that is up to date."""

from __future__ import annotations

from typing import TypeVar

from server.app import opened_database
from server.store.driver import Work
from server.store.migrate import require_current

Result = TypeVar("Result")


async def read_from(url: str, work: Work[Result]) -> Result:
    """Run ``work`` on one view of a database; raises ``NotReadyError`` or ``UsageError``."""
    async with opened_database(url) as database:
        await require_current(database.driver)
        return await database.driver.read(work)


async def write_to(url: str, work: Work[Result]) -> Result:
    """As ``read_from``, in a transaction that is durable when this returns."""
    async with opened_database(url) as database:
        await require_current(database.driver)
        return await database.driver.write(work)
