"""``muster posture``: how the fleet stands, for whoever begins the day with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from server.app import opened_store
from server.catalog.schema import PLATFORMS
from server.cli.options import applied_packs_option, database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.report.asked import BY, AskedError, asked
from server.report.numbers import shown
from server.report.posture import Posture
from server.report.posture import posture as counted
from server.report.words import plural
from server.store.calendar import read_calendar
from server.store.driver import Transaction

_SILENT = ("stale", "no_data", "error")


@click.command()
@click.option("--day", metavar="DAY", help="The day (YYYY-MM-DD).  [default: the newest that was judged]")
@click.option("--from", "from_", metavar="DAY", help="A period: from this day …")
@click.option("--to", metavar="DAY", help="… to this one, both included.")
@click.option("--by", type=click.Choice(BY), default="control", show_default=True, help="What a line is of.")
@click.option("--control", help="Only of this control.")
@click.option("--criterion", metavar="FRAMEWORK/CRITERION", help="Only of the controls that answer to it.")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Only of devices of this platform.")
@click.option("--tag", help="Only of devices with this tag; - for those without any.")
@click.option("--owner", help="Only of this owner's devices; - for those without.")
@click.option("--device", metavar="ID", help="Only of this device.")
@database_option
@applied_packs_option
@json_option
def posture(database: str, packs: Path | None, as_json: bool, **given: str | None) -> None:
    """Show how the fleet stands: who passes of how many, who is silent, what is open since when.

    A pass rate is of the devices that passed or failed, rounded down; coverage is how many of those the control is for
    were seen to pass or fail. A line counts a device once for each control and day, and under each of its tags.
    """
    told = {name.rstrip("_"): value for name, value in given.items() if value}
    found = run(_posture(database, packs, told))
    if as_json:
        print_json(found.as_dict())
        return
    _print(found)


async def _posture(url: str, packs: Path | None, told: Mapping[str, str]) -> Posture:
    async with opened_store(url, packs) as (store, _):

        async def read(tx: Transaction) -> Posture:
            newest = await tx.row("SELECT MAX(e.day) FROM muster_evaluation e")
            today = (await read_calendar(tx)).today(store.clock())
            day = newest[0] if newest and newest[0] else today.isoformat()
            what = asked(told, store.catalog, today, None if "from" in told or "to" in told else day)
            return await counted(tx, store.catalog, what)

        try:
            return await store.read(read)
        except AskedError as error:
            raise click.UsageError(str(error)) from error


def _print(found: Posture) -> None:
    told = found.as_dict()
    when = told["from"] if told["from"] == told["to"] else f"{told['from']} to {told['to']}, {told['days']} days judged"
    click.echo(f"{when}{', provisional' if found.provisional else ''}")
    if not found.days:
        click.echo("Nothing was judged.")
        return
    fleet = told["fleet"]
    if not fleet["devices"]:
        click.echo("No device of those asked for is in scope.")
        return
    click.echo(
        f"{plural(fleet['devices'], 'device')}, {fleet['devices_failing']:,} of them failing;"
        f" {_rate(fleet)} pass, coverage {_coverage(fleet)}"
    )
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    names = ("framework", "criterion") if told["by"] == "criterion" else (told["by"],)
    for name in (*names, *(["severity"] if told["by"] == "control" else [])):
        table.add_column(name)
    for name in ("pass rate", "coverage", "fail", "silent", "exempt", "lapsed", "open", "mended in"):
        table.add_column(name, justify="right")
    table.add_column("open since")
    for group in sorted(told["groups"], key=_worst_first):
        named = [group[name] if group[name] is not None else "(none)" for name in names]
        table.add_row(*named, *([group["severity"]] if told["by"] == "control" else []), *_cells(group))
    print_table(table, ("severity", "lapsed", "exempt", "mended in", "open since"))


def _cells(group: Mapping[str, Any]) -> list[str]:
    silent = sum(group[status] for status in _SILENT)
    median, worst = group["days_to_remedy_median"], group["days_to_remedy_worst"]
    mended = f"{median:g} d (worst {worst} d)" if group["remedied"] else ""
    counts = (group["fail"], silent, group["exempt"], group["lapsed"], group["open_failures"])
    return [_rate(group), _coverage(group), *(f"{n:,}" if n else "" for n in counts), mended, group["open_since"] or ""]


def _rate(group: Mapping[str, Any]) -> str:
    return f"{shown(group['pass_rate'])} of {group['judged']:,}"


def _coverage(group: Mapping[str, Any]) -> str:
    return f"{shown(group['coverage'])} of {group['applicable']:,}"


def _worst_first(group: Mapping[str, Any]) -> tuple[bool, float, int]:
    return (group["pass_rate"] is None, group["pass_rate"] or 0.0, -group["fail"])
