"""The page of one device: what it is, how it fares, and what it last answered. Its owner may see all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiohttp import web

from server.console.history import ShownDay, asked_day, judged_days, shown_day
from server.console.keys import CONSOLE, render
from server.console.strips import DayOfDevice, DeviceRun, device_days, window
from server.console.tally import Tally
from server.report.collectors import collector_line
from server.store.ask_again import questions
from server.store.collectors import collector_of
from server.store.driver import Transaction, dicts

REJECTS_SHOWN = 5
_IDENTITY = (
    "device_no, device_id, hostname, hardware_uuid, serial, platform, os_name, os_version, osquery_version, owner,"
    " tags, in_scope_from, enrolled_at, last_seen_at, retired_at"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of this device, from its first failed day to the one it was remedied on."""

    first_day: str
    remedied_day: str | None

    @property
    def days(self) -> int:
        """How many days lie between them."""
        last = date.fromisoformat(self.remedied_day or self.first_day)
        return (last - date.fromisoformat(self.first_day)).days

    def remedied(self, day: str) -> bool:
        """Whether it was no more at the end of a day."""
        return self.remedied_day is not None and self.remedied_day <= day


@dataclass(frozen=True, slots=True)
class ControlOfDevice:
    """A control of this device and its last days."""

    control: str
    title: str
    days: Sequence[DayOfDevice]
    failures: Sequence[Failure] = ()
    """Those that had begun by the shown day, the newest first."""

    @property
    def failing_since(self) -> str | None:
        """The first day of the failure that is open on the shown day."""
        return next((one.first_day for one in self.failures if not one.remedied(self.days[-1].day)), None)

    @property
    def took(self) -> list[int]:
        """The days that those took which were remedied by the shown day."""
        return [one.days for one in self.failures if one.remedied(self.days[-1].day)]

    @property
    def latest(self) -> DeviceRun | None:
        """The verdict of the day that is shown."""
        return self.days[-1].run


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The newest stretch in which the device said something of a query."""

    query: str
    last_at: str
    status: str
    basis: str
    message: str | None


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Everything the page of a device shows."""

    identity: dict[str, Any]
    shown: ShownDay | None
    controls: Sequence[ControlOfDevice]
    answers: Sequence[LastAnswer]
    asked: Sequence[dict[str, Any]]
    rejects: Sequence[dict[str, Any]]
    rejects_count: int
    collector: dict[str, Any] | None

    @property
    def collector_line(self) -> str:
        """The device's collector and what it lost; empty where it has none."""
        return collector_line(self.collector) if self.collector else ""

    @property
    def tally(self) -> Tally:
        """This device's controls by status."""
        counts: dict[str, int] = {}
        for control in self.controls:
            if control.latest:
                counts[control.latest.status] = counts.get(control.latest.status, 0) + 1
        return Tally(counts)


async def show(request: web.Request) -> web.Response:
    """``GET /devices/{device_id}``."""
    device_id, asked = request.match_info["device_id"], asked_day(request)

    async def read(tx: Transaction) -> DevicePage:
        identity = await identity_of(tx, device_id)
        shown = await shown_day(tx, asked)
        number = identity["device_no"]
        counted = await tx.row("SELECT COUNT(*) FROM rejects WHERE device_id = ?", (device_id,))
        return DevicePage(
            identity=identity,
            shown=shown,
            controls=await _controls(tx, number, device_id, shown) if shown else [],
            answers=await _answers(tx, number),
            asked=await questions(tx, device_id),
            rejects=await _rejects(tx, device_id),
            rejects_count=int(counted[0]) if counted else 0,
            collector=await collector_of(tx, device_id),
        )

    return render(request, "device.html", found=await request.app[CONSOLE].store.read(read))


async def identity_of(tx: Transaction, device_id: str) -> dict[str, Any]:
    """Who a device is. Raises ``HTTPNotFound``."""
    found = await dicts(tx, f"SELECT {_IDENTITY} FROM muster_devices WHERE device_id = ?", (device_id,))
    if not found:
        raise web.HTTPNotFound(reason=f"There is no device {device_id!r}.")
    return found[0]


async def _controls(tx: Transaction, device_no: int, device_id: str, shown: ShownDay) -> list[ControlOfDevice]:
    days = window(shown.day)
    judged = await judged_days(tx, days)
    runs: dict[tuple[str, str, int], list[DeviceRun]] = {}
    for control, title, number, *run in await tx.rows(
        "SELECT c.control, c.title, c.control_no, v.first_day, v.last_day, v.status, v.underlying_status, v.lapsed,"
        " v.reason FROM muster_verdicts v JOIN muster_controls c ON c.control_no = v.control_no"
        " WHERE v.device_no = ? AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?)"
        " ORDER BY c.title, c.control, v.first_day",
        (device_no, shown.day, days[0]),
    ):
        runs.setdefault((control, title, number), []).append(DeviceRun(*run))
    failures: dict[str, list[Failure]] = {}
    for control, first, remedied in await tx.rows(
        "SELECT f.control, f.first_failed_day, f.remedied_day FROM posture_failures f"
        " WHERE f.device_id = ? AND f.first_failed_day <= ? ORDER BY f.first_failed_day DESC",
        (device_id, shown.day),
    ):
        failures.setdefault(control, []).append(Failure(first, remedied))
    return [
        ControlOfDevice(control, title, device_days(found, days, judged.get(number, set())), failures.get(control, ()))
        for (control, title, number), found in runs.items()
    ]


async def _answers(tx: Transaction, device_no: int) -> list[LastAnswer]:
    rows = await tx.rows(
        "SELECT q.query, c.last_at, c.status, c.basis, c.message FROM muster_coverage c"
        " JOIN muster_queries q ON q.table_name = c.table_name"
        " WHERE c.device_no = ? AND c.first_at = (SELECT MAX(l.first_at) FROM muster_coverage l"
        " WHERE l.device_no = c.device_no AND l.table_name = c.table_name) ORDER BY q.query",
        (device_no,),
    )
    return [LastAnswer(*row) for row in rows]


async def _rejects(tx: Transaction, device_id: str) -> list[dict[str, Any]]:
    return await dicts(
        tx,
        "SELECT rejected_at, query, reason FROM rejects WHERE device_id = ? ORDER BY rejected_at DESC, query, reason"
        " LIMIT ?",
        (device_id, REJECTS_SHOWN),
    )
