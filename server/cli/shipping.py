"""``muster packs apply``, ``promote``, ``rollback`` and ``history``: what is in force, and how it got there."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.table import Table

from server.app import opened_database, packs_for, shipped_packs
from server.applying import settle
from server.catalog.canary import Selector
from server.catalog.content import read_content
from server.cli.options import canary_option, database_option, json_option, print_json, run
from server.cli.packs_plan import HASH_CHARS, summary
from server.cli.tables import print_table
from server.cli.transactions import read_from
from server.evaluate.check import checked
from server.evaluate.planning import make_plan
from server.store import applications, shipping
from server.store.applications import Application
from server.store.migrate import require_current
from server.store.shipping import Applied, Request, put_into_force, roll_back

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _by_option(command: Decorated) -> Decorated:
    return click.option("--by", default=None, help="Who does it.  [default: the user who runs this]")(command)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@canary_option
@click.option("--note", default="", help="Why; it is kept.")
@_by_option
@database_option
@json_option
def apply(folder: Path, selector: Selector | None, note: str, by: str | None, database: str, as_json: bool) -> None:
    """Put the packs in DIR into force, all of them or, where there is a problem, none (exit code 3).

    Running servers go over to them within seconds; devices get their config at their next refresh. DIR itself is not
    needed afterwards: its files are kept in the database.
    """
    request = Request(by=by or getpass.getuser(), note=note, selector=selector)
    _say(run(apply_folder(database, folder, request, quiet=as_json)), as_json)


async def apply_folder(url: str, folder: Path, request: Request, *, quiet: bool) -> Applied:
    """Apply the packs in a folder, and say what changes unless ``quiet``. Raises ``CatalogError``; see ``apply``."""
    content = await asyncio.to_thread(read_content, folder)
    async with opened_database(url) as database:
        driver = database.driver
        await require_current(driver)
        catalog = await checked(content)
        if request.selector and (await driver.read(applications.in_force))[0] is None:
            # What devices have been served so far is what the canary is held against.
            await settle(driver, None, shipped_packs(), request.by, time.time())
        base, _ = await driver.read(applications.in_force)
        if not quiet and base and base.hash != content.hash:
            planned = await make_plan(driver, content, catalog, await packs_for(driver, None), request.selector)
            click.echo(f"Changes against application {base.number}: {summary(planned)}.")
        return await put_into_force(driver, content, catalog, request, time.time())


@click.command()
@click.option("--force", is_flag=True, help="Though no device has said yet that it runs the canary's config.")
@_by_option
@database_option
@json_option
def promote(by: str | None, database: str, *, force: bool, as_json: bool) -> None:
    """Put the canary's packs into force for all devices.

    Refused while no device of the canary has shown, by the hash of the config it runs, that it goes by them.
    """
    _say(Applied(run(_promote(database, by or getpass.getuser(), force=force)), changed=True), as_json)


async def _promote(url: str, by: str, *, force: bool) -> Application:
    async with opened_database(url) as database:
        await require_current(database.driver)
        return await shipping.promote(database.driver, by, time.time(), force=force)


@click.command()
@click.argument("number", required=False, type=click.IntRange(min=1))
@click.option("--note", default="", help="Why; it is kept.")
@_by_option
@database_option
@json_option
def rollback(number: int | None, note: str, by: str | None, database: str, as_json: bool) -> None:
    """End the canary; or, if there is none, put the packs that were in force before into force again.

    With NUMBER those of any earlier application (see 'muster packs history'). What was put into force again is an
    application of its own.
    """
    _say(run(_roll_back(database, number, Request(by=by or getpass.getuser(), note=note))), as_json)


async def _roll_back(url: str, number: int | None, request: Request) -> Applied:
    async with opened_database(url) as database:
        await require_current(database.driver)
        return await roll_back(database.driver, number, request, time.time())


@click.command()
@database_option
@json_option
def history(database: str, as_json: bool) -> None:
    """Show every application of packs, the newest first."""
    found = run(read_from(database, applications.applications))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table("number", "state", "hash", "at", "by", "canary", "note", box=None, header_style="bold")
    for one in found:
        values = (str(one.number), one.state, one.hash[:HASH_CHARS], one.applied_at, one.applied_by)
        table.add_row(*values, one.canary or "", _remark(one))
    print_table(table)


def _remark(one: Application) -> str:
    parts = [f"restores {one.restores}"] if one.restores else []
    parts += [one.note] if one.note else []
    parts += [f"promoted by {one.promoted_by} {one.promoted_at}"] if one.promoted_at else []
    parts += [f"stopped by {one.stopped_by}: {one.stop_reason}"] if one.stop_reason else []
    return "; ".join(parts) or f"({one.origin})"


def _say(applied: Applied, as_json: bool) -> None:
    one = applied.application
    if as_json:
        print_json({**asdict(one), "changed": applied.changed})
        return
    what = f"application {one.number} ({one.hash[:HASH_CHARS]})"
    if not applied.changed:
        there = "its canary is under way" if one.state == applications.CANARY else "is in force"
        click.echo(f"Nothing to do: {what} has these packs, and {there}.")
    elif one.state == applications.STOPPED:
        click.echo(f"The canary of {what} is stopped: its devices go back to what the others have.")
    elif one.state == applications.CANARY:
        click.echo(f"The canary of {what} is under way on {one.canary}: 'muster packs promote' or 'rollback' ends it.")
    else:
        restored = f"; it restores {one.restores}" if one.restores else ""
        click.echo(f"In force: {what}{restored}.")
