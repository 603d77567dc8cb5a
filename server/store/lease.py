"""A lease: what only one process may do at a time, taken over by another when its holder dies.

Times are the database's own, so the clocks of the servers need not agree. They are those of a transaction's begin,
which may come some time before its turn to write: a lease then ends earlier for its holder, and later for the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.normalize.times import iso, unix
from server.store.driver import StoreError, Transaction, Work

log = logging.getLogger(__name__)

LEADER = "leader"
"""The lease of the server that judges."""
LEASE_SECONDS = 30
MARGIN_SECONDS = 2.0
"""How long before its lease ends a holder believes it to be over; the database's time is whole seconds."""

Write = Callable[[Work[Any]], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds a lease, and until when; ``before`` held it and let it end."""

    holder: str
    acquired_at: str
    expires_at: str
    before: str | None = None


class Lease:
    """One process's claim to a lease; ``renew`` it well before ``LEASE_SECONDS`` are over."""

    def __init__(self, name: str, write: Write, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.holder = new_holder()
        self._write = write
        self._clock = clock
        self._until = 0.0
        self._led = False

    @property
    def held(self) -> bool:
        """Whether this process holds it now."""
        return self._clock() < self._until

    @property
    def lost(self) -> bool:
        """Whether this process held it and could not renew it."""
        return self._led and not self.held

    async def renew(self) -> bool:
        """Take the lease if it is free, renew it if it is ours. Returns whether it has just become ours."""
        before, asked = self.held, self._clock()
        try:
            found: Held = await self._write(lambda tx: take(tx, self.name, self.holder, LEASE_SECONDS))
        except StoreError as error:
            log.warning("the lease %r was not renewed, it will be tried again: %s", self.name, error)
            return False
        if found.holder != self.holder:
            if self._until:
                log.warning("the lease %r is lost to %s", self.name, found.holder)
            self._until = 0.0
            return False
        self._until = asked + LEASE_SECONDS - MARGIN_SECONDS
        if before or not self.held:
            return False
        self._led = True
        log.info("%s holds the lease %r%s", self.holder, self.name, f" after {found.before}" if found.before else "")
        return True

    async def give_up(self) -> None:
        """Let others have it at once."""
        if not self._led:
            return
        self._until, self._led = 0.0, False
        try:
            await self._write(lambda tx: release(tx, self.name, self.holder))
        except StoreError as error:
            log.warning("the lease %r was not given up, it will end by itself: %s", self.name, error)


def new_holder() -> str:
    """A name for somebody in this process who holds leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@asynccontextmanager
async def holding(lease: Lease) -> AsyncIterator[None]:
    """Take a lease if it is free, and renew it until the block ends; then others have it at once."""
    await lease.renew()
    renewing = asyncio.create_task(_renew_for_ever(lease))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        await lease.give_up()


async def _renew_for_ever(lease: Lease) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        await lease.renew()


async def database_time(tx: Transaction) -> int:
    """The database's time at the begin of this transaction, in seconds since 1970."""
    found = await tx.row("SELECT SUBSTR(CAST(CURRENT_TIMESTAMP AS TEXT), 1, 19)")
    assert found is not None
    return unix(f"{found[0]}Z")


async def take(tx: Transaction, name: str, holder: str, seconds: int) -> Held:
    """Give the lease to ``holder`` unless somebody else holds it; returns who does now."""
    now = await database_time(tx)
    held = await lease(tx, name)
    if held and held.holder != holder and unix(held.expires_at) > now:
        return held
    ours = held is not None and held.holder == holder
    taken = Held(
        holder,
        held.acquired_at if held and ours else iso(now),
        iso(now + seconds),
        before=held.holder if held and not ours else None,
    )
    await tx.run(
        "INSERT INTO muster_leases (name, holder, acquired_at, expires_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, acquired_at = excluded.acquired_at,"
        " expires_at = excluded.expires_at",
        (name, taken.holder, taken.acquired_at, taken.expires_at),
    )
    return taken


async def release(tx: Transaction, name: str, holder: str) -> None:
    """End a holder's lease."""
    await tx.run("DELETE FROM muster_leases WHERE name = ? AND holder = ?", (name, holder))


async def lease(tx: Transaction, name: str) -> Held | None:
    """Who had the lease last; it may have ended."""
    found = await tx.row("SELECT holder, acquired_at, expires_at FROM muster_leases WHERE name = ?", (name,))
    return Held(*found) if found else None
