"""``muster evaluate --dry-run``: what a new or changed control would have said of stored answers."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from server.app import opened_database, packs_for
from server.catalog.problems import CatalogError
from server.catalog.trial import Trial, read_trial
from server.cli.simulate import ProgressBars
from server.cli.tables import print_table
from server.evaluate.check import check_controls
from server.evaluate.verdicts import STATUSES, Verdict
from server.evaluate.what_if import Changed, DayCounts, WhatIf, what_if
from server.store.migrate import require_current
from server.store.store import Store

SHOWN = 50
"""Changes told one by one to a person; --json tells all."""
_NOTHING = (None, None, None, None)


class AsJson:
    """Writes one JSON object piece by piece: the changes may be more than there is memory for."""

    def __init__(self, first: date, last: date) -> None:
        self._days, self._begun = {"from": first.isoformat(), "to": last.isoformat()}, False

    def found(self, change: Changed) -> None:
        """Write a change."""
        click.echo("," if self._begun else '{"changes": [')
        self._begun = True
        click.echo(json.dumps(_change(change), ensure_ascii=False), nl=False)

    def end(self, trial: Trial, outcome: WhatIf) -> None:
        """Write all the rest."""
        moves = [
            {"before_status": before, "after_status": after, "device_days": count}
            for (before, after), count in sorted(outcome.moves.items(), key=lambda move: -move[1])
        ]
        rest = {
            "control": trial.control_id,
            "title": trial.catalog.controls[trial.control_id].control.title,
            **self._days,
            "packs": str(trial.folder) if trial.folder else None,
            "asked": trial.asked,
            "devices": outcome.devices,
            "devices_changed": outcome.devices_changed,
            "moves": moves,
            "sources": [{**asdict(source), "remark": source.remark} for source in outcome.sources],
            "days": [vars(day) for day in outcome.days],
        }
        head = "" if self._begun else '{"changes": ['
        click.echo(f"{head}], {json.dumps(rest, ensure_ascii=False)[1:]}")


class AsText:
    """Tells the counts of every day, and some of the devices."""

    def __init__(self) -> None:
        self._changes: list[Changed] = []
        self._count = 0

    def found(self, change: Changed) -> None:
        """Keep a change, if it is among the first."""
        self._count += 1
        if len(self._changes) < SHOWN:
            self._changes.append(change)

    def end(self, trial: Trial, outcome: WhatIf) -> None:
        """Print all of it."""
        packs = f"the packs in {trial.folder}" if trial.folder else "the packs in force"
        whom = "the devices its packs are for" if trial.asked else "every device, for no pack asks for it"
        click.echo(f"{trial.control_id} with {packs}, tried on {whom}. Nothing is written.")
        for source in outcome.sources:
            since = f"answers to {source.query} on {source.platform} since {source.version_from}"
            click.echo(f"Note: {source.remark}." if source.remark else f"There are {since}.")
        table = Table("day", *STATUSES, "changed", box=None, header_style="bold")
        for day in outcome.days:
            table.add_row(day.day, *(_counts(day, status) for status in STATUSES), str(day.changed))
        print_table(table)
        if self._changes:
            table = Table("device", "hostname", "from", "to", "was", "would be", box=None, header_style="bold")
            for change in self._changes:
                table.add_row(*change[:4], _said(change.before), _said(change.after))
            print_table(table)
        if self._count > SHOWN:
            click.echo(f"… and {self._count - SHOWN} more: --json tells all")
        click.echo(f"{outcome.devices_changed} of {outcome.devices} devices would have another verdict on some day.")


async def try_control(url: str, packs: Path | None, directory: Path, first: date, last: date, *, as_json: bool) -> None:
    """Judge by a control that is tried, and tell on standard output what that comes to.

    ``packs`` are those it goes by where it lies in none, if not those in force.
    """
    telling = AsJson(first, last) if as_json else AsText()
    async with opened_database(url) as database:
        await require_current(database.driver)
        in_force = await packs_for(database.driver, packs)
        trial = read_trial(directory, in_force.base.catalog, packs)
        if problems := await check_controls(trial.catalog):
            raise CatalogError(problems)
        store = Store(database.driver, in_force, clock=time.time)
        with ProgressBars() as told:
            outcome = await what_if(store, trial, first, last, telling.found, partial(told, "Devices are tried"))
        telling.end(trial, outcome)


def _change(change: Changed) -> dict[str, Any]:
    told: dict[str, Any] = dict(zip(Changed._fields[:4], change[:4], strict=True))
    for when, verdict in (("before", change.before), ("after", change.after)):
        told |= {f"{when}_{name}": value for name, value in zip(Verdict._fields, verdict or _NOTHING, strict=True)}
    return told


def _counts(day: DayCounts, status: str) -> str:
    before, after = day.before[status], day.after[status]
    if not day.judged:
        return str(after or "")
    return f"{before} → {after}" if before != after else str(after or "")


def _said(verdict: Verdict | None) -> str:
    if verdict is None:
        return "no verdict"
    below = f" ({verdict.underlying_status})" if verdict.status != verdict.underlying_status else ""
    reason = f": {verdict.reason}" if verdict.reason else ""
    return f"{verdict.status}{below}{reason}{', lapsed' if verdict.lapsed else ''}"
