"""The people of a fleet, as a file of the personnel department tells them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.catalog.table_files import Columns, FileRow, TableFile, read_table, refuse_problems, unique
from server.normalize.devices import usable_serial

COLUMNS = Columns(
    required=("person",),
    optional=("name", "email", "start", "notice", "last_day", "access_disabled", "accounts", "devices", "keys"),
    prefixes=("access_disabled_",),
    spellings={"e_mail": "email", "mail": "email", "person_id": "person"},
)
SHARED_ACCOUNTS = frozenset({"root", "administrator", "admin", "guest", "system", "info"})
"""Local parts of e-mail addresses that are nobody's own account; named in ``accounts`` they count."""
_KEY = re.compile(r"(?:^|\s)(?P<blob>AAAA[A-Za-z0-9+/]+={0,2})(?:\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person; days are ``2026-11-24``, instants in UTC.

    ``accounts`` and ``serials`` are in lower case. ``keys`` gives for what osquery tells of an SSH key its fingerprint.
    ``access_disabled`` gives for a system, empty for any, when it was closed to the person.
    """

    person: str
    name: str = ""
    email: str = ""
    start: str | None = None
    notice: str | None = None
    last_day: str | None = None
    accounts: Sequence[str] = ()
    serials: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    access_disabled: Mapping[str, str] = field(default_factory=dict)


def read_people(path: Path) -> tuple[TableFile, list[Person]]:
    """Read a file of people. Raises ``CatalogError`` with every problem in it."""
    table = read_table(path, COLUMNS)
    unique(table.rows, lambda row: row.values["person"], "person")
    people = [_person(row, table.columns) for row in table.rows]
    refuse_problems(table)
    return table, people


def key_digest(blob: str) -> str:
    """What osquery can tell of a public key: the SHA-256 of its base64 text, in hex."""
    return hashlib.sha256(blob.encode()).hexdigest()


def _person(row: FileRow, columns: frozenset[str]) -> Person:
    email = row.text("email", 320)
    if not row.text("person"):
        row.problem("person", "empty", "it is what tells a person from others, in this file and the next")
    if email and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        row.problem("email", f"{email[:60]!r} is no e-mail address")
    start, last_day = row.day("start"), row.day("last_day")
    if start and last_day and last_day < start:
        row.problem("last_day", f"{last_day} is before start, {start}")
    disabled = {
        column.removeprefix("access_disabled").removeprefix("_"): row.instant(column)
        for column in sorted(columns)
        if column.startswith("access_disabled")
    }
    return Person(
        person=row.text("person"),
        name=row.text("name"),
        email=email,
        start=start,
        notice=row.day("notice"),
        last_day=last_day,
        accounts=_accounts(row, email),
        serials=_serials(row),
        keys=_keys(row),
        access_disabled={system: at for system, at in disabled.items() if at is not None},
    )


def _accounts(row: FileRow, email: str) -> list[str]:
    named = [_account(name) for name in row.many("accounts", r";\s")]
    if not named and email:
        own = _account(email)
        named = [] if own in SHARED_ACCOUNTS else [own]
    return sorted({name for name in named if name})


def _account(name: str) -> str:
    r"""``CORP\Kim`` and ``kim@example.com`` as ``kim``: what a device calls it."""
    return name.rpartition("\\")[2].partition("@")[0].lower()[:255]


def _serials(row: FileRow) -> dict[str, str]:
    serials: dict[str, str] = {}
    for serial in row.many("devices", ";"):
        if not usable_serial(serial):
            row.problem("devices", f"{serial[:60]!r} is a placeholder that many machines have, no serial")
        serials[usable_serial(serial)[:255]] = serial[:255]
    return serials


def _keys(row: FileRow) -> dict[str, str]:
    keys: dict[str, str] = {}
    for written in row.many("keys", ";\n"):
        found = _KEY.search(written)
        try:
            raw = base64.b64decode(found["blob"], validate=True) if found else b""
        except binascii.Error:
            raw = b""
        if found and raw:
            fingerprint = base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
            keys[key_digest(found["blob"])] = f"SHA256:{fingerprint}"
        elif written.startswith("SHA256:"):
            row.problem(
                "keys",
                f"{written[:60]!r} is a fingerprint, which osquery cannot tell of a key on a device",
                "give the public key: ssh-ed25519 AAAA…",
            )
        else:
            row.problem("keys", f"{written[:30]!r} is no public key", "give it as in a file ….pub")
    return keys
