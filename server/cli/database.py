"""``muster init`` and ``muster migrate``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from server.app import minimise_key_file, opened_database, shipped_packs, shown
from server.applying import settle
from server.cli.options import (
    FAILED,
    applied_packs_option,
    database_option,
    fail,
    json_option,
    key_file_option,
    print_json,
    run,
)
from server.normalize.calendar import ALWAYS
from server.store import access
from server.store.calendar import known_zone, set_zone
from server.store.driver import StoreError, Transaction
from server.store.migrate import migrate as apply_migrations
from server.store.migrate import pending
from server.store.minimise_key import settled_key


@click.command()
@database_option
@applied_packs_option
@click.option("--zone", envvar="MUSTER_ZONE", default="UTC", show_default=True, show_envvar=True,
              help="The fleet's time zone: its calendar days are the days of posture.")  # fmt: skip
@json_option
def init(database: str, packs: Path | None, zone: str, as_json: bool) -> None:
    """Create the database, the first admin token and an enrol secret.

    Both are shown this once; the database keeps only their hashes.
    """
    try:
        zone = known_zone(zone)
    except StoreError as error:
        raise click.UsageError(f"--zone: {error}") from error
    made = run(make_database(database, packs, zone))
    if made is None:
        fail(f"{shown(database)} is initialised already: 'muster token add' and 'muster secret add' make more.", FAILED)
    if as_json:
        print_json(made)
        return
    click.echo(f"Database created: {shown(database)}\n")
    click.echo(f"Admin token    {made['admin_token']}")
    click.echo(f"Enrol secret   {made['enroll_secret']}\n")
    click.echo("They are not shown again. Next: muster serve, with the same --database")


async def make_database(url: str, packs: Path | None, zone: str) -> dict[str, str] | None:
    """Create and fill a database; returns its first token and secret, or None if it was initialised before."""
    async with opened_database(url, create=True) as database:
        now = time.time()
        await apply_migrations(database.driver, now)
        if await database.driver.read(_initialised):
            return None
        # Applied with their tables, so that every query can be asked before a device answers.
        await settle(database.driver, packs, shipped_packs(), "init", now)

        async def work(tx: Transaction) -> dict[str, str] | None:
            if await _initialised(tx):
                return None
            await tx.run("INSERT INTO muster_meta (key, value) VALUES ('initialised_at', ?)", (str(int(now)),))
            await set_zone(tx, ALWAYS, zone, "init", now)
            return {
                "admin_token": await access.add_token(tx, "admin", "admin", now),
                "enroll_secret": await access.add_enroll_secret(tx, "default", now),
            }

        return await database.driver.write(work)


async def _initialised(tx: Transaction) -> bool:
    return await tx.row("SELECT 1 FROM muster_meta WHERE key = 'initialised_at'") is not None


@click.command()
@database_option
@click.option("--plan", is_flag=True, help="Say what would be applied and change nothing.")
@click.option("--new-minimise-key", is_flag=True, help="Hash with the key in the key file from now on; it is made if "
              "missing. Stored hashes stay, and match no new ones.")  # fmt: skip
@key_file_option
@json_option
def migrate(database: str, plan: bool, new_minimise_key: bool, key_file: Path | None, as_json: bool) -> None:
    """Bring the database to this version's schema."""
    if plan and new_minimise_key:
        raise click.UsageError("--plan changes nothing: leave --new-minimise-key out")
    done = run(_migrate(database, plan))
    if new_minimise_key:
        run(_renew_key(database, key_file))
    if as_json:
        print_json({"planned" if plan else "applied": done})
    elif not done:
        click.echo("The database is at this version's schema.")
    for name in [] if as_json else done:
        click.echo(f"{'would apply' if plan else 'applied'} {name}")


async def _migrate(url: str, plan: bool) -> list[str]:
    async with opened_database(url) as database:
        found = await (pending(database.driver) if plan else apply_migrations(database.driver, time.time()))
        return [f"{migration.number:04}_{migration.name}" for migration in found]


async def _renew_key(url: str, key_file: Path | None) -> None:
    async with opened_database(url) as database:
        await settled_key(database.driver, minimise_key_file(url, key_file), renew=True)
