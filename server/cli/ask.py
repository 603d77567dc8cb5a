"""``muster sql``."""

from __future__ import annotations

import csv
import sys

import click
from rich.table import Table
from rich.text import Text

from server.app import opened_database
from server.cli.options import database_option, print_json, run, sql_database_option
from server.cli.tables import print_table
from server.store.ask import SqlAnswer
from server.store.migrate import require_current


@click.command()
@click.argument("statement")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="Rows at most.")
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(0.1, 600), help="Time at most.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@database_option
@sql_database_option
def sql(statement: str, limit: int, seconds: float, form: str, database: str, sql_database: str | None) -> None:
    """Run one read-only SQL statement over the public tables.

    Every query has a table of its name, with what is true now, and NAME_history with the intervals; beside them are
    posture, posture_runs, posture_totals, posture_rates, posture_failures, posture_revisions, posture_alerts,
    posture_exempted, posture_asked, posture_collectors, posture_collector_gaps, exemptions, devices, devices_history,
    coverage, days, clocks, clock_stretches, people, people_access, assets, imports, import_changes, rejects,
    status_logs, deletions and erasures.
    """
    answer = run(_ask(database, sql_database, statement, limit, seconds))
    if form == "json":
        print_json({"columns": answer.columns, "rows": answer.rows, "truncated": answer.truncated})
        return
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    else:
        table = Table(box=None, header_style="bold")
        for column in answer.columns:
            table.add_column(Text(column))
        for row in answer.rows:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        print_table(table)
    if answer.truncated:
        click.echo(f"only the first {len(answer.rows)} rows: raise --limit for more", err=True)


async def _ask(url: str, sql_database: str | None, statement: str, limit: int, seconds: float) -> SqlAnswer:
    async with opened_database(url, sql_database=sql_database) as database:
        await require_current(database.driver)
        return await database.asker.ask(statement, limit=limit, seconds=seconds)
