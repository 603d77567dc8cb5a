"""The page of one control: what it asks for, how it stands, and every device by status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from server.catalog.catalog import LoadedControl
from server.console.filters import filter_of
from server.console.history import ControlHistory, ShownDay, asked_day, histories, shown_day
from server.console.keys import CONSOLE, render
from server.console.mending import NOTHING, Mending, mending_of
from server.console.paging import Page, page_of
from server.evaluate.evidence import Evidence
from server.evaluate.readers import find_evidence
from server.evaluate.verdicts import ERROR, EXEMPT, FAIL, PASS, STATUSES
from server.evaluate.versions import rule_version
from server.store.driver import Transaction
from server.store.numbers import Among
from server.store.store import Store


@dataclass(frozen=True, slots=True)
class JudgedDevice:
    """A device with the status that is listed."""

    device_no: int
    device_id: str
    hostname: str
    platform: str
    since_day: str
    underlying_status: str
    lapsed: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why a device is left out for now, and until when."""

    last_day: str
    reason: str
    approved_by: str
    exemption_id: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the devices that have a status on a day."""

    status: str
    page: Page
    devices: Sequence[JudgedDevice]
    evidence: Mapping[int, Evidence]
    exemptions: Mapping[int, Exemption]
    failing_since: Mapping[str, str]
    """The first day of the failure that is open on the day, by device id."""
    other_rule: bool
    """The day was judged by another version of the rule than the one whose rows are shown."""


async def show(request: web.Request) -> web.Response:
    """``GET /controls/{control}``."""
    store, control = request.app[CONSOLE].store, request.match_info["control"]
    status, asked = request.query.get("status", FAIL), asked_day(request)
    if status not in STATUSES:
        raise web.HTTPBadRequest(reason=f"A status is one of {', '.join(STATUSES)}.")
    page, console = page_of(request.query), request.app[CONSOLE]
    chosen = filter_of(request, store.catalog)
    among = replace(chosen.among, controls=(control,))
    # A control that only a canary has is shown as the canary has it.
    loaded = next((one for part in store.in_force.parts if (one := part.catalog.controls.get(control))), None)

    async def read(tx: Transaction) -> _Found:
        shown = await shown_day(tx, asked)
        known = await tx.row("SELECT title, severity FROM muster_controls WHERE control = ?", (control,))
        if shown is None or known is None:
            return _Found(shown, known, None, None, NOTHING)
        history = next(iter((await histories(tx, shown.day, among)).values()), None)
        listing = None
        if history and history.latest.tally:
            listing = await _listing(tx, store, loaded, history, shown, status, page, among)
        mending = await console.kept.of((shown.day, among), lambda: mending_of(tx, among, shown.day))
        return _Found(shown, known, history, listing, mending.get(control, NOTHING))

    found = await store.read(read)
    if loaded is None and found.known is None:
        raise web.HTTPNotFound(reason=f"There is no control {control!r}.")
    title, severity = (loaded.control.title, loaded.control.severity) if loaded else found.known or (control, "")
    return render(
        request, "control.html", control=control, title=title, severity=severity, loaded=loaded, shown=found.shown,
        history=found.history, listing=found.listing, status=status, mending=found.mending, kept=chosen.of_devices,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    shown: ShownDay | None
    known: tuple[str, str] | None
    history: ControlHistory | None
    listing: Listing | None
    mending: Mending


async def _listing(
    tx: Transaction,
    store: Store,
    loaded: LoadedControl | None,
    history: ControlHistory,
    shown: ShownDay,
    status: str,
    page: Page,
    among: Among,
) -> Listing:
    condition, values = among.devices
    page, rows = page.cut(
        await tx.rows(
            "SELECT d.device_no, d.device_id, d.hostname, d.platform, v.first_day, v.underlying_status, v.lapsed,"
            " v.reason FROM muster_verdicts v JOIN muster_devices d ON d.device_no = v.device_no"
            " WHERE v.control_no = ? AND v.status = ? AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?)"
            f"{f' AND {condition}' if condition else ''} ORDER BY v.first_day DESC, d.hostname, d.device_id"
            " LIMIT ? OFFSET ?",
            (history.control_no, status, shown.day, shown.day, *values, page.size + 1, page.offset),
        )
    )
    devices = [JudgedDevice(*row) for row in rows]
    evidence: dict[int, Evidence] = {}
    if loaded and status in (FAIL, ERROR):
        decided = [(d.device_no, d.platform) for d in devices if status == FAIL or d.reason == "undecided"]
        tables = await store.tables(tx)
        for part in store.in_force.parts:
            theirs = [device for device in decided if store.in_force.part_of(device[0]) is part]
            if own := part.catalog.controls.get(history.control):
                evidence |= await find_evidence(tx, own, status, theirs, shown.bounds, tables, part.catalog.lists)
    return Listing(
        status=status,
        page=page,
        devices=devices,
        evidence=evidence,
        exemptions=await _exemptions(tx, history.control, shown.day) if status == EXEMPT else {},
        failing_since=await _failing_since(tx, devices, history.control, shown.day),
        other_rule=bool(evidence) and await _other_rule(tx, store, loaded, history.control_no, shown.day),
    )


async def _failing_since(tx: Transaction, devices: Sequence[JudgedDevice], control: str, day: str) -> dict[str, str]:
    found = await tx.each(
        "SELECT f.device_id, f.first_failed_day FROM posture_failures f WHERE f.device_id = ? AND f.control = ?"
        " AND f.first_failed_day <= ? AND COALESCE(f.remedied_day, '9999-12-31') > ?",
        [(device.device_id, control, day, day) for device in devices if device.underlying_status != PASS],
    )
    return {device_id: since for rows in found for device_id, since in rows}


async def _exemptions(tx: Transaction, control: str, day: str) -> dict[int, Exemption]:
    rows = await tx.rows(
        "SELECT x.device_no, x.last_day, e.reason, e.approved_by, e.exemption_id FROM muster_exempted x"
        " JOIN muster_exemptions e ON e.exemption_id = x.exemption_id"
        " WHERE x.control = ? AND x.first_day <= ? AND x.last_day >= ? ORDER BY x.last_day, e.exemption_id",
        (control, day, day),
    )
    return {row[0]: Exemption(*row[1:]) for row in rows}


async def _other_rule(tx: Transaction, store: Store, loaded: LoadedControl | None, control_no: int, day: str) -> bool:
    used = await tx.row(
        "SELECT rule_version, canary_version FROM muster_evaluation WHERE control_no = ? AND day = ?", (control_no, day)
    )
    if used is None or loaded is None:
        return False
    now = []
    for part in store.in_force.parts:
        own = part.catalog.controls.get(loaded.control_id)
        now.append(rule_version(part.catalog, own) if own else "")
    return bool(used != (now[0], now[-1] if now[-1] != now[0] else None))
