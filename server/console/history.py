"""Reading posture by day: which days there are, and how many devices had which status on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from aiohttp import web

from server.console.strips import DayOfControl, totals_by_day, window
from server.normalize.calendar import Day
from server.store.driver import Transaction
from server.store.numbers import CONTROL, Among, counted_runs, judged_controls


@dataclass(frozen=True, slots=True)
class ShownDay:
    """The day a page is about, and its neighbours where they have been judged."""

    day: str
    starts_at: str
    ends_at: str
    zone: str
    provisional: bool
    previous: str | None
    following: str | None
    newest: str

    @property
    def bounds(self) -> Day:
        """The day as it was judged."""
        return Day(self.day, self.starts_at, self.ends_at, self.zone)

    @property
    def yesterday(self) -> str:
        """The calendar day before."""
        return (date.fromisoformat(self.day) - timedelta(days=1)).isoformat()

    @property
    def chosen(self) -> str | None:
        """The day to keep in links: none while it is the newest, so that they stay current."""
        return None if self.day == self.newest else self.day


@dataclass(frozen=True, slots=True)
class ControlHistory:
    """A control and its last days."""

    control_no: int
    control: str
    title: str
    severity: str
    days: Sequence[DayOfControl]

    @property
    def latest(self) -> DayOfControl:
        """The day that is shown, the last of them."""
        return self.days[-1]


def asked_day(request: web.Request) -> str | None:
    """The ``day`` a request names. Raises ``HTTPBadRequest`` for one that is none."""
    text = request.query.get("day", "")
    try:
        return date.fromisoformat(text).isoformat() if text else None
    except ValueError as error:
        raise web.HTTPBadRequest(reason="A day is written YYYY-MM-DD.") from error


async def shown_day(tx: Transaction, asked: str | None) -> ShownDay | None:
    """The asked day, or the newest; None where nothing was ever judged. Raises ``HTTPNotFound`` for an unknown day."""
    newest = await tx.row("SELECT MAX(day), MIN(day) FROM days")
    if newest is None or newest[0] is None:
        return None
    day = asked or newest[0]
    found = await tx.row("SELECT starts_at, ends_at, zone, state FROM days WHERE day = ?", (day,))
    if found is None:
        raise web.HTTPNotFound(reason=f"{day} was not judged: there are verdicts from {newest[1]} to {newest[0]}.")
    before = await tx.row("SELECT MAX(day) FROM days WHERE day < ?", (day,))
    after = await tx.row("SELECT MIN(day) FROM days WHERE day > ?", (day,))
    return ShownDay(
        day=day,
        starts_at=found[0],
        ends_at=found[1],
        zone=found[2],
        provisional=found[3] == "open",
        previous=before[0] if before else None,
        following=after[0] if after else None,
        newest=newest[0],
    )


async def histories(tx: Transaction, day: str, among: Among) -> dict[int, ControlHistory]:
    """Every control that is counted, with its tallies of the days that end with ``day``."""
    days = window(day)
    controls = await judged_controls(tx, among, days[0], day)
    runs = await counted_runs(tx, among, controls, days[0], CONTROL)
    judged = await judged_days(tx, days)
    by_control = totals_by_day(runs, days, {one.control_no: judged[one.control_no] for one in controls})
    return {
        one.control_no: ControlHistory(one.control_no, one.control, one.title, one.severity, by_control[one.control_no])
        for one in sorted(controls, key=lambda one: (one.title, one.control))
    }


async def judged_days(tx: Transaction, days: Sequence[str]) -> Mapping[int, set[str]]:
    """On which of the days each control was judged, by control number."""
    judged: dict[int, set[str]] = {}
    for control_no, day in await tx.rows(
        "SELECT control_no, day FROM muster_evaluation WHERE day >= ? AND day <= ?", (days[0], days[-1])
    ):
        judged.setdefault(control_no, set()).add(day)
    return judged
