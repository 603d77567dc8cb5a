"""``muster roster``: who works here and who has left, as the personnel department's file says."""

from __future__ import annotations

import getpass
import time
from functools import partial
from pathlib import Path

import click
from rich.table import Table

from server.app import opened_database
from server.catalog.people import read_people
from server.cli.imports import dry_run_option, file_argument, import_file, import_into, print_import
from server.cli.options import database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.cli.transactions import read_from
from server.normalize.calendar import Calendar
from server.store import people as store
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.imports import Changes, Import
from server.store.migrate import require_current

_SHOWN = ("person", "name", "email", "start", "last_day", "access_disabled_at", "missing_since", "state")


@click.group()
def roster() -> None:
    """The roster: who works here from when to when, with which accounts, keys and devices."""


@roster.command("import")
@file_argument
@dry_run_option
@database_option
@json_option
def import_people(path: Path, dry_run: bool, database: str, as_json: bool) -> None:
    """Import people from a CSV file, all of it or nothing.

    Columns: person (a stable id, needed), name, email, start, notice, last_day (YYYY-MM-DD), access_disabled or
    access_disabled_SYSTEM (with time zone), accounts (names on devices, else the e-mail's local part), devices
    (serials, separated by ;) and keys (public SSH keys, separated by ;). The file is the whole roster: whom it does
    not name any more is kept, and marked as missing. The same file again changes nothing. Days since the earliest
    last day that was changed are judged again within the minute.

    Exit code 3 where something is wrong with the file.
    """
    table, people = import_file(read_people, path)

    async def work(tx: Transaction, source: Import, _calendar: Calendar) -> Changes:
        if dry_run:
            return await store.plan_people(tx, people)
        return await store.import_people(tx, source, people)

    done = run(import_into(database, "people", table, work, dry=dry_run))
    print_import(done, table, dry=dry_run, as_json=as_json)


@roster.command("list")
@database_option
@json_option
def listed(database: str, as_json: bool) -> None:
    """Show everybody: active, leaving, departed, missing (from the last file) or erased."""

    async def work(tx: Transaction) -> list[dict[str, object]]:
        return await store.list_people(tx, await fleet_day(tx, time.time()))

    found = run(read_from(database, work))
    if as_json:
        print_json(found)
        return
    table = Table(*_SHOWN, box=None, header_style="bold")
    for entry in found:
        table.add_row(*(str(entry[name] or "") for name in _SHOWN))
    print_table(table)


@roster.command()
@click.argument("person")
@database_option
@json_option
def show(person: str, database: str, as_json: bool) -> None:
    """Show what is known of a person, and what each import changed of it."""
    found = run(read_from(database, partial(store.show_person, person=person)))
    if as_json:
        print_json(found)
        return
    for name, value in found["person"].items():
        click.echo(f"{name:18} {value if value is not None else ''}")
    for name in ("accounts", "devices", "keys", "access_disabled"):
        for value, says in found[name].items():
            click.echo(f"{name:18} {value} {says}".rstrip())
    for change in found["changes"]:
        click.echo("{imported_at} {change} by {imported_by} from {file}: {detail}".format(**change).rstrip(": "))


@roster.command()
@click.argument("person")
@click.option("--reason", required=True, help="Why. It is kept: name no person in it.")
@click.option("--by", "erased_by", default=None, help="Who erases it.  [default: the user who runs this]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
@json_option
def erase(person: str, reason: str, erased_by: str | None, yes: bool, database: str, as_json: bool) -> None:
    """Erase what the roster has of a person, for ever: name, address, days, accounts, keys, serials, ownership.

    What stays is that there was somebody, under a random name, who erased them, when and why. What devices answered
    is not touched: 'muster device erase' does that. Take the person out of the file too, or the next import adds them.
    """
    if not yes:
        click.confirm(f"Erase all that the roster has of {person}? This cannot be undone", abort=True, err=True)
    stone = run(_erase(database, person, erased_by or getpass.getuser(), reason))
    print_json({"person": stone}) if as_json else click.echo(f"erased; what is left of it is {stone}")


async def _erase(url: str, person: str, by: str, reason: str) -> str:
    async with opened_database(url) as database:
        await require_current(database.driver)
        stone = await database.driver.write(lambda tx: store.erase_person(tx, person, by, reason, time.time()))
        await database.driver.scrub()
        return stone
