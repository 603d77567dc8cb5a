"""``muster evaluate``."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click
from rich.table import Table

from server.app import opened_store
from server.cli.options import applied_packs_option, database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.evaluate.judge import Judged
from server.evaluate.judge import evaluate as evaluate_days
from server.evaluate.verdicts import STATUSES

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--day", type=_DAY, metavar="DAY", help="Judge this day (YYYY-MM-DD).")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="Judge from this day …")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="… to this one, both included.")
@database_option
@applied_packs_option
@json_option
def evaluate(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    database: str,
    packs: Path | None,
    as_json: bool,
) -> None:
    """Judge days from stored data. Judging a day again changes nothing unless its data or rules have changed."""
    if (day is None) == (first is None and last is None) or (first is None) != (last is None):
        raise click.UsageError("give either --day, or both --from and --to")
    start, end = (day or first), (day or last)
    assert start is not None and end is not None
    judged = run(_evaluate(database, packs, start.date(), end.date()))
    if as_json:
        print_json([{"day": j.day, "control": j.control, "totals": j.totals, "changed": j.changed} for j in judged])
        return
    table = Table("day", "control", *STATUSES, "changed", box=None, header_style="bold")
    for entry in judged:
        counts = [str(entry.totals.get(status, "")) for status in STATUSES]
        table.add_row(entry.day, entry.control, *counts, str(entry.changed))
    print_table(table)


async def _evaluate(url: str, packs: Path | None, first: date, last: date) -> list[Judged]:
    async with opened_store(url, packs) as (store, _):
        return await evaluate_days(store, first, last)
