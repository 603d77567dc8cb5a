"""Putting packs into force: recorded with their tables in one transaction, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from server.catalog.canary import Selector
from server.catalog.catalog import Catalog
from server.catalog.content import Content
from server.catalog.problems import CatalogError, Problem
from server.normalize.times import iso
from server.store import applications
from server.store.applications import APPLIED, APPLY, CANARY, ROLLBACK, STOPPED, Application
from server.store.driver import Driver, StoreError, Transaction
from server.store.in_force import load_in_force
from server.store.observed import config_hashes, devices_in_use
from server.store.registry import Registry, read_tables
from server.store.retype import patiently
from server.store.shipped import table_shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who wants packs applied, how and why; see ``Application``."""

    by: str
    origin: str = APPLY
    note: str = ""
    selector: Selector | None = None
    restores: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it: the application, which is that of before where the same content was in force already."""

    application: Application
    changed: bool


async def ship_tables(
    tx: Transaction, registry: Registry, catalogs: Sequence[Catalog], now: float
) -> list[tuple[str, str, str]]:
    """Make or widen the tables of the catalogs' queries and record their versions.

    Returns the columns (query, column, type) that are still of another type.
    """
    retyped = await registry.ship(tx, now)
    queries = {query.version: query for catalog in catalogs for query in catalog.queries.values()}
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
                iso(now),
            )
            for query in queries.values()
        ],
    )
    return retyped


async def put_into_force(driver: Driver, content: Content, catalog: Catalog, request: Request, now: float) -> Applied:
    """Apply packs, to all devices or to a canary's; ``catalog`` is that of ``content`` and was checked.

    Raises ``CatalogError`` for what the store cannot do, and ``StoreError`` where something else is in force than what
    it was to follow on; nothing is changed then.
    """
    before = await load_in_force(driver) if request.selector else None

    async def work(tx: Transaction) -> Applied:
        base, canary = await applications.in_force(tx)
        current = canary if request.selector and canary else base
        if current and current.hash == content.hash and not (canary and request.origin == ROLLBACK):
            return Applied(current, changed=False)
        if canary and request.origin == APPLY:
            raise StoreError(
                f"The canary of application {canary.number} is under way: 'muster packs promote' or 'muster packs"
                " rollback' ends it."
            )
        if request.selector and (before is None or base is None or before.base.number != base.number):
            raise StoreError("There is nothing in force to hold a canary against, or it has just changed: try again.")
        catalogs = [before.base.catalog, catalog] if request.selector and before else [catalog]
        problems = await impossible(tx, catalogs)
        if problems:
            raise CatalogError(problems)
        await ship_tables(tx, Registry(table_shapes(*catalogs)), catalogs, now)
        made = Application(
            number=0,
            hash=content.hash,
            origin=request.origin,
            applied_by=request.by,
            applied_at=iso(now),
            note=request.note,
            state=CANARY if request.selector else APPLIED,
            canary=request.selector.text if request.selector else None,
            restores=request.restores,
        )
        return Applied(await applications.record(tx, made, content), changed=True)

    return await patiently(driver.write, work)


async def promote(driver: Driver, by: str, now: float, *, force: bool = False) -> Application:
    """Put the canary into force for all. Raises ``StoreError`` if there is none, or nothing shows that it works.

    Something does once a device of the canary has said that it runs the config it was served; ``force`` does without.
    """

    async def work(tx: Transaction) -> Application:
        _, canary = await applications.in_force(tx)
        if canary is None:
            raise StoreError(await _why_no_canary(tx))
        served = {one.device_no: one.served_hash for one in await devices_in_use(tx) if one.served == canary.number}
        running = await config_hashes(tx, await applications.members(tx, canary.number))
        if not force and not any(served.get(device_no) == told for device_no, told in running.items()):
            raise StoreError(
                f"No device of the canary of application {canary.number} has said yet that it runs its config"
                " (osquery_info.config_hash): see 'muster packs status', or promote it all the same with --force."
            )
        return await applications.promote(tx, by, now)

    return await driver.write(work)


async def _why_no_canary(tx: Transaction) -> str:
    last = next((one for one in await applications.applications(tx) if one.canary), None)
    if last is None or last.state != STOPPED:
        return "There is no canary to promote."
    return (
        f"There is no canary to promote: that of application {last.number} was stopped by {last.stopped_by}"
        f" ({last.stop_reason}). Apply its packs again, mended."
    )


async def roll_back(driver: Driver, number: int | None, request: Request, now: float) -> Applied:
    """End the canary under way; or put an earlier application's packs into force again, by default those before.

    Raises ``StoreError`` if there is nothing to go back to.
    """

    async def stop(tx: Transaction) -> Application | None:
        base, canary = await applications.in_force(tx)
        if canary and number in (None, base.number if base else None):
            return await applications.stop_canary(tx, request.by, request.note or "rolled back", now)
        return None

    stopped = await driver.write(stop)
    if stopped:
        return Applied(stopped, changed=True)

    async def choose(tx: Transaction) -> tuple[Application, Content]:
        base, canary = await applications.in_force(tx)
        wanted = number if number is not None else base.replaces if base else None
        if wanted is None:
            raise StoreError("There is nothing before to go back to: 'muster packs history' lists the applications.")
        if canary and wanted == canary.number:
            raise StoreError(f"Application {wanted} is the canary: 'muster packs promote' puts it into force for all.")
        earlier = await applications.application(tx, wanted)
        return earlier, await applications.content(tx, earlier.hash)

    earlier, content = await driver.read(choose)
    again = replace(request, origin=ROLLBACK, selector=None, restores=earlier.number)
    return await put_into_force(driver, content, content.load(), again, now)


async def impossible(tx: Transaction, catalogs: Sequence[Catalog]) -> list[Problem]:
    """What of the last of these catalogs the tables cannot hold, beside the others' and all that is stored."""
    problems: set[Problem] = set()
    tables = await read_tables(tx)
    beside = table_shapes(*catalogs[:-1])
    for query in catalogs[-1].queries.values():
        table = tables.get(query.name)
        if table and table.mode != query.mode:
            message = f"mode is {query.mode}, but the stored answers of {query.name} are of mode {table.mode}"
            problems.add(Problem(query.file, 1, message, "give the query a new name"))
        known = {column.name: column for column in beside.get(query.name, ("", ()))[1]}
        for column in query.columns:
            other = known.get(column.name)
            if other and (other.kind, other.volatile) != (column.kind, column.volatile):
                problems.add(_changed_column(query.file, query.name, column.name))
    return sorted(problems)


def _changed_column(file: str, query: str, column: str) -> Problem:
    message = f"{query}.{column} has another type, or is volatile or not, than in force: a canary shares the table"
    return Problem(file, 1, message, "give the query a new name, or apply it without a canary")
