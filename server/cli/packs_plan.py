"""``muster packs plan``: what applying a folder would change, for whoever reviews it."""

from __future__ import annotations

import asyncio
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from server.app import opened_database, packs_for
from server.catalog.canary import Selector
from server.catalog.compare import ADDED, CHANGED, REMOVED, Change, counted
from server.catalog.content import read_content
from server.cli.options import canary_option, database_option, json_option, print_json, run
from server.evaluate.check import checked
from server.evaluate.planning import OnPlatform, Plan, make_plan
from server.store.migrate import require_current

HASH_CHARS = 12
_MARKS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}
_COLOURS = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}
_NAMED = 10
"""Devices that are named."""
_WIDTH = 100


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@canary_option
@database_option
@json_option
def plan(folder: Path, selector: Selector | None, database: str, as_json: bool) -> None:
    """Show what applying the packs in DIR would change against those in force, and on which devices; change nothing.

    Problems are shown as 'check' does, with exit code 3.
    """
    found = run(_plan(database, folder, selector))
    if as_json:
        print_json({**asdict(found), "devices_changed": found.devices_changed, "counts": counted(found.changes)})
        return
    for line in plan_lines(found, folder):
        _print(line)


async def _plan(url: str, folder: Path, selector: Selector | None) -> Plan:
    content = await asyncio.to_thread(read_content, folder)
    async with opened_database(url) as database:
        await require_current(database.driver)
        after = await checked(content)
        return await make_plan(database.driver, content, after, await packs_for(database.driver, None), selector)


def plan_lines(plan: Plan, folder: Path) -> Iterator[str]:
    """The plan as text; one line where nothing changes."""
    against = f"application {plan.base.number} ({plan.base.hash[:HASH_CHARS]})" if plan.base else "the packs of Muster"
    if not plan.changes:
        same = plan.base is not None and plan.base.hash == plan.hash
        rest = "" if same else f": of {folder} only comments and the like are other than in {against}"
        yield f"No changes{rest or f': {folder} is what {against} put into force'}."
        return
    yield f"{folder} ({plan.hash[:HASH_CHARS]}) against {against}: {summary(plan)}"
    if plan.canary is not None:
        total = sum(one.devices for one in plan.platforms)
        yield f"On a canary of {len(plan.canary)} of {total} devices: {_few(plan.canary)}"
    if plan.under_way:
        yield f"Before it is applied, the canary of application {plan.under_way} must be promoted or rolled back."
    for sort in counted(plan.changes):
        yield ""
        yield sort.capitalize()
        for change in plan.changes:
            if change.sort == sort:
                yield from _change(change, plan)
    yield from _devices(plan)
    if plan.tables:
        yield from ("", "Tables", *(f"  {line}" for line in plan.tables))
    if plan.starts:
        yield ""
        yield "Verdicts that begin anew: stale until the devices have answered the query's new version"
        yield from (
            f"  {one.control} on {one.platform} ({one.query}): {_count(one.devices, 'device')}" for one in plan.starts
        )


def summary(plan: Plan) -> str:
    """The plan in a line: how many of each sort, and how many devices get another config."""
    parts = [
        f"{sort} {', '.join(f'{number} {how}' for how, number in counts.items())}"
        for sort, counts in counted(plan.changes).items()
    ]
    return "; ".join([*parts, f"another config on {_count(plan.devices_changed, 'device')}"])


def _change(change: Change, plan: Plan) -> Iterator[str]:
    where = f" ({', '.join(change.platforms)})" if 0 < len(change.platforms) < 3 else ""
    counts = plan.queries.get(change.name) if change.sort == "queries" else plan.packs.get(change.name)
    if change.sort not in ("queries", "packs"):
        counts = None
    asked = f", {_shift(*counts)} devices" if counts else ", asked of no device" if change.sort == "queries" else ""
    yield f"  {_MARKS[change.how]} {change.name}{where}{asked}"
    for fact in change.facts:
        for line in fact.split("\n"):
            yield f"      {line}"
    yield from (f"      | {line}" for line in change.diff)


def _devices(plan: Plan) -> Iterator[str]:
    yield ""
    yield f"Devices, and their configs with every pack (budget {plan.budget} s a day)"
    form = "  {:<9} {:>8} {:>8} {:>14} {:>12} {:>20} {:>18}"
    yield form.format(
        "platform", "devices", "get it", "another config", "queries", "config bytes", "seconds a day"
    ).rstrip()
    for one in plan.platforms:
        yield form.format(*_row(one)).rstrip()


def _row(one: OnPlatform) -> tuple[str, ...]:
    sizes, costs = one.config_bytes, one.seconds_a_day
    return (
        one.platform,
        str(one.devices),
        str(one.reached),
        str(one.changed),
        _shift(*one.queries),
        _shift(f"{sizes[0]:,}", f"{sizes[1]:,}"),
        _shift(f"{costs[0]:.1f}", f"{costs[1]:.1f}"),
    )


def _shift(before: object, after: object) -> str:
    return str(after) if before == after else f"{before} → {after}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _few(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return (", ".join(names[:_NAMED]) or "none") + (f" and {rest} more" if rest > 0 else "")


def _print(line: str) -> None:
    """A line in the colour of its mark; on a terminal one that is too long goes on below, indented."""
    text = line.strip().removeprefix("| ")
    colour = _COLOURS.get(text[:1]) if line.startswith("  ") else None
    lines = [line]
    if sys.stdout.isatty():
        width = min(_WIDTH, shutil.get_terminal_size().columns)
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines = textwrap.wrap(line, width, subsequent_indent=indent, drop_whitespace=False) or [line]
    for part in lines:
        click.secho(part, fg=colour, bold=bool(line) and not line.startswith(" "))
