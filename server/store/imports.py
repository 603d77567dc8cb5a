"""What files of people and assets changed, and when: recorded with every import that changed anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.normalize.calendar import ALWAYS
from server.normalize.times import iso
from server.store.driver import Transaction
from server.store.scope import note_list

ADDED, CHANGED, MISSING, BACK = "added", "changed", "missing", "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file that is imported: of what kind, its name and digest, who does it and when, and the fleet's day then."""

    kind: str
    file: str
    sha256: str
    by: str
    now: float
    today: str


@dataclass(slots=True)
class Changes:
    """What a file changes: by person or serial the kind of change and what it is of; and from which day it counts."""

    entries: int
    of: dict[str, tuple[str, str]] = field(default_factory=dict)
    since: str | None = None

    def note(self, subject: str, change: str, detail: str = "") -> None:
        """Something changes."""
        self.of[subject] = (change, detail)

    def count_from(self, *days: str | None) -> None:
        """The change counts from the earliest of these days on, and of those before."""
        self.since = min((day for day in (self.since, *days) if day), default=None)

    def counts(self) -> dict[str, int]:
        """How many entries were added, changed and are missing; those that are back count as changed."""
        kinds = [change for change, _ in self.of.values()]
        return {
            "added": kinds.count(ADDED),
            "changed": kinds.count(CHANGED) + kinds.count(BACK),
            "missing": kinds.count(MISSING),
        }


async def record(tx: Transaction, source: Import, changes: Changes) -> str:
    """Record an import and note what it changes as news; returns what it is called.

    That is empty, and nothing is recorded, for the same file as last time that changes nothing.
    """
    last = await tx.row(
        "SELECT sha256 FROM muster_imports WHERE kind = ? ORDER BY import_no DESC LIMIT 1", (source.kind,)
    )
    if not changes.of and last is not None and last[0] == source.sha256:
        return ""
    top = await tx.row("SELECT COALESCE(MAX(import_no), 0) + 1 FROM muster_imports")
    number = int(top[0]) if top else 1
    await tx.insert(
        "muster_imports",
        ("import_no", "kind", "file", "sha256", "imported_at", "imported_by", "entries", "added", "changed", "missing"),
        [
            (
                *(number, source.kind, source.file, source.sha256, iso(source.now), source.by, changes.entries),
                *changes.counts().values(),
            )
        ],
    )
    await tx.insert(
        "muster_import_changes",
        ("import_no", "subject", "change", "detail"),
        [(number, subject, change, detail) for subject, (change, detail) in sorted(changes.of.items())],
    )
    name = f"import {number} of {source.file}"
    if changes.of or last is None:
        # With the first one it is known that nobody else has left, or is registered: that counts for every day.
        since = changes.since if last else ALWAYS
        await note_list(tx, source.kind, since, source.today, name)
    return name


def differences(old: Mapping[str, object], new: Mapping[str, object], told: frozenset[str]) -> str:
    """Which values differ, in a line; of those in ``told`` also from what to what."""
    parts = []
    for name, value in new.items():
        if old[name] == value:
            continue
        parts.append(f"{name} {old[name] or '–'} → {value or '–'}" if name in told else name)
    return ", ".join(parts)
