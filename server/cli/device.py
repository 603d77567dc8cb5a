"""``muster device``: who is there, and how one leaves, with its data or without."""

from __future__ import annotations

import asyncio
import getpass
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from server.app import opened_database
from server.catalog.assets import read_assets
from server.cli.device_ask import ask, print_questions
from server.cli.imports import dry_run_option, file_argument, import_file, import_into, print_import
from server.cli.options import database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.cli.transactions import read_from, write_to
from server.normalize.calendar import Calendar
from server.report.collectors import collector_line
from server.report.words import printable
from server.store import assets as register
from server.store import devices, listing
from server.store import erase as erasing
from server.store.driver import Transaction
from server.store.imports import Changes, Import
from server.store.keyring import STALE_SECONDS
from server.store.migrate import require_current

_TAG = re.compile(r"[+-][A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_SHOWN = ("device_id", "hostname", "platform", "os_name", "os_version", "last_seen_at", "state")


@click.group()
def device() -> None:
    """Devices: list, show and ask them, import those that are expected, let one leave, or erase all of it."""


device.add_command(ask)


@device.command("list")
@database_option
@json_option
def listed(database: str, as_json: bool) -> None:
    """Show every device, those that have left too."""
    found = run(read_from(database, listing.devices))
    if as_json:
        print_json(found)
        return
    table = Table(*_SHOWN, box=None, header_style="bold")
    for entry in found:
        table.add_row(*(str(entry[name] or "") for name in _SHOWN))
    print_table(table, ("os_version", "os_name", "last_seen_at"))


@device.command("import")
@file_argument
@dry_run_option
@database_option
@json_option
def import_assets(path: Path, dry_run: bool, database: str, as_json: bool) -> None:
    """Import the asset register from a CSV file, all of it or nothing.

    Columns: serial (needed), hostname, platform, owner (e-mail or person), status (in_use, loan, repair; stock,
    returned, wiped, disposed, lost, stolen), since (the day of the status), tags, in_scope_from, model. A machine in
    use that was never seen becomes a device that is judged, and silent, until a machine of its serial enrols. One that
    is not in use any more is retired. What the file does not name any more stays, and is marked as missing.

    Exit code 3 where something is wrong with the file.
    """
    table, assets = import_file(read_assets, path)

    async def work(tx: Transaction, source: Import, calendar: Calendar) -> Changes:
        if dry_run:
            return await register.plan_assets(tx, assets, table.columns)
        return await register.import_assets(tx, source, assets, table.columns, lambda day: calendar.day(day).starts_at)

    done = run(import_into(database, "assets", table, work, dry=dry_run))
    print_import(done, table, dry=dry_run, as_json=as_json)


@device.command()
@click.argument("device_id", metavar="DEVICE")
@database_option
@json_option
def show(device_id: str, database: str, as_json: bool) -> None:
    """Show what is known of a device: itself, its last answers, its verdicts of the last judged day, and what it was
    asked beside its schedule."""
    found = run(read_from(database, partial(listing.device, device_id=device_id)))
    if as_json:
        print_json(found)
        return
    for name, value in found["device"].items():
        click.echo(f"{name:16} {value if value is not None else ''}")
    for name, value in (found["erasure"] or {}).items():
        click.echo(f"erasure: {name:12} {value if value is not None else ''}")
    if found["collector"]:
        click.echo(f"{'collector':16} {printable(collector_line(found['collector']))}")
    for title, entries in (("answers", found["answers"]), ("verdicts", found["verdicts"])):
        if entries:
            table = Table(*entries[0], title=title, title_justify="left", box=None, header_style="bold")
            for entry in entries:
                table.add_row(*("" if value is None else str(value) for value in entry.values()))
            print_table(table)
    if found["asked"]:
        print_questions(found["asked"], "asked")


@device.command("tag", context_settings={"ignore_unknown_options": True})
@click.argument("device_id", metavar="DEVICE")
@click.argument("changes", nargs=-1, required=True, metavar="+TAG|-TAG…")
@database_option
@json_option
def tagged(device_id: str, changes: tuple[str, ...], database: str, as_json: bool) -> None:
    """Give a device tags and take others from it: muster device tag DEVICE +eng -lab.

    Packs and canaries go by them (targets: tags, --canary tag=eng). Tags are kept in lower case.
    """
    odd = next((change for change in changes if not _TAG.fullmatch(change)), None)
    if odd is not None:
        raise click.UsageError(f"{odd!r} is neither +TAG nor -TAG, of letters, digits, and _ . : - within")
    add, remove = ({change[1:] for change in changes if change[0] == sign} for sign in "+-")
    tags = run(write_to(database, lambda tx: devices.tag(tx, device_id, add, remove, time.time())))
    print_json({"device_id": device_id, "tags": tags}) if as_json else click.echo(", ".join(tags) or "no tags")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@database_option
@json_option
def retire(device_id: str, database: str, as_json: bool) -> None:
    """Let a device leave: its node key stops working within two seconds, and it is no longer judged.

    All that is stored of it stays, as long as such things are kept. If it enrols again, it comes back.
    """
    since = run(write_to(database, lambda tx: erasing.retire(tx, device_id, time.time())))
    print_json({"device_id": device_id, "retired_at": since}) if as_json else click.echo(f"retired since {since}")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@click.option("--reason", required=True, help="Why. It is kept: name no person in it.")
@click.option("--by", "erased_by", default=None, help="Who erases it.  [default: the user who runs this]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
@json_option
def erase(device_id: str, reason: str, erased_by: str | None, yes: bool, database: str, as_json: bool) -> None:
    """Erase what is stored of a device, for ever, while the server runs.

    Rows of every query, instants, coverage, logs, rejects, names, numbers, owner, tags and node keys go, held by a hold
    or not. What stays: that DEVICE was there from when to when, its platform, its verdicts, who erased it, when and
    why, and how many rows that were. Its node key is refused from then on; the machine can enrol as a new device.

    If this is interrupted, run it again, or let the server go on with it. In a SQLite file deleted rows are overwritten
    with zeros and the log beside it is emptied; copies, backups and file systems keep what they have. On a file that
    was written by a Muster before this command, run VACUUM once. Postgres frees the places of deleted rows in its own
    time; VACUUM FULL does it at once.
    """
    if not yes:
        name = run(read_from(database, partial(listing.device, device_id=device_id)))["device"]["hostname"]
        click.confirm(f"Erase all that is stored of {name} ({device_id})? This cannot be undone", abort=True, err=True)
    done = run(_erase(database, device_id, erased_by or getpass.getuser(), reason))
    if as_json:
        print_json(done)
        return
    click.echo(f"{device_id} is erased: {done['how_many']} rows deleted since {done['requested_at']}")
    if not done["scrubbed"]:
        click.echo("A reader kept the log beside the file from being emptied; the server does that later.", err=True)


async def _erase(url: str, device_id: str, erased_by: str, reason: str) -> dict[str, Any]:
    async with opened_database(url) as database:
        driver = database.driver
        await require_current(driver)
        number = await driver.write(lambda tx: erasing.begin_erasure(tx, device_id, erased_by, reason, time.time()))
        await erasing.erase(driver, number, time.time())
        # A server may take its old key for known until now, and store once more.
        await asyncio.sleep(STALE_SECONDS + 0.5)
        await erasing.erase(driver, number, time.time())
        await driver.write(lambda tx: erasing.finish_erasure(tx, number, time.time()))
        scrubbed = await driver.scrub()
        found = await driver.read(partial(listing.device, device_id=device_id))
        return {**found["erasure"], "scrubbed": scrubbed}
