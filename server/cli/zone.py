"""``muster zone``: the time zone of the fleet's days, and how another one comes."""

from __future__ import annotations

import getpass
import time
from datetime import timedelta
from typing import Any

import click

from server.cli.options import database_option, json_option, print_json, run
from server.cli.transactions import read_from, write_to
from server.normalize.times import unix
from server.store.calendar import change_zone, known_zone, read_calendar
from server.store.driver import StoreError, Transaction, dicts


@click.command()
@click.argument("zone", required=False)
@database_option
@json_option
def zone(zone: str | None, database: str, as_json: bool) -> None:
    """Show the time zone of the fleet's days, or set another, such as Europe/Berlin.

    It holds from tomorrow on, and touches no day that has begun: its first day begins where today ends, and is shorter
    or longer by the hours between the two. Set again on the same day, the last one counts. Running servers go over to
    it by themselves.
    """
    if zone is not None:
        try:
            zone = known_zone(zone)
        except StoreError as error:
            raise click.UsageError(str(error)) from error
    told = run(read_from(database, _told) if zone is None else write_to(database, lambda tx: _changed(tx, zone)))
    if as_json:
        print_json(told)
        return
    click.echo(f"The fleet's days are those of {told['zone']}.")
    for coming in told["coming"]:
        click.echo(
            f"From {coming['day']} on they are those of {coming['zone']}; that day has {coming['hours']:g} hours, from"
            f" {coming['starts_at']} to {coming['ends_at']}."
        )


async def _changed(tx: Transaction, zone: str) -> dict[str, Any]:
    await change_zone(tx, zone, getpass.getuser(), time.time())
    return await _told(tx)


async def _told(tx: Transaction) -> dict[str, Any]:
    calendar = await read_calendar(tx)
    today = calendar.today(time.time())
    tomorrow = calendar.day(today + timedelta(days=1))
    coming = []
    if tomorrow.zone != calendar.zone(today):
        hours = (unix(tomorrow.ends_at) - unix(tomorrow.starts_at)) / 3600
        coming.append({"day": tomorrow.day, "zone": tomorrow.zone, "starts_at": tomorrow.starts_at,
                       "ends_at": tomorrow.ends_at, "hours": hours})  # fmt: skip
    return {
        "today": today.isoformat(),
        "zone": calendar.zone(today),
        "coming": coming,
        "zones": await dicts(tx, "SELECT first_day, zone, set_at, set_by FROM muster_zones ORDER BY first_day"),
    }
