"""Exemptions are asked for, approved or rejected, and revoked. Nothing of them is ever deleted."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from server.normalize.calendar import shifted
from server.normalize.persons import person_key
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.calendar import fleet_day
from server.store.driver import StoreError, Transaction
from server.store.exemptions import (
    DEVICE,
    PERSON,
    SCOPES,
    TAG,
    Granted,
    cover,
    covered_from,
    devices_of,
    uncover,
)
from server.store.in_force import InForce
from server.store.named import one_device

LONGEST_NAME, LONGEST_TEXT = 255, 4000
"""Characters of a person's name; of a reason, a risk and the like."""


class ExemptionError(StoreError):
    """What was asked cannot be done with exemptions; the message says why."""


class NoExemptionError(ExemptionError):
    """There is no exemption of that id."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What exemptions are bound to: the controls there are now, and how many days one may last."""

    controls: Collection[str]
    days_max: int

    @classmethod
    def of(cls, in_force: InForce) -> Terms:
        """Those of the packs in force; a control that only the canary has counts too."""
        controls = {control for catalog in in_force.catalogs for control in catalog.controls}
        return cls(controls, in_force.base.catalog.fleet.exemption_days_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for. Without a first day it is to begin when it is approved; the last day is included."""

    control: str
    scope: str
    subject: str
    last_day: date
    reason: str
    requested_by: str
    first_day: date | None = None
    risk: str | None = None
    compensating_control: str | None = None
    link: str | None = None


class _Stored(NamedTuple):
    """An exemption as far as deciding on it goes by what is stored."""

    state: str
    control: str
    scope: str
    subject: str
    first_day: str
    last_day: str
    requested_by: str
    request_token: str | None

    def granted(self, exemption_id: str, first_day: str) -> Granted:
        """It as one that covers devices from a day on."""
        return Granted(exemption_id, self.control, self.scope, self.subject, first_day, self.last_day)


@dataclass(frozen=True, slots=True)
class By:
    """Who decides: a person, and the name of the token with which the API was asked, if it was."""

    name: str
    token: str | None = None


async def request(tx: Transaction, asked: Asked, terms: Terms, now: float, token: str | None = None) -> str:
    """Write down what is asked for and return the exemption's id; nothing is exempt before it is approved."""
    day = await fleet_day(tx, now)
    begin, last = asked.first_day.isoformat() if asked.first_day else None, asked.last_day.isoformat()
    if begin is not None and begin < day:
        raise ExemptionError(f"An exemption cannot begin on {begin}, which is over: it is {day}. Days before stay.")
    first = begin or day
    if last < first:
        raise ExemptionError(f"An exemption until {last} would end before it begins on {first}.")
    _check_length(first, last, terms)
    await _check_control(tx, asked.control, terms)
    subject, device_no = await _subject(tx, asked)
    await _check_overlap(tx, asked, subject, (first, last))
    exemption_id = secrets.token_hex(8)
    await tx.run(
        "INSERT INTO muster_exemptions (exemption_id, control, scope, subject, device_no, state, asked_from, first_day,"
        " last_day, reason, risk, compensating_control, link, requested_by, requested_at, request_token)"
        " VALUES (?, ?, ?, ?, ?, 'requested', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(exemption_id, asked.control, asked.scope, subject, device_no, begin, first, last),
            _text("reason", asked.reason),
            *(_optional("risk", asked.risk), _optional("compensating control", asked.compensating_control)),
            *(_link(asked.link), _name(asked.requested_by), iso(now), token),
        ),
    )
    await tx.seq()
    return exemption_id


async def approve(tx: Transaction, exemption_id: str, by: By, terms: Terms, now: float) -> str:
    """Put into force what was asked for, from today on or from a later day that was asked for; returns its id.

    Raises ``ExemptionError`` for one's own request, and for one whose days are over.
    """
    found = await _open(tx, exemption_id)
    day, last = await fleet_day(tx, now), found.last_day
    await refuse_same(tx, by, found.requested_by, found.request_token)
    first = max(found.first_day, day)
    if last < first:
        raise ExemptionError(f"{exemption_id} was to end on {last}, which is over: reject it, and ask for another.")
    _check_length(first, last, terms)
    await tx.run(
        "UPDATE muster_exemptions SET state = 'approved', first_day = ?, approved_by = ?, granted_at = ?,"
        " decision_token = ? WHERE exemption_id = ?",
        (first, _name(by.name), iso(now), by.token, exemption_id),
    )
    granted = found.granted(exemption_id, first)
    await cover(tx, granted, await devices_of(tx, granted.scope, granted.subject), day)
    await tx.seq()
    return exemption_id


async def reject(tx: Transaction, exemption_id: str, by: By, reason: str, now: float) -> str:
    """Decline what was asked for; returns its id. Anybody may, the requester too."""
    await _open(tx, exemption_id)
    await tx.run(
        "UPDATE muster_exemptions SET state = 'rejected', rejected_by = ?, rejected_at = ?, rejection_reason = ?,"
        " decision_token = ? WHERE exemption_id = ?",
        (_name(by.name), iso(now), _text("reason", reason), by.token, exemption_id),
    )
    await tx.seq()
    return exemption_id


async def grant(tx: Transaction, asked: Asked, by: By, terms: Terms, now: float) -> str:
    """Ask and approve at once; returns the exemption's id."""
    exemption_id = await request(tx, asked, terms, now, by.token)
    return await approve(tx, exemption_id, by, terms, now)


async def revoke(tx: Transaction, exemption_id: str, by: By, reason: str, now: float) -> str:
    """End an approved exemption: it covers nothing from today on, and the days before stay exempt; returns its id."""
    found = await _found(tx, exemption_id)
    day, last = await fleet_day(tx, now), found.last_day
    if found.state != "approved":
        raise ExemptionError(f"{exemption_id} is {found.state}: only an approved exemption can be revoked.")
    if last < day:
        raise ExemptionError(f"{exemption_id} ended on {last}: there is nothing left to revoke.")
    await tx.run(
        "UPDATE muster_exemptions SET state = 'revoked', revoked_by = ?, revoked_at = ?, revoked_day = ?,"
        " revocation_reason = ?, revocation_token = ? WHERE exemption_id = ?",
        (_name(by.name), iso(now), day, _text("reason", reason), by.token, exemption_id),
    )
    granted = found.granted(exemption_id, found.first_day)
    await uncover(tx, granted, await covered_from(tx, exemption_id, day), day)
    await tx.seq()
    return exemption_id


async def refuse_same(tx: Transaction, by: By, requested_by: str, request_token: str | None) -> None:
    """Raise ``ExemptionError`` where approver and requester are one, as they are spelt or as the roster knows them."""
    if by.token is not None and by.token == request_token:
        raise ExemptionError(f"The token {by.token!r} asked for this exemption: another one has to approve it.")
    asked = await _identities(tx, requested_by)
    if request_token is not None:  # whoever holds it may have asked in another's name
        asked |= await _identities(tx, request_token)
    if await _identities(tx, by.name) & asked:
        raise ExemptionError(
            f"{requested_by} asked for this exemption: somebody other than the requester has to approve it."
        )


async def _identities(tx: Transaction, name: str) -> set[str]:
    """Every key that a name goes by: its own, and those of whoever the roster has under it."""
    key = person_key(_name(name))
    people = await tx.rows("SELECT person, name, email FROM muster_people WHERE erased_at IS NULL")
    known = ({person_key(said) for said in row} - {""} for row in people)
    return {key}.union(*(keys for keys in known if key in keys))


async def _open(tx: Transaction, exemption_id: str) -> _Stored:
    found = await _found(tx, exemption_id)
    if found.state != "requested":
        raise ExemptionError(f"{exemption_id} has been decided: it is {found.state}.")
    return found


async def _found(tx: Transaction, exemption_id: str) -> _Stored:
    found = await tx.row(
        f"SELECT {', '.join(_Stored._fields)} FROM muster_exemptions WHERE exemption_id = ?",
        (exemption_id,),
    )
    if found is None:
        raise NoExemptionError(f"There is no exemption {exemption_id!r}: 'muster exempt list' shows them.")
    return _Stored(*found)


async def _subject(tx: Transaction, asked: Asked) -> tuple[str, int | None]:
    """The subject as it is kept, and a device's number. Raises ``ExemptionError`` for one that is not known."""
    said = clean_text(asked.subject).strip()
    if asked.scope == DEVICE:
        try:
            device_no, device_id = await one_device(tx, said)
        except StoreError as error:
            raise ExemptionError(str(error)) from error
        return device_id, device_no
    if asked.scope == TAG:
        if not said or "," in said or not await devices_of(tx, TAG, said.lower()):
            raise ExemptionError(f"No device has the tag {said!r}: 'muster device tag DEVICE +TAG' gives it one.")
        return said.lower(), None
    if asked.scope == PERSON:
        known = await tx.row(
            "SELECT person FROM muster_people WHERE (person_key = ? OR email_key = ?) AND erased_at IS NULL"
            " ORDER BY missing_since IS NOT NULL, person",
            (said.lower(), said.lower()),
        )
        if known is None and (not said or not await devices_of(tx, PERSON, said)):
            raise ExemptionError(f"{said!r} is neither in the roster nor owns a device: 'muster roster list'.")
        return (known[0] if known else said), None
    raise ExemptionError(f"An exemption is for a {', a '.join(SCOPES)}, not {asked.scope!r}.")


async def _check_control(tx: Transaction, control: str, terms: Terms) -> None:
    if control in terms.controls:
        return
    control = clean_text(control)
    if await tx.row("SELECT 1 FROM muster_controls WHERE control = ?", (control,)) is None:
        raise ExemptionError(f"There is no control {control!r}: 'muster packs list' shows those there are.")


async def _check_overlap(tx: Transaction, asked: Asked, subject: str, days: tuple[str, str]) -> None:
    other = await tx.row(
        "SELECT exemption_id, state, first_day, last_day FROM muster_exemptions WHERE control = ? AND scope = ?"
        " AND LOWER(subject) = LOWER(?) AND state IN ('requested', 'approved') AND first_day <= ? AND last_day >= ?"
        " ORDER BY last_day DESC, exemption_id",
        (asked.control, asked.scope, subject, days[1], days[0]),
    )
    if other:
        begin = shifted(other[3], 1)
        way = f"let this one begin on {begin}" if other[1] == "approved" else "decide on it first"
        raise ExemptionError(
            f"{other[0]} is {other[1]} for the same from {other[2]} to {other[3]}, which overlaps: {way}."
        )


def _check_length(first: str, last: str, terms: Terms) -> None:
    days = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    if days > terms.days_max:
        raise ExemptionError(
            f"From {first} to {last} it would last {days} days, more than the {terms.days_max} that exemption_days_max"
            " of fleet.yaml allows."
        )


def _name(name: str) -> str:
    text = " ".join(clean_text(name).split())
    if not person_key(text):
        raise ExemptionError("A requester or approver has to have a name.")
    if len(text) > LONGEST_NAME:
        raise ExemptionError(f"A name has at most {LONGEST_NAME} characters.")
    return text


def _text(what: str, said: str) -> str:
    text = clean_text(said).strip()
    if not text:
        raise ExemptionError(f"The {what} is missing.")
    if len(text) > LONGEST_TEXT:
        raise ExemptionError(f"The {what} has more than {LONGEST_TEXT} characters.")
    return text


def _optional(what: str, said: str | None) -> str | None:
    return _text(what, said) if said is not None and said.strip() else None


def _link(said: str | None) -> str | None:
    text = _optional("link", said)
    if text is not None and (not text.lower().startswith(("https://", "http://")) or len(text.split()) > 1):
        raise ExemptionError(f"The link {text[:60]!r} is no address that begins with https:// or http://.")
    return text
