"""``muster exempt``: devices that may fail a control for a while, with who asked, who agreed, and until when."""

from __future__ import annotations

import getpass
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import click
from rich.table import Table

from server.app import opened_database, packs_for
from server.cli.options import database_option, json_option, print_json, run
from server.cli.tables import print_table
from server.cli.transactions import read_from
from server.normalize.persons import person_key
from server.store import exempting
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.exempt_lists import NEEDED_DAYS, STATES, Filter, list_exemptions, show_exemption
from server.store.exempting import Asked, By, Terms
from server.store.exemptions import DEVICE, PERSON, TAG
from server.store.migrate import require_current
from server.store.named import one_device

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Work = Callable[[Transaction, Terms, float], Awaitable[str]]

_DAY = click.DateTime(["%Y-%m-%d"])
_LISTED = ("exemption_id", "control", "for", "phase", "first_day", "last_day", "devices", "passing")
SHOWN_DEVICES = 50
"""Devices of an exemption told one by one to a person; --json tells all."""


class _Days(click.ParamType[int]):
    """A number of days, written 14d or 14."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower().removesuffix("d")
        if not text.isascii() or not text.isdecimal() or len(text) > 4 or int(text) < 1:
            self.fail(f"{value!r} is no number of days such as 14d", param, ctx)
        return int(text)


@click.group()
def exempt() -> None:
    """Exemptions: shown as exempt, beside the status the device would have.

    One person asks, another approves; until then nothing is exempt, and no day before is ever touched. An exemption is
    of a device, or of all devices with a tag or of a person: who gets the tag or the device later is covered from then
    on, who loses it no more. Nothing of exemptions is deleted.
    """


def asking_options(command: Decorated) -> Decorated:
    """What a request consists of."""
    for option in (
        click.option("--link", metavar="URL", help="Where more is written: a ticket, the evidence."),
        click.option("--compensating-control", metavar="TEXT", help="What is done in place of the control."),
        click.option("--risk", metavar="TEXT", help="What may happen meanwhile."),
        click.option("--reason", required=True, help="Why. It is kept for ever."),
        click.option("--until", "last", type=_DAY, required=True, metavar="DAY", help="The last day it holds."),
        click.option(
            "--from", "first", type=_DAY, metavar="DAY", help="The first day, today or later.  [default: when approved]"
        ),
        click.option("--person", metavar="PERSON", help="Every device of a person, by id or e-mail."),
        click.option("--tag", metavar="TAG", help="Every device with a tag."),
        click.argument("what", metavar="[DEVICE] CONTROL", nargs=-1, required=True),
    ):
        command = option(command)
    return command


def by_option(what: str) -> Callable[[Decorated], Decorated]:
    """``--by``, who does it."""
    return click.option("--by", default=None, help=f"Who {what}.  [default: the user who runs this]")


@exempt.command()
@asking_options
@click.option("--requested-by", default=None, help="Who asks.  [default: the user who runs this]")
@database_option
@json_option
def request(database: str, as_json: bool, requested_by: str | None, **said: Any) -> None:
    """Ask for an exemption; somebody else has to approve it: muster exempt approve."""
    asked = _asked(requested_by or getpass.getuser(), **said)
    made = run(_change(database, lambda tx, terms, now: exempting.request(tx, asked, terms, now)))
    _tell(made, "is asked for; somebody else approves it with: muster exempt approve {exemption_id}", as_json)


@exempt.command()
@asking_options
@click.option("--requested-by", required=True)
@click.option("--approved-by", required=True, help="Somebody else.")
@database_option
@json_option
def grant(database: str, as_json: bool, requested_by: str, approved_by: str, **said: Any) -> None:
    """Exempt a device, the devices with a tag or those of a person from a control, from today on.

    It is a request and its approval at once. Days before today stay as they are.
    """
    if person_key(requested_by) == person_key(approved_by):
        raise click.UsageError("--approved-by has to be somebody other than --requested-by")
    asked = _asked(requested_by, **said)
    made = run(_change(database, lambda tx, terms, now: exempting.grant(tx, asked, By(approved_by), terms, now)))
    _tell(made, "is exempt from {first_day} to {last_day}", as_json)


@exempt.command()
@click.argument("exemption_id", metavar="EXEMPTION")
@by_option("approves it, not who asked")
@database_option
@json_option
def approve(exemption_id: str, by: str | None, database: str, as_json: bool) -> None:
    """Put a request into force, from today on or from the later day it asks for."""
    who = By(by or getpass.getuser())
    made = run(_change(database, lambda tx, terms, now: exempting.approve(tx, exemption_id, who, terms, now)))
    _tell(made, "is exempt from {first_day} to {last_day}", as_json)


@exempt.command()
@click.argument("exemption_id", metavar="EXEMPTION")
@click.option("--reason", required=True, help="Why. It is kept for ever.")
@by_option("rejects it")
@database_option
@json_option
def reject(exemption_id: str, reason: str, by: str | None, database: str, as_json: bool) -> None:
    """Decline a request. It stays on record."""
    who = By(by or getpass.getuser())
    made = run(_change(database, lambda tx, _, now: exempting.reject(tx, exemption_id, who, reason, now), bound=False))
    _tell(made, "stays as it is: the request is rejected", as_json)


@exempt.command()
@click.argument("exemption_id", metavar="EXEMPTION")
@click.option("--reason", required=True, help="Why. It is kept for ever.")
@by_option("revokes it")
@database_option
@json_option
def revoke(exemption_id: str, reason: str, by: str | None, database: str, as_json: bool) -> None:
    """End an exemption: today and later are not exempt any more. The days it covered stay exempt."""
    who = By(by or getpass.getuser())
    made = run(_change(database, lambda tx, _, now: exempting.revoke(tx, exemption_id, who, reason, now), bound=False))
    _tell(made, "is not exempt any more from {revoked_day} on", as_json)


@exempt.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--control", metavar="CONTROL")
@click.option("--device", metavar="DEVICE", help="Those that cover this device, or did.")
@click.option("--active", "active", type=_DAY, metavar="DAY", help="Those in force on a day.")
@click.option("--expiring", type=_Days(), metavar="14d", help="Those in force that end within so many days.")
@click.option(
    "--unneeded", type=_Days(), is_flag=False, flag_value=f"{NEEDED_DAYS}d", metavar="[7d]",
    help="Those whose devices have passed by themselves on each of the last so many days.",
)  # fmt: skip
@database_option
@json_option
def listed(
    state: str | None, control: str | None, device: str | None, active: datetime | None, expiring: int | None,
    unneeded: int | None, database: str, as_json: bool,
) -> None:  # fmt: skip
    """Show exemptions: who is covered, until when, and how many of the devices pass by themselves."""
    wanted = Filter(
        control=control,
        state=state,
        active_on=active.date().isoformat() if active else None,
        expiring_days=expiring,
        unneeded_days=unneeded,
    )

    async def work(tx: Transaction) -> list[dict[str, Any]]:
        device_id = (await one_device(tx, device, erased=True))[1] if device is not None else None
        return await list_exemptions(tx, replace(wanted, device=device_id), await fleet_day(tx, time.time()))

    found = run(read_from(database, work))
    if as_json:
        print_json(found)
        return
    table = Table(*_LISTED, box=None, header_style="bold")
    for entry in found:
        whom = f"{entry['scope']} {entry['hostname'] or entry['subject']}"
        table.add_row(*(whom if name == "for" else str(entry[name]) for name in _LISTED))
    print_table(table, ("first_day", "passing", "devices"))


@exempt.command()
@click.argument("exemption_id", metavar="EXEMPTION")
@database_option
@json_option
def show(exemption_id: str, database: str, as_json: bool) -> None:
    """Show all of an exemption: what was asked, who decided, and every device it covers or covered."""

    async def work(tx: Transaction) -> dict[str, Any]:
        return await show_exemption(tx, exemption_id, await fleet_day(tx, time.time()))

    found = run(read_from(database, work))
    if as_json:
        print_json(found)
        return
    for name, value in found["exemption"].items():
        if value is not None:
            click.echo(f"{name:20} {value}")
    if found["devices"]:
        table = Table(*found["devices"][0], title="devices", title_justify="left", box=None, header_style="bold")
        for entry in found["devices"][:SHOWN_DEVICES]:
            table.add_row(*("" if value is None else str(value) for value in entry.values()))
        print_table(table)
    if (more := len(found["devices"]) - SHOWN_DEVICES) > 0:
        click.echo(f"… and {more} more: --json shows all")


def _asked(
    requested_by: str, what: tuple[str, ...], tag: str | None, person: str | None, first: datetime | None,
    last: datetime, reason: str, risk: str | None, compensating_control: str | None, link: str | None,
) -> Asked:  # fmt: skip
    scopes = [(scope, said) for scope, said in ((TAG, tag), (PERSON, person)) if said is not None]
    if len(what) == 2:
        scopes.append((DEVICE, what[0]))
    if len(what) > 2 or len(scopes) != 1:
        raise click.UsageError("name one of DEVICE, --tag and --person, and then the CONTROL")
    return Asked(
        control=what[-1],
        scope=scopes[0][0],
        subject=scopes[0][1],
        first_day=first.date() if first else None,
        last_day=last.date(),
        reason=reason,
        risk=risk,
        compensating_control=compensating_control,
        link=link,
        requested_by=requested_by,
    )


async def _change(url: str, work: Work, *, bound: bool = True) -> dict[str, Any]:
    """Run ``work``, which returns an exemption's id, and return that exemption; ``bound`` by the packs in force."""
    now = time.time()
    async with opened_database(url) as database:
        await require_current(database.driver)
        terms = Terms.of(await packs_for(database.driver, None)) if bound else Terms((), 0)

        async def changed(tx: Transaction) -> dict[str, Any]:
            exemption_id = await work(tx, terms, now)
            shown = await list_exemptions(tx, Filter(exemption_id=exemption_id), await fleet_day(tx, now))
            return shown[0]

        return await database.driver.write(changed)


def _tell(entry: dict[str, Any], says: str, as_json: bool) -> None:
    if as_json:
        print_json(entry)
        return
    whom = entry["subject"] if entry["scope"] == DEVICE else f"{entry['scope']} {entry['subject']}"
    click.echo(f"{entry['exemption_id']}: {whom}, {entry['control']}: {says.format(**entry)}")
