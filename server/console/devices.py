"""The list of devices, searched by host name or serial number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.console.history import ShownDay, shown_day
from server.console.keys import CONSOLE, render
from server.console.overview import SILENT_SECONDS
from server.console.paging import Page, page_of
from server.console.tally import Tally
from server.normalize.times import iso
from server.store.driver import Transaction

LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A device as the list shows it."""

    device_no: int
    device_id: str
    hostname: str
    serial: str
    platform: str
    os_name: str
    os_version: str
    owner: str
    last_seen_at: str
    retired_at: str | None


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: a part of a name or serial number, and perhaps only the silent ones."""

    text: str
    seen_before: str | None

    @property
    def condition(self) -> tuple[str, tuple[Any, ...]]:
        """The WHERE clause and its values."""
        escaped = self.text.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        clause = "1 = 1"
        values: tuple[str, ...] = ()
        if escaped:
            clause = "(LOWER(hostname) LIKE ? ESCAPE '!' OR LOWER(serial) LIKE ? ESCAPE '!' OR device_id = ?)"
            values = (f"%{escaped}%", f"%{escaped}%", self.text)
        if self.seen_before is not None:
            return f"{clause} AND retired_at IS NULL AND last_seen_at < ?", (*values, self.seen_before)
        return clause, values


async def show(request: web.Request) -> web.Response:
    """``GET /devices``."""
    store, silent = request.app[CONSOLE].store, request.query.get("show") == "silent"
    text = request.query.get("q", "").strip().replace("\0", "")[:LONGEST_SEARCH]
    search = Search(text, iso(store.clock() - SILENT_SECONDS) if silent else None)
    asked_page = page_of(request.query)

    async def read(
        tx: Transaction,
    ) -> tuple[int, Page, Sequence[ListedDevice], ShownDay | None, Mapping[int, Tally]]:
        count, page, devices = await _find(tx, search, asked_page)
        shown = await shown_day(tx, None)
        return count, page, devices, shown, await _tallies(tx, devices, shown)

    count, page, devices, shown, tallies = await store.read(read)
    return render(
        request, "devices.html", count=count, page=page, devices=devices, shown=shown, tallies=tallies, text=text,
        silent=silent,
    )  # fmt: skip


async def _find(tx: Transaction, search: Search, page: Page) -> tuple[int, Page, list[ListedDevice]]:
    condition, values = search.condition
    counted = await tx.row(f"SELECT COUNT(*) FROM muster_devices WHERE {condition}", values)
    order = "hostname, device_id" if search.seen_before is None else "last_seen_at, device_id"
    page, rows = page.cut(
        await tx.rows(
            "SELECT device_no, device_id, hostname, serial, platform, os_name, os_version, owner, last_seen_at,"
            f" retired_at FROM muster_devices WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, page.size + 1, page.offset),
        )
    )
    return (int(counted[0]) if counted else 0), page, [ListedDevice(*row) for row in rows]


async def _tallies(tx: Transaction, devices: Sequence[ListedDevice], shown: ShownDay | None) -> dict[int, Tally]:
    """How many controls of each device have which status: here a tally counts controls, not devices."""
    if not devices or shown is None:
        return {}
    marks = ", ".join("?" * len(devices))
    counts: dict[int, dict[str, int]] = {}
    for device_no, status, count in await tx.rows(
        "SELECT v.device_no, v.status, COUNT(*) FROM muster_verdicts v"
        " JOIN muster_evaluation e ON e.control_no = v.control_no AND e.day = ?"
        f" WHERE v.device_no IN ({marks}) AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?)"
        " GROUP BY v.device_no, v.status",
        (shown.day, *(device.device_no for device in devices), shown.day, shown.day),
    ):
        counts.setdefault(device_no, {})[status] = count
    return {device_no: Tally(found) for device_no, found in counts.items()}
