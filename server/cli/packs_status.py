"""``muster packs status``: how far the packs in force have come, on all devices or on one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from server.app import opened_database
from server.catalog.canary_stop import seconds
from server.cli.options import database_option, json_option, print_json, run
from server.cli.packs_plan import HASH_CHARS
from server.store.driver import Driver, StoreError
from server.store.expected import ANSWERS, DeviceStatus, device_status
from server.store.in_force import InForce, load_in_force
from server.store.migrate import require_current
from server.store.rollout import Cohort, OfQuery, Status, rollout

_DEAREST = 10
"""Queries that are shown without ``--all``."""


@click.command()
@click.option("--device", "named", metavar="HOST", help="Each query that this device (hostname or id) should run.")
@click.option("--all", "whole", is_flag=True, help="All queries, not the dearest only.")
@database_option
@json_option
def status(named: str | None, database: str, *, whole: bool, as_json: bool) -> None:
    """Show the packs in force, and the canary's: on which devices they are proven to run, what fails, what it costs.

    A device is proven to run its config when osquery_info.config_hash is that of the config it should have. Costs are
    those that devices tell in osquery_schedule.
    """
    found = run(_status(database, named))
    if as_json:
        print_json(asdict(found))
        return
    lines = device_lines(found) if isinstance(found, DeviceStatus) else status_lines(found, time.time(), whole=whole)
    for line in lines:
        click.secho(line, bold=bool(line) and not line.startswith(" "))


async def _status(url: str, named: str | None) -> Status | DeviceStatus:
    async with opened_database(url) as database:
        driver = database.driver
        await require_current(driver)
        in_force = await _in_force(driver)
        if named is not None:
            return await device_status(driver, in_force, named, time.time())
        return await rollout(driver, in_force, time.time())


async def _in_force(driver: Driver) -> InForce:
    found = await load_in_force(driver)
    if found is None:
        raise StoreError("No packs were ever applied: 'muster serve' or 'muster packs apply' does so.")
    return found


def status_lines(found: Status, now: float, *, whole: bool) -> Iterator[str]:
    """The status as text."""
    yield from _cohort("In force", found.base, whole=whole)
    if found.canary:
        yield ""
        yield from _cohort(f"Canary on {found.canary.application.canary}", found.canary, whole=whole)
    elif found.stopped:
        one = found.stopped
        yield ""
        yield f"The canary of application {one.number} was stopped by {one.stopped_by} at {one.ended_at}"
        yield f"  {one.stop_reason}"
    yield ""
    yield "Servers" if found.servers else "No server runs"
    for server in found.servers:
        canary = f", canary {server.canary}" if server.canary else ""
        yield f"  {server.server} has application {server.number}{canary} since {server.loaded_at}"
        if server.problem:
            first, _, rest = server.problem.partition("\n")
            yield f"    could not load what is in force: {first}{' …' if rest else ''}"


def _cohort(title: str, cohort: Cohort, *, whole: bool) -> Iterator[str]:
    one = cohort.application
    promoted = f", promoted by {one.promoted_by} {one.promoted_at}" if one.promoted_at else ""
    note = f": {one.note}" if one.note else ""
    number = f"application {one.number} ({one.hash[:HASH_CHARS]})"
    yield f"{title}: {number} since {one.applied_at} by {one.applied_by}{promoted}{note}"
    rows: list[tuple[str, ...]] = [("platform", "devices", "proven", "older", "waiting", "unknown", "silent")]
    for on in cohort.platforms:
        longest = f" (up to {span(on.silent_seconds)})" if on.silent else ""
        counts = (on.devices, on.proven, on.older, on.waiting, on.unknown)
        rows.append((on.platform, *map(str, counts), f"{on.silent}{longest}"))
    yield from aligned(rows) if cohort.platforms else ("  no devices",)
    yield f"  Query errors: {cohort.errors}, and {cohort.errors_before} before it was applied"
    worst = sorted((one for one in cohort.queries if one.failing), key=lambda one: (-one.failing, one.query))
    for query in worst[:5]:
        yield f"    {query.shown} on {query.failing} of {query.devices}: {query.message}"
    shown = cohort.queries if whole else cohort.queries[:_DEAREST]
    if shown:
        yield from _queries(shown)
    if len(shown) < len(cohort.queries):
        yield f"  and {len(cohort.queries) - len(shown)} less dear queries: --all shows them"


def _queries(queries: Sequence[OfQuery]) -> Iterator[str]:
    rows = [("query", "told by", "every", "a run", "CPU", "cost", "memory", "output", "rows", "denied")]
    for one in queries:
        cpu = None if one.user_seconds is None else one.user_seconds + (one.system_seconds or 0)
        rows.append((
            one.shown, f"{one.reporting}/{one.devices}", span(one.interval), _seconds(one.wall_seconds), _seconds(cpu),
            seconds(one.cost_seconds), _bytes(one.memory), _bytes(one.output),
            "" if one.rows is None else f"{one.rows:,}", str(one.denylisted or ""),
        ))  # fmt: skip
    yield from aligned(rows)


def device_lines(found: DeviceStatus) -> Iterator[str]:
    """A device's status as text: what is missing first."""
    canary = ", of the canary" if found.canary else ""
    yield f"{found.hostname} ({found.platform}): application {found.application}{canary}"
    yield f"  Last seen: {found.last_seen_at}"
    served = f"application {found.served} since {found.served_at}" if found.served else "no config yet"
    told = {
        "proven": "it runs the expected one",
        "other": "it runs another one",
        "not told": "it has not told its hash",
    }
    yield f"  Served: {served}; {told[found.config]}"
    yield f"  Schedule told: {found.schedule_at or 'never'}"
    missing = [one for one in found.queries if one.state != ANSWERS]
    yield f"  {len(found.queries)} queries are expected, {len(missing)} of them do not answer"
    rows = [("query", "every", "expected since", "last answer", "runs", "a run", "state")]
    for one in sorted(found.queries, key=lambda one: (one.state == ANSWERS, one.query)):
        runs = "" if one.executions is None else f"{one.executions:,}"
        row = (one.query, span(one.interval), _minute(one.since), _minute(one.last_answer or "never"), runs)
        rows.append((*row, _seconds(one.run_seconds), one.state))
    yield from aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as columns: numbers to the right, words to the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    left = [not any(row[at][:1].isdigit() for row in rows[1:]) or "-" in rows[-1][at] for at in range(len(widths))]
    for row in rows:
        yield "  " + "  ".join(_padded(*cell) for cell in zip(row, widths, left, strict=True)).rstrip()


def _padded(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def span(value: float) -> str:
    """Seconds as one reads an interval or a silence: 45 s, 5 min, 1.5 h, 2 days."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 3600), ("h", 3600, 172_800)):
        if value < most:
            return f"{value / size:.3g} {unit}"
    return f"{value / 86_400:.3g} days"


def _minute(at: str) -> str:
    """An instant to the minute, in UTC."""
    return at[:16].replace("T", " ")


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds(value)


def _bytes(value: int | None) -> str:
    if value is None:
        return ""
    return f"{value:,} B" if value < 10_000 else f"{value / 1024:,.0f} KiB"
