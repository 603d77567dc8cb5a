"""What the commands that import files of people and assets share."""

from __future__ import annotations

import getpass
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from server.catalog.problems import CatalogError
from server.catalog.table_files import TableFile
from server.cli.options import PROBLEMS, fail, print_json
from server.cli.transactions import read_from, write_to
from server.normalize.calendar import Calendar
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.imports import Changes, Import

Result = TypeVar("Result")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SHOWN = 20
"""Changes told one by one to a person; --json tells all."""


def file_argument(command: Decorated) -> Decorated:
    """``FILE``."""
    return click.argument(
        "path", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path)
    )(command)  # fmt: skip


def dry_run_option(command: Decorated) -> Decorated:
    """``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")(command)


def import_file(read: Callable[[Path], Result], path: Path) -> Result:
    """Read a file; the command ends with every problem in it and exit code 3 where there are any."""
    try:
        return read(path)
    except CatalogError as error:
        fail(f"nothing was imported\n{error}\n{len(error.problems)} problem(s) found", PROBLEMS)


async def import_into(
    url: str,
    kind: str,
    table: TableFile,
    work: Callable[[Transaction, Import, Calendar], Awaitable[Changes]],
    *,
    dry: bool,
) -> Changes:
    """Run the import of a file in a transaction, or its plan on a reader's view; ``work`` gets the fleet's days."""
    now = time.time()

    async def imported(tx: Transaction) -> Changes:
        calendar = await read_calendar(tx)
        source = Import(
            kind=kind,
            file=table.name,
            sha256=table.sha256,
            by=getpass.getuser(),
            now=now,
            today=calendar.today(now).isoformat(),
        )
        return await work(tx, source, calendar)

    return await (read_from if dry else write_to)(url, imported)


def print_import(changes: Changes, table: TableFile, *, dry: bool, as_json: bool) -> None:
    """Print what an import changed, or would change."""
    counts = changes.counts()
    unchanged = changes.entries - counts["added"] - counts["changed"]
    if as_json:
        told = [{"subject": subject, "change": change, "detail": detail}
                for subject, (change, detail) in sorted(changes.of.items())]  # fmt: skip
        print_json(
            {"file": table.name, "sha256": table.sha256, "entries": changes.entries, **counts, "unchanged": unchanged,
             "changes": told, "counts_from": changes.since, "dry_run": dry}
        )  # fmt: skip
        return
    click.echo(
        f"{'would import' if dry else 'imported'} {changes.entries} entries: {counts['added']} added,"
        f" {counts['changed']} changed, {counts['missing']} not in the file any more, {unchanged} unchanged"
    )
    for subject, (change, detail) in sorted(changes.of.items())[:SHOWN]:
        click.echo(f"  {change:8} {subject}" + (f": {detail}" if detail else ""))
    if len(changes.of) > SHOWN:
        click.echo(f"  … and {len(changes.of) - SHOWN} more")
