"""Deleting in small steps, each leaving its count: what retention and erasure share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from server.normalize.times import iso
from server.store.driver import Driver, Transaction, Work
from server.store.tables import QueryTable

Result = TypeVar("Result")

STEP, DEVICES_A_STEP = 2000, 50
"""Rows a transaction deletes, and devices it looks at, so that devices go on reporting between the steps."""
AGE, ERASURE = "age", "erasure"
"""Why something was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """Rows to be deleted, device by device: where they are, which they are, and a column that puts them in order.

    ``what`` is the public name, or the table's own for what has none.
    """

    what: str
    table: str
    where: str
    order: str
    parameters: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What a deletion leaves: why, for which device (empty: for any), and up to when."""

    reason: str
    up_to: str
    device_id: str = ""

    async def count(self, tx: Transaction, what: str, how_many: int, now: float) -> None:
        """Add to the count of what was deleted."""
        if how_many:
            await tx.run(
                "INSERT INTO muster_deletions (what, reason, device_id, up_to, how_many, first_at, last_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (what, reason, device_id, up_to) DO UPDATE"
                " SET how_many = muster_deletions.how_many + excluded.how_many, last_at = excluded.last_at",
                (what, self.reason, self.device_id, self.up_to, how_many, iso(now), iso(now)),
            )


def rows_of(table: QueryTable, where: str = "", parameters: tuple[object, ...] = ()) -> list[Doomed]:
    """The rows of a query's table in parts that have an index each: ended ones, true ones, and true ones taken back."""
    if table.mode == "events":
        parts = [("valid_from IS NOT NULL", "valid_from")]
    else:
        parts = [
            ("valid_to IS NOT NULL", "valid_to"),
            ("valid_to IS NULL AND muster_superseded_seq IS NULL", "muster_digest"),
            ("valid_to IS NULL AND muster_superseded_seq IS NOT NULL", "muster_superseded_seq"),
        ]
    return [
        Doomed(what=table.name, table=table.rows_name, where=part + where, order=order, parameters=parameters)
        for part, order in parts
    ]


async def step(driver: Driver, work: Work[Result]) -> Result:
    """Take one of many steps, then leave the database to others for as long as it took."""
    started = time.monotonic()
    result = await driver.write(work)
    await asyncio.sleep(time.monotonic() - started)
    return result


async def delete_of(driver: Driver, doomed: Doomed, device_nos: Sequence[int], stone: Tombstone, now: float) -> int:
    """Delete what is doomed of some devices, step by step; returns how many rows."""
    deleted, todo = 0, list(device_nos)
    while todo:
        done, count = await step(driver, partial(_step, doomed, todo[:DEVICES_A_STEP], stone, now))
        todo = todo[done:]
        deleted += count
    return deleted


async def _step(
    doomed: Doomed, device_nos: Sequence[int], stone: Tombstone, now: float, tx: Transaction
) -> tuple[int, int]:
    """Delete what fits into a step; returns how many devices are done with, and how many rows are deleted."""
    done = deleted = 0
    for device_no in device_nos:
        count, more = await _delete(tx, doomed, device_no, max(1, STEP - deleted))
        deleted += count
        if more:
            break
        done += 1
        if deleted >= STEP:
            break
    await stone.count(tx, doomed.what, deleted, now)
    return done, deleted


async def _delete(tx: Transaction, doomed: Doomed, device_no: int, room: int) -> tuple[int, bool]:
    """Delete the first rows of a device; returns how many, and whether there are more. Equals in order go together."""
    where, values = f"device_no = ? AND {doomed.where}", (device_no, *doomed.parameters)
    found = await tx.rows(
        f"SELECT {doomed.order} FROM {doomed.table} WHERE {where} ORDER BY {doomed.order} LIMIT ?", (*values, room + 1)
    )
    if not found:
        return 0, False
    first, last = found[0][0], found[-1][0]
    if len(found) <= room:
        return await tx.run(f"DELETE FROM {doomed.table} WHERE {where}", values), False
    upto = "<" if first < last else "<="
    return await tx.run(f"DELETE FROM {doomed.table} WHERE {where} AND {doomed.order} {upto} ?", (*values, last)), True
