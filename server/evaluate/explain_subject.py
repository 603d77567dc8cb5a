"""Which verdict is asked for: a device, a control and a day, each as people name them, or why there is none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

from server.catalog.problems import did_you_mean
from server.evaluate.explained import ExplainedDay, ExplainedDevice, ExplainedVerdict, ExplainError
from server.evaluate.runs import VerdictRun
from server.evaluate.verdicts import Verdict
from server.normalize.text import clean_text
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.named import MOST_CANDIDATES, device_hint, devices_named

_RUN = "first_day, last_day, status, underlying_status, lapsed, reason"
_NEIGHBOURS = 1_000
"""Runs that are looked through for the day since which the status is what it is."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; without a day the newest on which the device has a verdict of the control."""

    device: str
    control: str
    day: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(ExplainedVerdict):
    """The verdict that is asked for, and what was written down when its day was judged."""

    control_no: int
    rule_version: str
    canary_version: str | None
    evaluated_at: str
    application: int | None


async def find_subject(tx: Transaction, asked: Question, shipped: Collection[str], now: float) -> Subject:
    """Find what is asked for; ``shipped`` are the controls of the packs in force. Raises ``ExplainError``."""
    device = await _device(tx, asked.device)
    control_no, control, title, severity = await _control(tx, asked.control, shipped)
    day = await _asked_day(tx, asked.day, now) if asked.day else await _newest_day(tx, device, control_no, control)
    judged = await tx.row(
        "SELECT e.rule_version, e.canary_version, e.evaluated_at, d.starts_at, d.ends_at, d.zone, d.state, d.closed_at,"
        " d.application FROM muster_evaluation e JOIN muster_days d ON d.day = e.day"
        " WHERE e.control_no = ? AND e.day = ?",
        (control_no, day),
    )
    if judged is None:
        raise ExplainError(await _not_judged(tx, control_no, control, day))
    version, canary_version, evaluated_at, starts_at, ends_at, zone, state, closed_at, application = judged
    beside = await tx.row(
        "SELECT MAX(CASE WHEN day < ? THEN day END), MIN(CASE WHEN day > ? THEN day END), MAX(day)"
        " FROM muster_evaluation WHERE control_no = ?",
        (day, day, control_no),
    )
    previous, following, newest = beside or (None, None, day)
    shown = ExplainedDay(
        day=day, starts_at=starts_at, ends_at=ends_at, zone=zone, state=state, closed_at=closed_at,
        previous=previous, following=following, newest=newest or day,
    )  # fmt: skip
    run, since, before, after = await _runs(tx, device, control_no, control, shown)
    return Subject(
        device=device, control_no=control_no, control=control, title=title, severity=severity, day=shown, run=run,
        status_since=since, before=before, next=after, rule_version=version, canary_version=canary_version,
        evaluated_at=evaluated_at, application=application,
    )  # fmt: skip


async def _device(tx: Transaction, named: str) -> ExplainedDevice:
    found = await devices_named(tx, named)
    if not found:
        hint = await device_hint(tx, named)
        raise ExplainError(f"There is no device {named!r}: {hint or 'give its id, hostname or serial number.'}")
    if len(found) > 1:
        count = f"{MOST_CANDIDATES} or more" if len(found) == MOST_CANDIDATES else str(len(found))
        raise ExplainError(
            f"{count} devices may be meant by {named!r}: give one's id.",
            unknown=False,
            candidates=[{name: value for name, value in one.items() if name != "device_no"} for one in found],
        )
    names = ("osquery_version", "tags", "in_scope_from", "enrolled_at")
    more = await tx.row(f"SELECT {', '.join(names)} FROM muster_devices WHERE device_no = ?", (found[0]["device_no"],))
    return ExplainedDevice(**found[0], **dict(zip(names, more or ("",) * len(names), strict=True)))


async def _control(tx: Transaction, named: str, shipped: Collection[str]) -> tuple[int, str, str, str]:
    control = clean_text(named)
    found = await tx.row(
        "SELECT control_no, control, title, severity FROM muster_controls WHERE control = ?", (control,)
    )
    if found:
        return found[0], found[1], found[2], found[3]
    if control in shipped:
        raise ExplainError(f"{control} has not been judged yet: it is in the packs, but has no verdicts.")
    known = {row[0] for row in await tx.rows("SELECT control FROM muster_controls")}
    hint = did_you_mean(control, known | set(shipped))
    raise ExplainError(f"There is no control {control!r}: {hint or 'muster packs list shows them.'}")


async def _asked_day(tx: Transaction, text: str, now: float) -> str:
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:
            raise ValueError
    except ValueError as error:
        raise ExplainError(f"{text!r} is no day: a day is written YYYY-MM-DD.", unknown=False) from error
    calendar = await read_calendar(tx)
    today = calendar.today(now)
    if day > today:
        raise ExplainError(
            f"{day} is in the future: it is {today} in the fleet's zone {calendar.zone(today)}.", unknown=False
        )
    return text


async def _newest_day(tx: Transaction, device: ExplainedDevice, control_no: int, control: str) -> str:
    """The newest judged day on which the device has a verdict."""
    newest = await tx.row(
        "SELECT MAX(e.day) FROM muster_verdicts v JOIN muster_evaluation e ON e.control_no = v.control_no"
        " AND e.day >= v.first_day AND (v.last_day IS NULL OR e.day <= v.last_day)"
        " WHERE v.control_no = ? AND v.device_no = ?",
        (control_no, device.device_no),
    )
    if newest is None or newest[0] is None:
        raise ExplainError(f"{_shown(device)} has no verdict of {control} on any day.")
    return str(newest[0])


async def _not_judged(tx: Transaction, control_no: int, control: str, day: str) -> str:
    period = await tx.row(
        "SELECT MIN(day), MAX(day), MAX(CASE WHEN day < ? THEN day END), MIN(CASE WHEN day > ? THEN day END)"
        " FROM muster_evaluation WHERE control_no = ?",
        (day, day, control_no),
    )
    first, last, before, after = period or (None, None, None, None)
    if first is None:
        return f"{control} has not been judged on any day."
    if before and after:
        return f"{control} was not judged on {day}: the days beside it that were are {before} and {after}."
    return f"{control} was not judged on {day}: there are verdicts of it from {first} to {last}."


async def _runs(
    tx: Transaction, device: ExplainedDevice, control_no: int, control: str, day: ExplainedDay
) -> tuple[VerdictRun, str, VerdictRun | None, VerdictRun | None]:
    """The run of the day, since when the status is what it is, the run before that, and the one after the run."""
    key = (control_no, device.device_no, day.day)
    mine = f"SELECT {_RUN} FROM muster_verdicts WHERE control_no = ? AND device_no = ?"
    earlier = [
        _run(row)
        for row in await tx.rows(f"{mine} AND first_day <= ? ORDER BY first_day DESC LIMIT {_NEIGHBOURS}", key)
    ]
    if not earlier or (earlier[0].last_day or day.day) < day.day:
        raise ExplainError(_no_verdict(device, control, day, earlier[0] if earlier else None))
    run, since, before = earlier[0], earlier[0].first_day, None
    for one in earlier[1:]:
        if one.verdict.status != run.verdict.status or not _follows(one.last_day, since):
            before = one
            break
        since = one.first_day
    later = await tx.row(f"{mine} AND first_day > ? ORDER BY first_day LIMIT 1", key)
    return run, since, before, _run(later) if later else None


def _run(row: tuple[Any, ...]) -> VerdictRun:
    return VerdictRun(row[0], row[1], Verdict(*row[2:]))


def _follows(last_day: str | None, first_day: str) -> bool:
    return last_day is not None and (date.fromisoformat(first_day) - date.fromisoformat(last_day)).days == 1


def _no_verdict(device: ExplainedDevice, control: str, day: ExplainedDay, last: VerdictRun | None) -> str:
    name = _shown(device)
    told = f" Its last verdict of {control} before is of {last.last_day}." if last and last.last_day else ""
    if device.erased_at and device.erased_at < day.ends_at:
        return f"{name} was erased on {device.erased_at[:10]}: it has no verdicts of days after that.{told}"
    if device.retired_at and device.retired_at < day.starts_at:
        return f"{name} left on {device.retired_at[:10]}, before {day.day}: it was not judged any more.{told}"
    if device.in_scope_from >= day.ends_at:
        return f"{name} was not in scope on {day.day}: it is judged from {device.in_scope_from[:10]} on."
    return f"{name} has no verdict of {control} on {day.day}.{told}"


def _shown(device: ExplainedDevice) -> str:
    return device.hostname or device.device_id
