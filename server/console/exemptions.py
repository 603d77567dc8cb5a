"""The exemptions, one of them with the devices it covers, and the forms with which an admin decides on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from server.console.filters import control_titles
from server.console.keys import CONSOLE, admin, render
from server.console.paging import page_of
from server.store import exempting
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.exempt_lists import NEEDED_DAYS, Filter, list_exemptions, show_exemption
from server.store.exempting import By, ExemptionError, NoExemptionError, Terms

EXPIRING_DAYS, SHOWN_DEVICES, LARGEST_FORM = 14, 200, 65_536
SHOWN = {
    "active": "In force",
    "requested": "To be decided",
    "expiring": "Ending soon",
    "unneeded": "Not needed",
    "all": "All",
}
"""What the list can be of, as the address and as the page has it."""
DONE = ("approve", "reject", "revoke")


async def listing(request: web.Request) -> web.Response:
    """``GET /exemptions``."""
    store, show = request.app[CONSOLE].store, request.query.get("show", "active")
    if show not in SHOWN:
        raise web.HTTPBadRequest(reason=f"What is shown is one of {', '.join(SHOWN)}.")
    page = page_of(request.query)

    async def read(tx: Transaction) -> tuple[list[dict[str, Any]], dict[str, str]]:
        today = await fleet_day(tx, store.clock())
        wanted = _filter(show, today)
        return await list_exemptions(tx, wanted, today, limit=page.size + 1, offset=page.offset), await control_titles(
            tx
        )

    found, titles = await store.read(read)
    page = replace(page, more=len(found) > page.size)
    return render(
        request, "exemptions.html", found=found[: page.size], page=page, show=show, shown=SHOWN, titles=titles,
        expiring_days=EXPIRING_DAYS, needed_days=NEEDED_DAYS,
    )  # fmt: skip


def _filter(show: str, today: str) -> Filter:
    return {
        "active": Filter(active_on=today),
        "requested": Filter(state="requested"),
        "expiring": Filter(expiring_days=EXPIRING_DAYS),
        "unneeded": Filter(unneeded_days=NEEDED_DAYS),
        "all": Filter(),
    }[show]


async def show(request: web.Request) -> web.Response:
    """``GET /exemptions/{exemption_id}``."""
    return await _shown(request)


async def decide(request: web.Request) -> web.Response:
    """``POST /exemptions/{exemption_id}/{approve|reject|revoke}``: in the name of the token that is signed in."""
    viewer, store = admin(request, "Deciding on exemptions"), request.app[CONSOLE].store
    exemption_id, what = request.match_info["exemption_id"], request.match_info["what"]
    if (request.content_length or 0) > LARGEST_FORM or request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPBadRequest(reason="That is not the form of this page.")
    reason, by, now = str((await request.post()).get("reason", "")), By(viewer.name, viewer.name), store.clock()

    async def work(tx: Transaction) -> None:
        if what == "approve":
            await exempting.approve(tx, exemption_id, by, Terms.of(store.in_force), now)
        elif what == "reject":
            await exempting.reject(tx, exemption_id, by, reason, now)
        else:
            await exempting.revoke(tx, exemption_id, by, reason, now)

    try:
        await store.write(work)
    except NoExemptionError as error:
        raise web.HTTPNotFound(reason="There is no such exemption.") from error
    except ExemptionError as error:
        return await _shown(request, refused=str(error))
    raise web.HTTPSeeOther(f"/exemptions/{exemption_id}")


async def _shown(request: web.Request, refused: str = "") -> web.Response:
    store, exemption_id = request.app[CONSOLE].store, request.match_info["exemption_id"]

    async def read(tx: Transaction) -> tuple[dict[str, Any], dict[str, str]]:
        today = await fleet_day(tx, store.clock())
        return await show_exemption(tx, exemption_id, today, most=SHOWN_DEVICES + 1), await control_titles(tx)

    try:
        found, titles = await store.read(read)
    except NoExemptionError as error:
        raise web.HTTPNotFound(reason="There is no such exemption.") from error
    return render(
        request, "exemption.html", http_status=409 if refused else 200, it=found["exemption"],
        devices=found["devices"][:SHOWN_DEVICES], more=len(found["devices"]) > SHOWN_DEVICES, refused=refused,
        titles=titles,
    )  # fmt: skip
