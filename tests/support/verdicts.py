"""Verdicts as judging leaves them, without anything to judge: days of devices and controls, written as runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from random import Random

from server.evaluate.runs import VerdictRun, place
from server.evaluate.verdicts import ERROR, EXEMPT, FAIL, NO_DATA, NOT_APPLICABLE, PASS, STALE, Verdict
from server.normalize.calendar import day_of
from server.store.driver import Transaction
from server.store.store import Store

Days = Sequence[Verdict | None]
"""A verdict a day; None where the device has none."""

_UNDERLYING = (PASS, PASS, PASS, FAIL, FAIL, FAIL, STALE, NO_DATA, ERROR, NOT_APPLICABLE)


def v(letters: str) -> Days:
    """A letter a day: (p)ass, (l)apsed, (f)ail, (s)ilent, (e)xempt failure, e(x)empt silence, (n)ot applicable."""
    kinds = {
        "p": Verdict(PASS, PASS, 0, None), "l": Verdict(PASS, PASS, 1, None), "f": Verdict(FAIL, FAIL, 0, None),
        "s": Verdict(STALE, STALE, 0, None), "e": Verdict(EXEMPT, FAIL, 0, None), "x": Verdict(EXEMPT, STALE, 0, None),
        "n": Verdict(NOT_APPLICABLE, NOT_APPLICABLE, 0, None), " ": None,
    }  # fmt: skip
    return [kinds[letter] for letter in letters]


def any_days(random: Random, how_many: int) -> list[Verdict | None]:
    """Days of every kind, each often like the one before."""
    days: list[Verdict | None] = []
    for _ in range(how_many):
        if days and random.random() < 0.5:
            days.append(days[-1])
        elif random.random() < 0.1:
            days.append(None)
        else:
            underlying = random.choice(_UNDERLYING)
            exempt = underlying != NOT_APPLICABLE and random.random() < 0.2
            lapsed = int(underlying == PASS and random.random() < 0.3)
            days.append(Verdict(EXEMPT if exempt else underlying, underlying, lapsed, None))
    return days


async def write_verdicts(
    store: Store, first: date, verdicts: Mapping[tuple[str, int], Days], severities: Mapping[str, str] | None = None
) -> None:
    """Write the days of every control and device number from ``first`` on; the last of all days is still open.

    A control with fewer days than the others was given up after its last one.
    """
    days = [(first + timedelta(days=n)).isoformat() for n in range(max(map(len, verdicts.values()), default=0))]
    controls = {control: number for number, control in enumerate(dict.fromkeys(c for c, _ in verdicts), start=1)}
    judged = {control: days[: max(len(v) for (c, _), v in verdicts.items() if c == control)] for control in controls}
    runs: list[tuple[object, ...]] = []
    for (control, device_no), history in verdicts.items():
        found: list[VerdictRun] = []
        for position, verdict in enumerate(history):
            latest = days[position - 1] if position else None
            found = place(found, days[position], latest, verdict)
        runs += [(device_no, controls[control], run.first_day, run.last_day, *run.verdict) for run in found]

    async def work(tx: Transaction) -> None:
        await tx.many(
            "INSERT INTO muster_controls (control_no, control, title, severity) VALUES (?, ?, ?, ?)",
            [(number, c, f"Title of {c}", (severities or {}).get(c, "medium")) for c, number in controls.items()],
        )
        bounds = [day_of(date.fromisoformat(day), "UTC") for day in days]
        await tx.many(
            "INSERT INTO muster_days (day, starts_at, ends_at, zone, state) VALUES (?, ?, ?, 'UTC', ?)",
            [(day.day, day.starts_at, day.ends_at, "open" if day.day == days[-1] else "closed") for day in bounds],
        )
        await tx.many(
            "INSERT INTO muster_evaluation (control_no, day, rule_version, evaluated_at) VALUES (?, ?, 'x', ?)",
            [(controls[c], day, f"{day}T12:00:00Z") for c, found in judged.items() for day in found],
        )
        await tx.many(
            "INSERT INTO muster_verdicts (device_no, control_no, first_day, last_day, status, underlying_status,"
            " lapsed, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            runs,
        )

    await store.write(work)
