"""``muster device ask``: have a device answer now."""

from __future__ import annotations

import asyncio
import getpass
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from rich.table import Table

from server.app import opened_database, packs_for
from server.cli.options import PROBLEMS, database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.report.words import cost_text
from server.store.ask_again import AskedAgain, ask_again, questions
from server.store.asked import ANSWERED
from server.store.driver import Driver
from server.store.migrate import require_current

_SHOWN = ("query", "asked_at", "sent", "via", "sent_at", "answered_at", "outcome", "cost", "message")
_LOOK_SECONDS = 0.2


@click.command("ask")
@click.argument("device", metavar="DEVICE")
@click.option("--control", help="Ask only what the verdict of this control rests on.")
@click.option("--by", "asked_by", default=None, help="Who asks.  [default: the user who runs this]")
@click.option("--wait", type=click.IntRange(1, 86_400), metavar="SECONDS", help="Wait so long at most for the answers.")
@database_option
@json_option
def ask(device: str, control: str | None, asked_by: str | None, wait: int | None, database: str, as_json: bool) -> None:
    """Ask a device, by id or hostname, again now for what its verdicts rest on.

    Where its collector has a channel open it is asked at once. Else it is asked by distributed query when it calls
    next, within a minute where osquery has its default interval, and ten queries a call. What it answers is stored as
    if its schedule had told it, and the running day's verdicts follow within a minute. A device that does not call for
    a day is not asked any more, what osquery has denylisted is not asked at all, and a device's own policy may refuse.
    'muster device show' and the table posture_asked tell what came of it.

    Exit code 3 with --wait where something was not answered by then, or failed.
    """
    made, told = run(_ask(database, device, control, asked_by or getpass.getuser(), wait))
    if as_json:
        print_json({**asdict(made), "questions": told})
    else:
        _print(made, told)
    if wait and (made.skipped or any(one["outcome"] != ANSWERED for one in told)):
        raise click.exceptions.Exit(PROBLEMS)


async def _ask(
    url: str, named: str, control: str | None, by: str, wait: int | None
) -> tuple[AskedAgain, list[dict[str, Any]]]:
    async with opened_database(url) as database:
        driver = database.driver
        await require_current(driver)
        in_force = await packs_for(driver, None)
        made = await driver.write(lambda tx: ask_again(tx, in_force, named, control, by, time.time()))
        until = time.monotonic() + (wait or 0)
        told = await _questions(driver, made)
        while any(one["outcome"] is None for one in told) and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            told = await _questions(driver, made)
        return made, told


async def _questions(driver: Driver, made: AskedAgain) -> list[dict[str, Any]]:
    """What came of the questions up to now; those that others have asked since stand for them."""
    found = await driver.read(partial(questions, device_id=made.device_id, since=made.asked_at))
    return [one for one in found if one["query"] in made.queries]


def _print(made: AskedAgain, told: list[dict[str, Any]]) -> None:
    click.echo(f"{made.hostname} ({made.device_id}), last heard of {made.last_seen_at or 'never'}")
    if told:
        print_questions(told)
    for query, reason in made.skipped.items():
        click.echo(f"{query} is not asked: {reason}")


def print_questions(told: list[dict[str, Any]], title: str | None = None) -> None:
    """Show questions and what came of them."""
    table = Table(*_SHOWN, title=title, title_justify="left", box=None, header_style="bold")
    for one in told:
        shown = {
            **one,
            "cost": cost_text(one),
            "outcome": one["outcome"] or ("waits for the answer" if one["sent"] else "waits for the device"),
        }
        table.add_row(*("" if shown[name] is None else str(shown[name]) for name in _SHOWN))
    print_table(table)
