"""What numbers or lists somebody asks for: a day or a period, how to group, and what to leave out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from server.catalog.catalog import Catalog
from server.catalog.schema import PLATFORMS
from server.evaluate.verdicts import STATUSES
from server.store.driver import StoreError
from server.store.numbers import Among

BY = ("control", "criterion", "tag", "platform", "owner")
"""What numbers can be grouped by."""
NONE = "-"
"""Asks for devices without a tag, or without an owner."""
LONGEST_PERIOD = 3660


class AskedError(StoreError):
    """What is asked for cannot be: the message says which part and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Days from ``first`` to ``last``, the same for one day, of some verdicts, grouped by one of ``BY``."""

    by: str
    first: str
    last: str
    among: Among
    status: str | None = None


def asked(given: Mapping[str, str], catalog: Catalog, today: date, day: str | None = None) -> Asked:
    """Read ``by``, ``day`` or ``from`` and ``to``, ``control``, ``criterion``, ``status`` and what devices to count.

    What is empty is not given; ``day`` is taken where no day is. Raises ``AskedError``.
    """
    told = {name: value for name, value in given.items() if value}
    by, status = told.get("by", "control"), told.get("status")
    if by not in BY:
        raise AskedError(f"by is one of {', '.join(BY)}, not {by!r}")
    if status is not None and status not in STATUSES:
        raise AskedError(f"status is one of {', '.join(STATUSES)}, not {status!r}")
    first, last = _period(told, today, day)
    return Asked(by=by, first=first, last=last, among=among(told, catalog), status=status)


def among(given: Mapping[str, str], catalog: Catalog) -> Among:
    """Read which verdicts are counted: of a ``control`` or a ``criterion``, of which devices. Raises ``AskedError``."""
    platform, control = given.get("platform") or None, given.get("control") or None
    if platform is not None and platform not in PLATFORMS:
        raise AskedError(f"platform is one of {', '.join(PLATFORMS)}, not {platform!r}")
    controls: tuple[str, ...] | None = None if control is None else (control,)
    if criterion := given.get("criterion"):
        answering = controls_answering(catalog, criterion)
        controls = tuple(one for one in answering if control in (None, one))
    return Among(
        controls=controls,
        platform=platform,
        tag=_named(given.get("tag", "").lower()),
        owner=_named(given.get("owner", "")),
        device_id=given.get("device") or None,
    )


def controls_answering(catalog: Catalog, criterion: str) -> tuple[str, ...]:
    """The controls that answer to ``FRAMEWORK/CRITERION``, in part or whole. Raises ``AskedError``."""
    framework, _, name = criterion.partition("/")
    if framework not in catalog.frameworks:
        known = ", ".join(catalog.frameworks) or "none"
        raise AskedError(f"criterion is FRAMEWORK/CRITERION, and there is no framework {framework!r}: {known}")
    found = catalog.frameworks[framework].criteria.get(name)
    if found is None:
        raise AskedError(f"{framework} has no criterion {name!r}")
    return tuple(dict.fromkeys(control for control, _ in found.controls))


def day_named(text: str, name: str) -> str:
    """A day as it is written. Raises ``AskedError``."""
    try:
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        day = ""
    if day != text:
        raise AskedError(f"{name} is a day, written YYYY-MM-DD, not {text[:40]!r}")
    return text


def _period(told: Mapping[str, str], today: date, day: str | None) -> tuple[str, str]:
    if "day" in told and ("from" in told or "to" in told):
        raise AskedError("give day, or from and to, not both")
    if ("from" in told) != ("to" in told):
        raise AskedError("from and to go together")
    if "from" in told:
        first, last = day_named(told["from"], "from"), day_named(told["to"], "to")
    elif "day" in told or day:
        first = last = day_named(told.get("day") or day or "", "day")
    else:
        raise AskedError("give day, or from and to")
    if first > last:
        raise AskedError(f"the period ends on {last} before it begins on {first}")
    if last > today.isoformat():
        raise AskedError(f"{last} is in the future: it is {today} in the fleet's zone")
    if (date.fromisoformat(last) - date.fromisoformat(first)).days >= LONGEST_PERIOD:
        raise AskedError(f"a period has {LONGEST_PERIOD} days at most")
    return first, last


def _named(text: str) -> str | None:
    return "" if text == NONE else text or None
