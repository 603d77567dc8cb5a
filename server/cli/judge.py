"""``muster evaluate``."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click
from rich.table import Table

from server.app import opened_store
from server.cli.options import applied_packs_option, database_option, json_option, print_json, run
from server.cli.simulate import ProgressBars
from server.cli.tables import print_table
from server.cli.what_if import try_control
from server.evaluate.judge import Judged
from server.evaluate.judge import evaluate as evaluate_days
from server.evaluate.verdicts import STATUSES
from server.simulate.fleet import Progress as Told

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--day", type=_DAY, metavar="DAY", help="Judge this day (YYYY-MM-DD).")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="Judge from this day …")
@click.option("--to", "last", type=_DAY, metavar="DAY", help="… to this one, both included.")
@click.option("--dry-run", is_flag=True, help="Write nothing: say what the control of --control would have said.")
@click.option(
    "--control", "trial", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="With --dry-run: the folder of a new or changed control.",
)  # fmt: skip
@database_option
@applied_packs_option
@json_option
def evaluate(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    dry_run: bool,
    trial: Path | None,
    database: str,
    packs: Path | None,
    as_json: bool,
) -> None:
    """Judge days from stored data, by the packs in force or by --packs.

    Judging a day again changes nothing unless its data or rules have changed. What changes of a closed day is kept as a
    revision, and the day is held to the packs it was judged by now; to those of a folder that were never applied it is
    not: what comes in later is judged by the packs in force. Stopped half-way, the same command goes on, or a server
    does by the packs the day is held to. While a server judges a day, the command waits its turn, and vice versa.

    With --dry-run --control DIR nothing is written: it tells how many devices would have which status on each day by
    the control in that folder, and which devices would have another than they have. Where the folder lies in a packs
    folder, the queries, lists and packs there count, else those of --packs or in force.
    """
    if (day is None) == (first is None and last is None) or (first is None) != (last is None):
        raise click.UsageError("give either --day, or both --from and --to")
    start, end = (day or first), (day or last)
    assert start is not None and end is not None
    if dry_run != (trial is not None):
        raise click.UsageError("--dry-run and --control DIR go together")
    if trial is not None:
        run(try_control(database, packs, trial, start.date(), end.date(), as_json=as_json))
        return
    with ProgressBars() as told:
        judged = run(_evaluate(database, packs, start.date(), end.date(), told))
    if as_json:
        print_json([{"day": j.day, "control": j.control, "totals": j.totals, "changed": j.changed} for j in judged])
        return
    table = Table("day", "control", *STATUSES, "changed", box=None, header_style="bold")
    table.columns[1].no_wrap = True
    for entry in judged:
        counts = [str(entry.totals.get(status, "")) for status in STATUSES]
        table.add_row(entry.day, entry.control, *counts, str(entry.changed))
    print_table(table, (*(["day"] if start == end else []), "not_applicable"))


async def _evaluate(url: str, packs: Path | None, first: date, last: date, told: Told) -> list[Judged]:
    def tell(day: str, done: int, of: int) -> None:
        before = (date.fromisoformat(day) - first).days
        told("Days are judged", before * of + done, ((last - first).days + 1) * of)

    async with opened_store(url, packs) as (store, _):
        return await evaluate_days(store, first, last, told=tell)
