"""``muster exempt``: a device that may fail a control for a while, with who asked, who agreed, and until when."""

from __future__ import annotations

import time
from datetime import date, datetime

import click

from server.cli.options import database_option, json_option, print_json, run
from server.cli.transactions import write_to
from server.normalize.times import iso
from server.store.calendar import read_calendar
from server.store.driver import StoreError, Transaction
from server.store.exemptions import grant_device

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def exempt() -> None:
    """Exemptions: shown as exempt, beside the status the device would have."""


@exempt.command()
@click.argument("device_id", metavar="DEVICE")
@click.argument("control")
@click.option("--until", type=_DAY, required=True, metavar="DAY", help="The last day it holds.")
@click.option("--reason", required=True)
@click.option("--requested-by", required=True)
@click.option("--approved-by", required=True, help="Somebody else.")
@database_option
@json_option
def grant(
    device_id: str, control: str, until: datetime, reason: str, requested_by: str, approved_by: str, database: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Exempt a device from a control from today on. Days already judged stay as they are until judged again."""
    if requested_by.strip().lower() == approved_by.strip().lower():
        raise click.UsageError("--approved-by has to be somebody other than --requested-by")
    made = run(_grant(database, device_id, control, until.date(), (reason, requested_by, approved_by)))
    print_json(made) if as_json else click.echo(f"{device_id} is exempt from {control} until {until.date()}")


async def _grant(url: str, device_id: str, control: str, until: date, why: tuple[str, str, str]) -> dict[str, str]:
    now = time.time()

    async def work(tx: Transaction) -> dict[str, str]:
        if await tx.row("SELECT 1 FROM muster_controls WHERE control = ?", (control,)) is None:
            raise StoreError(f"No control {control!r} has been judged yet.")
        first = (await read_calendar(tx)).today(now)
        if until < first:
            raise StoreError(f"An exemption until {until} would end before it begins today, {first}.")
        days = (first.isoformat(), until.isoformat())
        exemption_id = await grant_device(tx, device_id, control, days, why, iso(now))
        if exemption_id is None:
            raise StoreError(f"There is no device {device_id!r}: 'muster sql \"select * from devices\"' shows them.")
        return {"exemption_id": exemption_id, "first_day": first.isoformat(), "last_day": until.isoformat()}

    return await write_to(url, work)
