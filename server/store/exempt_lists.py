"""Exemptions as people ask for them: which there are, which end soon, which nobody needs, and whom one covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.normalize.calendar import shifted
from server.store.driver import Transaction, dicts
from server.store.exempting import NoExemptionError

STATES = ("requested", "approved", "rejected", "revoked")
NEEDED_DAYS = 7
"""An exemption whose devices have passed by themselves for so many days is not needed any more."""
_COVERS = "FROM muster_exempted x WHERE x.exemption_id = e.exemption_id AND x.first_day <= ? AND x.last_day >= ?"
_VERDICTS = (
    "FROM muster_exempted x JOIN muster_controls c ON c.control = x.control"
    " JOIN muster_verdicts v ON v.control_no = c.control_no AND v.device_no = x.device_no"
    " WHERE x.exemption_id = e.exemption_id"
)
_NEEDED = (
    f"EXISTS (SELECT 1 {_VERDICTS} AND x.first_day <= ? AND x.last_day >= ? AND v.first_day <= ?"
    " AND (v.last_day IS NULL OR v.last_day >= ?)"
    " AND (v.lapsed = 1 OR v.underlying_status NOT IN ('pass', 'not_applicable')))"
)
_PASSED = (
    f"EXISTS (SELECT 1 {_VERDICTS} AND x.first_day <= ? AND x.last_day >= ? AND v.first_day <= ?"
    " AND (v.last_day IS NULL OR v.last_day >= ?) AND v.underlying_status = 'pass'"
    " AND EXISTS (SELECT 1 FROM muster_evaluation j WHERE j.control_no = c.control_no AND j.day >= ?)"
    " AND EXISTS (SELECT 1 FROM muster_evaluation j WHERE j.control_no = c.control_no AND j.day = ?))"
)
_HOLDS = (
    "e.state IN ('approved', 'revoked') AND e.first_day <= ? AND e.last_day >= ?"
    " AND (e.revoked_day IS NULL OR e.revoked_day > ?)"
)
_GONE = "EXISTS (SELECT 1 FROM muster_devices d WHERE d.device_no = e.device_no AND d.erased_at IS NOT NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which exemptions are asked for; days are YYYY-MM-DD, and what is None or false is not asked."""

    exemption_id: str | None = None
    control: str | None = None
    state: str | None = None
    device: str | None = None
    """A device's id: those that cover it or ever did, or ask for it."""
    active_on: str | None = None
    expiring_days: int | None = None
    """Those in force today that end within so many days."""
    unneeded_days: int | None = None
    """Those in force whose devices passed by themselves on each of the last so many days."""

    def where(self, today: str) -> tuple[str, list[object]]:
        """The condition on ``muster_exemptions e`` and its values."""
        parts: list[str] = []
        values: list[object] = []
        for column in ("exemption_id", "control", "state"):
            if (said := getattr(self, column)) is not None:
                parts, values = [*parts, f"e.{column} = ?"], [*values, said]
        if self.device is not None:
            parts.append(
                "((e.scope = 'device' AND e.subject = ?) OR EXISTS (SELECT 1 FROM muster_exempted x"
                " JOIN muster_devices d ON d.device_no = x.device_no WHERE x.exemption_id = e.exemption_id"
                " AND d.device_id = ?))"
            )
            values += [self.device, self.device]
        if self.active_on is not None:
            parts, values = [*parts, _HOLDS], [*values, *[self.active_on] * 3]
        if self.expiring_days is not None:
            last = shifted(today, self.expiring_days)
            parts, values = [*parts, f"{_HOLDS} AND e.last_day <= ? AND NOT {_GONE}"], [*values, *[today] * 3, last]
        if self.unneeded_days is not None:
            since = shifted(today, 1 - self.unneeded_days)
            parts.append(f"{_HOLDS} AND e.first_day <= ? AND {_PASSED} AND NOT {_NEEDED}")
            # Today may not be judged yet; yesterday is, where days are judged at all.
            yesterday = shifted(today, -1)
            values += [*[today] * 3, since, today, today, today, since, yesterday, since]
            values += [today, since, today, since]
        return " AND ".join(parts) or "1 = 1", values


async def list_exemptions(
    tx: Transaction, wanted: Filter, today: str, *, limit: int = -1, offset: int = 0
) -> list[dict[str, Any]]:
    """Exemptions as the view has them, by when they were asked for, with their ``phase`` on ``today``.

    ``devices`` is how many one covers today, or on the day that is asked for, and ``passing`` how many of them pass by
    themselves. A negative limit is none.
    """
    where, values = wanted.where(today)
    day = wanted.active_on or today
    page = "" if limit < 0 else " LIMIT ? OFFSET ?"
    found = await dicts(
        tx,
        f"SELECT v.*, (SELECT COUNT(DISTINCT x.device_no) {_COVERS}) AS devices,"
        f" (SELECT COUNT(DISTINCT x.device_no) {_VERDICTS} AND x.first_day <= ? AND x.last_day >= ?"
        " AND v.first_day <= ? AND (v.last_day IS NULL OR v.last_day >= ?) AND v.underlying_status = 'pass') AS passing"
        " FROM muster_exemptions e JOIN exemptions v ON v.exemption_id = e.exemption_id"
        f" WHERE {where} ORDER BY e.requested_at, e.exemption_id{page}",
        (*[day] * 6, *values, *(() if limit < 0 else (limit, offset))),
    )
    return [{**entry, "phase": phase(entry, today)} for entry in found]


async def show_exemption(tx: Transaction, exemption_id: str, today: str, *, most: int = -1) -> dict[str, Any]:
    """One exemption as it is listed, and the devices it covers or covered, ``most`` of them unless that is negative.

    Each with the days and with the status it has without the exemption on the last judged one. Raises
    ``NoExemptionError``.
    """
    listed = await list_exemptions(tx, Filter(exemption_id=exemption_id), today)
    if not listed:
        raise NoExemptionError(f"There is no exemption {exemption_id!r}: 'muster exempt list' shows them.")
    devices = await dicts(
        tx,
        "SELECT d.device_id, d.hostname, x.first_day, x.last_day, v.underlying_status, v.reason FROM muster_exempted x"
        " JOIN muster_devices d ON d.device_no = x.device_no LEFT JOIN muster_controls c ON c.control = x.control"
        " LEFT JOIN muster_verdicts v ON v.control_no = c.control_no AND v.device_no = x.device_no"
        " AND v.last_day IS NULL"
        " WHERE x.exemption_id = ? ORDER BY d.hostname, d.device_id, x.first_day" + ("" if most < 0 else " LIMIT ?"),
        (exemption_id, *(() if most < 0 else (most,))),
    )
    return {"exemption": listed[0], "devices": devices}


def phase(entry: Mapping[str, Any], today: str) -> str:
    """Where an exemption stands on a day.

    One of requested, lapsed (nobody decided before its end), rejected, upcoming, active, ended and revoked.
    """
    state, over = str(entry["state"]), entry["last_day"] < today
    if state == "requested":
        return "lapsed" if over else "requested"
    if state != "approved":
        return state
    return "ended" if over else "upcoming" if entry["first_day"] > today else "active"
