"""``/api/v1/exemptions``: listed and shown to every holder of a token, changed by admins, whose token is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date

from aiohttp import web

from server.api.keys import STORE
from server.api.shapes import admin_of, json_answer, number_asked, object_sent
from server.store import exempting
from server.store.calendar import fleet_day
from server.store.driver import Transaction
from server.store.exempt_lists import STATES, Filter, list_exemptions, show_exemption
from server.store.exempting import Asked, By, ExemptionError, NoExemptionError, Terms
from server.store.exemptions import DEVICE, SCOPES

PAGE, LARGEST_PAGE, MOST_DAYS = 100, 1000, 3660
LARGEST_BODY = 65_536
_TEXTS = ("control", "scope", "subject", "reason", "first_day", "last_day", "requested_by", "risk", "link")
_WANTED = (*_TEXTS, "compensating_control")
_NEEDED = ("control", "subject", "last_day", "reason")

_CHANGING = "changing exemptions"

Change = Callable[[Transaction, Terms, float], Awaitable[str]]
End = Callable[[Transaction, str, By, str, float], Awaitable[str]]


def routes() -> list[web.RouteDef]:
    """The routes of exemptions."""
    one = "/api/v1/exemptions/{exemption_id:[^/]+}"
    return [
        web.get("/api/v1/exemptions", listing),
        web.post("/api/v1/exemptions", request_one),
        web.get(one, show),
        web.post(f"{one}/approve", approve),
        web.post(f"{one}/reject", reject),
        web.post(f"{one}/revoke", revoke),
    ]


async def listing(request: web.Request) -> web.Response:
    """A page of exemptions.

    ``?active=DAY`` (in force on a day), ``control=``, ``device=``, ``state=``, ``expiring=`` and ``unneeded=`` (a
    number of days each), ``limit`` and ``offset``.
    """
    limit, offset = number_asked(request, "limit", PAGE, 1, LARGEST_PAGE), number_asked(request, "offset", 0, 0, 10**9)
    state, active = request.query.get("state"), request.query.get("active")
    if state is not None and state not in STATES:
        raise web.HTTPBadRequest(reason=f"state is one of {', '.join(STATES)}")
    wanted = Filter(
        control=request.query.get("control"),
        state=state,
        device=request.query.get("device"),
        active_on=_day("active", active).isoformat() if active is not None else None,
        expiring_days=_days(request, "expiring"),
        unneeded_days=_days(request, "unneeded"),
    )
    clock = request.app[STORE].clock

    async def read(tx: Transaction) -> list[dict[str, object]]:
        return await list_exemptions(tx, wanted, await fleet_day(tx, clock()), limit=limit + 1, offset=offset)

    found = await request.app[STORE].read(read)
    following = offset + limit if len(found) > limit else None
    return json_answer({"exemptions": found[:limit], "next_offset": following})


async def show(request: web.Request) -> web.Response:
    """One exemption, and the devices it covers or covered; ``limit`` of them."""
    most = number_asked(request, "limit", LARGEST_PAGE, 1, 1_000_000)
    exemption_id, clock = request.match_info["exemption_id"], request.app[STORE].clock

    async def read(tx: Transaction) -> dict[str, object]:
        return await show_exemption(tx, exemption_id, await fleet_day(tx, clock()), most=most)

    try:
        return json_answer(await request.app[STORE].read(read))
    except NoExemptionError as error:
        return json_answer({"error": str(error)}, status=404)


async def request_one(request: web.Request) -> web.Response:
    """Ask for an exemption: control, scope (device, tag or person), subject, last_day, reason, and maybe first_day,
    risk, compensating_control, link and requested_by, which is the token's name where it is not said."""
    token, said = admin_of(request, _CHANGING), await _body(request, _WANTED, _NEEDED)
    scope = said.get("scope", DEVICE)
    if scope not in SCOPES:
        raise web.HTTPBadRequest(reason=f"scope is one of {', '.join(SCOPES)}")
    asked = Asked(
        control=said["control"],
        scope=scope,
        subject=said["subject"],
        first_day=_day("first_day", said["first_day"]) if "first_day" in said else None,
        last_day=_day("last_day", said["last_day"]),
        reason=said["reason"],
        risk=said.get("risk"),
        compensating_control=said.get("compensating_control"),
        link=said.get("link"),
        requested_by=said.get("requested_by", token),
    )
    return await _change(request, lambda tx, terms, now: exempting.request(tx, asked, terms, now, token), status=201)


async def approve(request: web.Request) -> web.Response:
    """Approve a request, in the name of the token; another one, and another person, must have asked."""
    token, exemption_id = admin_of(request, _CHANGING), request.match_info["exemption_id"]
    await _body(request, (), ())
    by = By(token, token)
    return await _change(request, lambda tx, terms, now: exempting.approve(tx, exemption_id, by, terms, now))


async def reject(request: web.Request) -> web.Response:
    """Reject a request: {"reason"}."""
    return await _end(request, exempting.reject)


async def revoke(request: web.Request) -> web.Response:
    """Revoke an exemption from today on: {"reason"}."""
    return await _end(request, exempting.revoke)


async def _end(request: web.Request, end: End) -> web.Response:
    """Reject or revoke, in the name of the token."""
    token, exemption_id = admin_of(request, _CHANGING), request.match_info["exemption_id"]
    reason, by = (await _body(request, ("reason",), ("reason",)))["reason"], By(token, token)
    return await _change(request, lambda tx, _terms, now: end(tx, exemption_id, by, reason, now))


async def _change(request: web.Request, change: Change, *, status: int = 200) -> web.Response:
    """Do it and answer the exemption as it is then; 404 where there is none, 409 where it cannot be done."""
    store = request.app[STORE]
    now, terms = store.clock(), Terms.of(store.in_force)

    async def work(tx: Transaction) -> dict[str, object]:
        exemption_id = await change(tx, terms, now)
        (entry,) = await list_exemptions(tx, Filter(exemption_id=exemption_id), await fleet_day(tx, now))
        return entry

    try:
        return json_answer({"exemption": await store.write(work)}, status=status)
    except NoExemptionError as error:
        return json_answer({"error": str(error)}, status=404)
    except ExemptionError as error:
        return json_answer({"error": str(error)}, status=409)


async def _body(request: web.Request, wanted: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, str]:
    """The texts of a JSON body; null is as if it were not there."""
    sent = await object_sent(request, LARGEST_BODY)
    said = {name: value for name, value in sent.items() if value is not None}
    if odd := sorted(said.keys() - set(wanted)):
        raise web.HTTPBadRequest(reason=f"the body has no {odd[0][:40]!r}: it takes {', '.join(wanted) or 'nothing'}")
    if missing := [name for name in needed if name not in said]:
        raise web.HTTPBadRequest(reason=f"the body lacks {', '.join(missing)}")
    if odd := sorted(name for name, value in said.items() if not isinstance(value, str)):
        raise web.HTTPBadRequest(reason=f"{odd[0]} is a text")
    return said


def _day(name: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise web.HTTPBadRequest(reason=f"{name} is YYYY-MM-DD") from error
    if day.isoformat() != text:  # weeks, and days without dashes
        raise web.HTTPBadRequest(reason=f"{name} is YYYY-MM-DD")
    return day


def _days(request: web.Request, name: str) -> int | None:
    return number_asked(request, name, 0, 1, MOST_DAYS) if name in request.query else None
