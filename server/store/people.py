"""The roster: who works here, from when to when, with which accounts, keys and devices."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from server.catalog.people import Person
from server.normalize.times import iso
from server.store.calendar import fleet_day
from server.store.driver import StoreError, Transaction, dicts
from server.store.erase import ERASED, blank_person
from server.store.exemptions import follow
from server.store.imports import ADDED, BACK, CHANGED, MISSING, Changes, Import, differences, record
from server.store.scope import note_list

_DAYS = ("start", "notice", "last_day")
_OWN = ("name", "email", *_DAYS)
_KINDS = {"account": "accounts", "serial": "devices", "key": "keys", "access": "access_disabled"}


async def plan_people(tx: Transaction, people: Sequence[Person]) -> Changes:
    """What a file of people changes; nothing is written."""
    known, facts = await _known(tx), await _facts(tx)
    changes = Changes(len(people))
    for person in people:
        old = known.pop(person.person, None)
        if old is None:
            changes.note(person.person, ADDED)
            changes.count_from(person.last_day)
            continue
        detail = differences({**old, **facts.get(person.person, _NO_FACTS)}, _values(person), frozenset(_DAYS))
        if detail or old["missing_since"]:
            changes.note(person.person, BACK if old["missing_since"] else CHANGED, detail)
        if detail:
            changes.count_from(old["last_day"], person.last_day)
    for name, old in known.items():
        if old["missing_since"] is None:
            changes.note(name, MISSING)
    return changes


async def import_people(tx: Transaction, source: Import, people: Sequence[Person]) -> Changes:
    """Bring the roster to what a file says, all of it; people it does not name any more stay, and are marked.

    Days are judged again from the earliest last day that is new or was changed. The same file again changes nothing.
    """
    changes = await plan_people(tx, people)
    if not await record(tx, source, changes):
        return changes
    at = iso(source.now)
    written = [person for person in people if person.person in changes.of]
    columns = ("person_key", *_OWN, "email_key")
    updates = ", ".join(f"{column} = excluded.{column}" for column in columns)
    await tx.many(
        f"INSERT INTO muster_people (person, {', '.join(columns)}, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (person) DO UPDATE SET {updates}, missing_since = NULL",
        [
            (p.person, p.person.lower(), p.name, p.email, p.start, p.notice, p.last_day, p.email.lower(), at)
            for p in written
        ],
    )
    await tx.many("DELETE FROM muster_person_facts WHERE person = ?", [(person.person,) for person in written])
    await tx.insert(
        "muster_person_facts",
        ("person", "kind", "value", "says"),
        [
            (person.person, kind, value, says)
            for person in written
            for kind in _KINDS
            for value, says in _facts_of(person)[_KINDS[kind]].items()
        ],
    )
    gone = [(at, person) for person, (change, _) in changes.of.items() if change == MISSING]
    await tx.many("UPDATE muster_people SET missing_since = ? WHERE person = ?", gone)
    await follow(tx, None, source.now)
    return changes


async def list_people(tx: Transaction, today: str) -> list[dict[str, Any]]:
    """Everybody, with what became of them: ``state`` is active, leaving, departed, missing or erased."""
    return await dicts(
        tx,
        "SELECT p.*, CASE WHEN p.erased_at IS NOT NULL THEN 'erased' WHEN p.last_day < ? THEN 'departed'"
        " WHEN p.last_day IS NOT NULL THEN 'leaving' WHEN p.missing_since IS NOT NULL THEN 'missing'"
        " ELSE 'active' END AS state FROM people p ORDER BY p.person",
        (today,),
    )


async def show_person(tx: Transaction, person: str) -> dict[str, Any]:
    """One person with their accounts, devices, keys, closed accesses, and what imports changed of them.

    Raises ``StoreError`` where there is none of that id.
    """
    found = await dicts(tx, "SELECT * FROM people WHERE person = ?", (person,))
    if not found:
        raise StoreError(f"There is no person {person!r}: 'muster roster list' shows them.")
    facts = (await _facts(tx, person)).get(person, _NO_FACTS)
    stone = await tx.row("SELECT erased_by, erased_why FROM muster_people WHERE person = ?", (person,))
    changes = await dicts(
        tx,
        "SELECT i.imported_at, i.imported_by, i.file, c.change, c.detail FROM import_changes c"
        " JOIN imports i ON i.import_no = c.import_no WHERE i.kind = 'people' AND c.subject = ? ORDER BY i.import_no",
        (person,),
    )
    shown = found[0]
    if shown["erased_at"] and stone:
        shown |= {"erased_by": stone[0], "erased_why": stone[1]}
    return {"person": shown, **facts, "changes": changes}


async def erase_person(tx: Transaction, person: str, by: str, why: str, now: float) -> str:
    """Take away what is personal of somebody; returns the random name that stands in place of theirs.

    What stays: that there was somebody, who erased them, when and why. A file that still names them adds them again.
    """
    found = await tx.row("SELECT email_key, erased_at, name FROM muster_people WHERE person = ?", (person,))
    if found is None:
        raise StoreError(f"There is no person {person!r}: 'muster roster list' shows them.")
    if found[1] is not None:
        return person
    stone, owners = f"erased-{secrets.token_hex(6)}", sorted({person.lower(), found[0]} - {""})
    await tx.run(
        "UPDATE muster_people SET person = ?, person_key = ?, name = ?, email = '', email_key = '', start = NULL,"
        " notice = NULL, last_day = NULL, missing_since = NULL, erased_at = ?, erased_by = ?, erased_why = ?"
        " WHERE person = ?",
        (stone, stone, ERASED, iso(now), by, why, person),
    )
    await tx.run("DELETE FROM muster_person_facts WHERE person = ?", (person,))
    await tx.run(
        "DELETE FROM muster_import_changes WHERE subject = ?"
        " AND import_no IN (SELECT import_no FROM muster_imports WHERE kind = 'people')",
        (person,),
    )
    marks = ", ".join("?" * len(owners))
    for table in ("muster_assets", "muster_devices"):
        written = await tx.rows(f"SELECT DISTINCT owner FROM {table} WHERE owner <> ''")
        theirs = [(ERASED, owner) for (owner,) in written if owner.lower() in owners]
        await tx.many(f"UPDATE {table} SET owner = ? WHERE owner = ?", theirs)
    await tx.run(
        f"UPDATE muster_asset_history SET owner = ?, owner_key = ? WHERE owner_key IN ({marks})",
        (ERASED, ERASED, *owners),
    )
    await blank_person(tx, {person, found[0], found[2]}, stone)
    await follow(tx, None, now)
    await note_list(tx, "people", None, await fleet_day(tx, now), "erasure of a person")
    return stone


_NO_FACTS: dict[str, dict[str, str]] = {name: {} for name in _KINDS.values()}


def _facts_of(person: Person) -> dict[str, dict[str, str]]:
    return {
        "accounts": dict.fromkeys(person.accounts, ""),
        "devices": dict(person.serials),
        "keys": dict(person.keys),
        "access_disabled": dict(person.access_disabled),
    }


def _values(person: Person) -> dict[str, object]:
    return {**{name: getattr(person, name) for name in _OWN}, **_facts_of(person)}


async def _known(tx: Transaction) -> dict[str, dict[str, Any]]:
    names = (*_OWN, "missing_since")
    rows = await tx.rows(f"SELECT person, {', '.join(names)} FROM muster_people WHERE erased_at IS NULL")
    return {person: dict(zip(names, values, strict=True)) for person, *values in rows}


async def _facts(tx: Transaction, person: str | None = None) -> dict[str, dict[str, dict[str, str]]]:
    """By person the accounts, devices, keys and closed accesses; of everybody, or of one."""
    which, values = ("", ()) if person is None else (" WHERE person = ?", (person,))
    found: dict[str, dict[str, dict[str, str]]] = {}
    for who, kind, value, says in await tx.rows(
        f"SELECT person, kind, value, says FROM muster_person_facts{which} ORDER BY person, kind, value", values
    ):
        found.setdefault(who, {name: {} for name in _KINDS.values()})[_KINDS[kind]][value] = says
    return found
