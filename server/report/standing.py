"""How the fleet stands on the newest closed day and on the running one: a number or two for each control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.report.numbers import Numbers
from server.store.driver import Transaction
from server.store.numbers import CONTROL, Among, counted_runs, judged_controls, open_failures
from server.store.watched import Watched, watched

CLOSED, RUNNING = "closed", "running"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is watched, and the numbers of each control by day (``CLOSED``, ``RUNNING``)."""

    watched: Watched
    severities: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, Numbers]]
    open_failures: Mapping[str, tuple[int, str]]


async def standing(tx: Transaction, seen_after: str) -> Standing:
    """Count it, both days at once; a device is silent that was not heard of after ``seen_after``."""
    found = await watched(tx, seen_after)
    days = {name: day for name, day in ((CLOSED, found.closed_day), (RUNNING, found.open_day)) if day}
    if not days:
        return Standing(found, {}, {}, {})
    everybody, first, last = Among(), min(days.values()), max(days.values())
    controls = await judged_controls(tx, everybody, first, last)
    names = {one.control_no: one.control for one in controls}
    judged = {
        name: {one.control for one in await judged_controls(tx, everybody, day, day)} for name, day in days.items()
    }
    numbers = {name: {control: Numbers() for control in sorted(judged[name])} for name in days}
    for run in await counted_runs(tx, everybody, controls, first, CONTROL):
        for name, day in days.items():
            if run.first_day <= day <= run.last_day and names[run.key] in numbers[name]:
                numbers[name][names[run.key]].add(run._replace(first_day=day, last_day=day))
    severities = {one.control: one.severity for one in controls}
    return Standing(found, severities, numbers, await open_failures(tx, everybody, last, CONTROL))
