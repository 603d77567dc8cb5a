"""The first page: how the fleet stands, what changed, and who is silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from server.console.changes import Changes, changes
from server.console.history import ControlHistory, ShownDay, asked_day, histories, shown_day
from server.console.keys import CONSOLE, render
from server.console.requests import came_by_tls
from server.normalize.times import iso
from server.store.driver import Transaction

SILENT_SECONDS = 86_400
SILENT_SHOWN = 10
_SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class SilentDevice:
    """A device not heard of for more than a day."""

    device_id: str
    hostname: str
    platform: str
    owner: str
    last_seen_at: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the first page shows."""

    devices: int
    silent_count: int
    silent: Sequence[SilentDevice]
    shown: ShownDay | None
    controls: Sequence[ControlHistory]
    changes: Changes | None


async def show(request: web.Request) -> web.Response:
    """``GET /``."""
    asked, store = asked_day(request), request.app[CONSOLE].store
    seen_after = iso(store.clock() - SILENT_SECONDS)
    found = await store.read(lambda tx: read_overview(tx, asked, seen_after))
    return render(request, "overview.html", found=found, address=_address(request))


async def read_overview(tx: Transaction, asked: str | None, seen_after: str) -> Overview:
    """What the first page shows of a day, the newest where none is asked."""
    counted = await tx.row(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN last_seen_at < ? THEN 1 ELSE 0 END), 0) FROM muster_devices"
        " WHERE retired_at IS NULL",
        (seen_after,),
    )
    silent = await tx.rows(
        "SELECT device_id, hostname, platform, owner, last_seen_at FROM muster_devices"
        " WHERE retired_at IS NULL AND last_seen_at < ? ORDER BY last_seen_at, device_id LIMIT ?",
        (seen_after, SILENT_SHOWN),
    )
    shown = await shown_day(tx, asked)
    found = await histories(tx, shown.day) if shown else {}
    return Overview(
        devices=int(counted[0]) if counted else 0,
        silent_count=int(counted[1]) if counted else 0,
        silent=[SilentDevice(*row) for row in silent],
        shown=shown,
        controls=sorted((one for one in found.values() if one.latest.tally and one.latest.tally.total), key=_urgency),
        changes=await changes(tx, shown) if shown else None,
    )


def _urgency(control: ControlHistory) -> tuple[bool, int, int, str]:
    """Failing controls first, the gravest of them at the top."""
    failing = control.latest.tally["fail"] if control.latest.tally else 0
    rank = _SEVERITIES.index(control.severity) if control.severity in _SEVERITIES else len(_SEVERITIES)
    return (not failing, rank, -failing, control.title)


def _address(request: web.Request) -> str:
    """This server as a device would name it, for the page that shows how to enrol one."""
    port = "" if ":" in request.host else (":443" if came_by_tls(request.secure, request.headers) else ":80")
    return f"{request.host}{port}"
