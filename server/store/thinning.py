"""Thinning what is older than the reorder window, so that storage grows with change and not with time.

Late data within the window lands exactly, for every instant in it is kept. Of older runs of equal instants only the
ends are, which is all that intervals, stretches and lapses rest on; of the runs of differentials only the newest,
whose states are in the intervals.
"""

from __future__ import annotations

from functools import partial

from server.store.deletions import DEVICES_A_STEP, STEP, step
from server.store.driver import Driver, Transaction
from server.store.registry import read_tables
from server.store.runs import chain_start
from server.store.tables import QueryTable

REORDER_DAYS = 14

# Instants strictly inside a stretch: the gaps around them are allowed, and status and version are those around them.
_INSIDE = """
SELECT s.table_name, s.said_at, s.next_at
  FROM (SELECT i.table_name, i.at AS said_at, i.fingerprint, i.approximate, LEAD(i.at) OVER stretch AS next_at,
               LAG(i.fingerprint) OVER stretch AS said_before, LEAD(i.fingerprint) OVER stretch AS said_after
          FROM muster_coverage c
          JOIN muster_instants i ON i.device_no = c.device_no AND i.table_name = c.table_name
           AND i.at >= c.first_at AND i.at <= c.last_at
         WHERE c.device_no = ? AND c.first_at < ? AND i.at < ?
        WINDOW stretch AS (PARTITION BY c.table_name, c.first_at ORDER BY i.at)) s
 WHERE s.said_before IS NOT NULL AND s.said_after IS NOT NULL AND s.approximate = 0
"""
_UNCHANGED = f"""{_INSIDE} AND s.said_before = s.fingerprint AND s.said_after = s.fingerprint
 ORDER BY s.table_name, s.said_at LIMIT ?"""
_OF_ONE_TABLE = f"{_INSIDE} AND s.table_name = ? ORDER BY s.said_at"


async def thin(driver: Driver, before: str) -> int:
    """Drop what is older than an instant and no longer needed; returns how many rows. It may be ended at any step."""
    devices = [row[0] for row in await driver.read(lambda tx: tx.rows("SELECT device_no FROM muster_devices"))]
    dropped = 0
    while devices:
        done, count = await step(driver, partial(_step, devices[:DEVICES_A_STEP], before))
        devices = devices[done:]
        dropped += count
    return dropped


async def _step(devices: list[int], before: str, tx: Transaction) -> tuple[int, int]:
    """Thin some devices; returns how many are done with, and how many rows are dropped."""
    volatile = [table for table in (await read_tables(tx)).values() if any(c.volatile for c in table.columns)]
    dropped = 0
    for done, device_no in enumerate(devices):
        if dropped >= STEP:
            return done, dropped
        before_this = dropped
        dropped += await _thin_instants(tx, device_no, before, volatile)
        dropped += await _drop_runs(tx, device_no, before)
        if dropped - before_this >= STEP:
            return done, dropped  # there may be more of this one
    return len(devices), dropped


async def _thin_instants(tx: Transaction, device_no: int, before: str, volatile: list[QueryTable]) -> int:
    found = await tx.rows(_UNCHANGED, (device_no, before, before, STEP))
    for table in volatile:
        # Their answers differ every time; what counts is whether a row began or ended.
        inside = await tx.rows(_OF_ONE_TABLE, (device_no, before, before, table.name))
        if inside:
            changes = await _changes(tx, table, device_no)
            found += [row for row in inside if row[1] not in changes and row[2] not in changes][:STEP]
    gone = {(table, at) for table, at, _ in found}
    kept = {(table, after) for table, _, after in found} - gone
    await tx.many(
        "DELETE FROM muster_instants WHERE device_no = ? AND table_name = ? AND at = ?",
        [(device_no, *key) for key in sorted(gone)],
    )
    await tx.many(
        "UPDATE muster_instants SET thinned = 1 WHERE device_no = ? AND table_name = ? AND at = ?",
        [(device_no, *key) for key in sorted(kept)],
    )
    return len(gone)


async def _changes(tx: Transaction, table: QueryTable, device_no: int) -> set[str]:
    """The instants at which a row of the device began or ended."""
    rows = await tx.rows(table.open_rows, (device_no,))
    rows += await tx.rows(table.closed_rows, (device_no, ""))
    return {at for _, _, valid_from, valid_to in rows for at in (valid_from, valid_to) if at is not None}


async def _drop_runs(tx: Transaction, device_no: int, before: str) -> int:
    """Drop the runs of differentials but the newest before an instant, which the next one is held against.

    Where only the newest answer is kept there are no intervals to go on from: the runs since the last whole one stay.
    """
    dropped = 0
    mine = "device_no = ? AND table_name = ?"
    for table, mode in await tx.rows(
        "SELECT r.table_name, q.mode FROM muster_runs_received r JOIN muster_queries q ON q.table_name = r.table_name"
        " WHERE r.device_no = ? AND r.at < ? GROUP BY r.table_name, q.mode HAVING MIN(r.at) < MAX(r.at)",
        (device_no, before),
    ):
        old = await tx.rows(
            f"SELECT at FROM muster_runs_received WHERE {mine} AND at < ? ORDER BY at LIMIT ?",
            (device_no, table, before, STEP),
        )
        horizon = old[-1][0]
        if mode == "latest":
            horizon = await chain_start(tx, device_no, table, horizon)
        dropped += await tx.run(
            f"DELETE FROM muster_runs_received WHERE {mine} AND at < ?", (device_no, table, horizon)
        )
        if mode == "latest":
            continue
        await tx.run(
            f"UPDATE muster_runs_received SET horizon = 1 WHERE {mine} AND at = ?", (device_no, table, horizon)
        )
    return dropped
