"""Who serves what: the packs each server has in force, and the config each device was served last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.normalize.times import iso
from server.store.driver import Transaction
from server.store.in_force import InForce

GONE_SECONDS = 120
"""A server that was not heard of for so long has ended without saying so."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """A running server: the applications it has in force, and what kept it from loading others."""

    server: str
    number: int
    canary: int | None
    loaded_at: str
    seen_at: str
    problem: str | None


async def note_loaded(tx: Transaction, server: str, in_force: InForce, problem: str | None, now: float) -> None:
    """Write down what a server has in force, or, with a ``problem``, has had to keep; forget servers that are gone."""
    canary = in_force.canary.number if in_force.canary else None
    await tx.run("DELETE FROM muster_servers WHERE seen_at < ?", (iso(now - GONE_SECONDS),))
    await tx.run(
        "INSERT INTO muster_servers (server, number, canary, loaded_at, seen_at, problem) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (server) DO UPDATE SET number = excluded.number, canary = excluded.canary,"
        " loaded_at = CASE WHEN muster_servers.number = excluded.number"
        " AND COALESCE(muster_servers.canary, 0) = COALESCE(excluded.canary, 0) THEN muster_servers.loaded_at"
        " ELSE excluded.loaded_at END, seen_at = excluded.seen_at, problem = excluded.problem",
        (server, in_force.base.number, canary, iso(now), iso(now), problem),
    )


async def note_seen(tx: Transaction, server: str, now: float) -> bool:
    """Note that a server runs; False if it was forgotten, since it was not heard of for so long."""
    return bool(await tx.run("UPDATE muster_servers SET seen_at = ? WHERE server = ?", (iso(now), server)))


async def note_gone(tx: Transaction, server: str) -> None:
    """Note that a server has ended."""
    await tx.run("DELETE FROM muster_servers WHERE server = ?", (server,))


async def servers(tx: Transaction, now: float) -> list[ServerState]:
    """The servers that run."""
    rows = await tx.rows(
        "SELECT server, number, canary, loaded_at, seen_at, problem FROM muster_servers WHERE seen_at >= ?"
        " ORDER BY server",
        (iso(now - GONE_SECONDS),),
    )
    return [ServerState(*row) for row in rows]


async def note_served(tx: Transaction, served: Mapping[int, tuple[int, str]], now: float) -> None:
    """Write down the configs (application and hash) that devices were served; those they had before cost nothing.

    Of a device that was erased meanwhile nothing is written.
    """
    await tx.many(
        "INSERT INTO muster_served (device_no, number, config_hash, since)"
        " SELECT device_no, CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT) FROM muster_devices"
        " WHERE device_no = ? AND erased_at IS NULL"
        " ON CONFLICT (device_no) DO UPDATE SET number = excluded.number, config_hash = excluded.config_hash,"
        " since = excluded.since"
        " WHERE muster_served.number <> excluded.number OR muster_served.config_hash <> excluded.config_hash",
        [(number, digest, iso(now), device_no) for device_no, (number, digest) in sorted(served.items())],
    )
