"""``muster hold``: days whose rows and verdicts are not deleted while an audit of them is open."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime

import click

from server.cli.options import database_option, json_option, print_json, run
from server.cli.transactions import read_from, write_to
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.holds import add_hold, end_hold, list_holds

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def hold() -> None:
    """Holds: nothing that the days of an open audit period need is deleted for its age.

    An erasure of a device is no question of age: it goes through holds too.
    """


@hold.command()
@click.argument("first", metavar="FIRST_DAY", type=_DAY)
@click.argument("last", metavar="LAST_DAY", type=_DAY)
@click.option("--reason", required=True, help="The audit it is for.")
@database_option
@json_option
def add(first: datetime, last: datetime, reason: str, database: str, as_json: bool) -> None:
    """Hold the days from FIRST_DAY to LAST_DAY, both included. What was deleted before does not come back."""
    if last < first:
        raise click.UsageError(f"the hold would end on {last.date()} before it begins on {first.date()}")

    async def work(tx: Transaction) -> str:
        return await add_hold(tx, await read_calendar(tx), first.date(), last.date(), reason, time.time())

    hold_id = run(write_to(database, work))
    print_json({"hold_id": hold_id}) if as_json else click.echo(hold_id)


@hold.command("list")
@database_option
@json_option
def listing(database: str, as_json: bool) -> None:
    """Show every hold, those that have ended too."""
    found = run(read_from(database, list_holds))
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    for entry in found:
        state = f"ended {entry.ended_at}" if entry.ended_at else "open"
        click.echo(f"{entry.hold_id}  {entry.first_day} to {entry.last_day}  {state}  {entry.reason}")


@hold.command()
@click.argument("hold_id", metavar="ID")
@database_option
def end(hold_id: str, database: str) -> None:
    """End a hold; what it kept goes when it is too old."""
    run(write_to(database, lambda tx: end_hold(tx, hold_id, time.time())))
