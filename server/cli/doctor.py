"""``muster doctor``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from server.app import examine, shipped_packs
from server.catalog.catalog import Catalog, load_catalog
from server.cli.options import NOT_READY, PROBLEMS, applied_packs_option, database_option, json_option, print_json, run
from server.evaluate.due import days_due
from server.store import applications
from server.store.driver import Transaction
from server.store.findings import Finding, check_clock, check_leader, check_rejects, check_schema
from server.store.served import servers

LATE_SECONDS = 600
"""How long after its time a day may be closed before it is said."""
SHOWN = ("not ready", "problem", "warning")


@click.command()
@database_option
@applied_packs_option
@click.option("--quick", is_flag=True, help="Leave out what reads the whole database.")
@json_option
def doctor(database: str, packs: Path | None, quick: bool, as_json: bool) -> None:
    """Say what is wrong with a database and how to mend it; changes nothing.

    Exit codes: 0 nothing is wrong (there may be warnings), 3 problems found, 4 the database is not ready.
    """
    findings = run(_examine(database, packs, whole=not quick))
    if as_json:
        print_json({"state": _worst(findings), "checks": [asdict(finding) for finding in findings]})
    for finding in [] if as_json else findings:
        mend = f" — {finding.mend}" if finding.mend else ""
        click.echo(f"{finding.state:<10} {finding.check:<11} {finding.says}{mend}")
    sys.exit({"not ready": NOT_READY, "problem": PROBLEMS}.get(_worst(findings), 0))


async def _examine(database: str, packs: Path | None, *, whole: bool) -> list[Finding]:
    catalog = load_catalog(packs) if packs else None
    work = partial(_common, catalog=catalog, now=time.time())
    return await examine(database, work, whole=whole)


def _worst(findings: Sequence[Finding]) -> str:
    states = {finding.state for finding in findings}
    return next((state for state in SHOWN if state in states), "ok")


async def _common(tx: Transaction, catalog: Catalog | None, now: float) -> list[Finding]:
    """What every database is asked."""
    schema = await check_schema(tx)
    if schema.state != "ok":
        return [schema]
    return [
        schema,
        await check_leader(tx),
        await check_clock(tx, now),
        await _check_days(tx, catalog or await _in_force(tx), now),
        await check_rejects(tx, now),
        await _check_packs(tx, now),
    ]


async def _check_packs(tx: Transaction, now: float) -> Finding:
    behind = [server for server in await servers(tx, now) if server.problem]
    if behind:
        first = behind[0]
        says = f"{len(behind)} server(s) keep older packs; {first.server} application {first.number}: {first.problem}"
        return Finding("packs", "problem", says, "'muster packs rollback', or run the same Muster everywhere")
    return Finding("packs", "ok", "every server has the packs that are in force")


async def _in_force(tx: Transaction) -> Catalog:
    base, _ = await applications.in_force(tx)
    return (await applications.content(tx, base.hash)).load() if base else load_catalog(shipped_packs())


async def _check_days(tx: Transaction, catalog: Catalog, now: float) -> Finding:
    due = await days_due(tx, catalog, now - LATE_SECONDS)
    if due:
        says = f"{len(due)} day(s) are over and not closed, from {due[0]} to {due[-1]}"
        return Finding("days", "problem", says, "'muster serve' closes them; its log says what stops it")
    return Finding("days", "ok", "every day that is over is closed")
