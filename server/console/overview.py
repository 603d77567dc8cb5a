"""The first page: how the fleet stands, what changed, and who is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from server.catalog.catalog import Catalog
from server.console.changes import Changes, changes
from server.console.filters import Choices, choices, filter_of
from server.console.history import ControlHistory, ShownDay, asked_day, histories, shown_day
from server.console.keys import CONSOLE, render
from server.console.mending import NOTHING, Kept, Mending, mending_of
from server.console.requests import came_by_tls
from server.normalize.times import iso
from server.store.driver import Transaction
from server.store.numbers import Among

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
    mending: Mapping[str, Mending]
    choices: Choices


async def show(request: web.Request) -> web.Response:
    """``GET /``."""
    asked, console = asked_day(request), request.app[CONSOLE]
    store = console.store
    seen_after = iso(store.clock() - SILENT_SECONDS)
    chosen = filter_of(request, store.catalog)

    async def read(tx: Transaction) -> Overview:
        return await read_overview(tx, asked, seen_after, chosen.among, console.kept, store.catalog)

    found = await store.read(read)
    return render(request, "overview.html", found=found, address=_address(request), chosen=chosen, nothing=NOTHING)


async def read_overview(
    tx: Transaction, asked: str | None, seen_after: str, among: Among, kept: Kept, catalog: Catalog
) -> Overview:
    """What the first page shows of a day, the newest where none is asked, and of some devices and controls."""
    condition, values = among.devices
    where = f"d.retired_at IS NULL{f' AND {condition}' if condition else ''}"
    counted = await tx.row(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN d.last_seen_at < ? THEN 1 ELSE 0 END), 0) FROM muster_devices d"
        f" WHERE {where}",
        (seen_after, *values),
    )
    silent = await tx.rows(
        "SELECT d.device_id, d.hostname, d.platform, d.owner, d.last_seen_at FROM muster_devices d"
        f" WHERE {where} AND d.last_seen_at < ? ORDER BY d.last_seen_at, d.device_id LIMIT ?",
        (*values, seen_after, SILENT_SHOWN),
    )
    shown = await shown_day(tx, asked)
    found = await histories(tx, shown.day, among) if shown else {}
    return Overview(
        devices=int(counted[0]) if counted else 0,
        silent_count=int(counted[1]) if counted else 0,
        silent=[SilentDevice(*row) for row in silent],
        shown=shown,
        controls=sorted((one for one in found.values() if one.latest.tally and one.latest.tally.total), key=_urgency),
        changes=await changes(tx, shown) if shown and among == Among() else None,
        mending=await kept.of((shown.day, among), lambda: mending_of(tx, among, shown.day)) if shown else {},
        choices=await choices(tx, catalog),
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
