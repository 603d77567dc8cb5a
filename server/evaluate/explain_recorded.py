"""What is recorded beside a verdict: lists, exemptions, revisions, news that waits, and the erasure of the device."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from server.catalog.catalog import Catalog
from server.catalog.controls import PlatformRule
from server.catalog.lists import BUILT_IN
from server.evaluate.explain_subject import Subject
from server.evaluate.explained import Revision, UsedList
from server.evaluate.rules import lists_named
from server.evaluate.verdicts import EXEMPT, Verdict
from server.store.driver import Transaction, dicts
from server.store.news import CONTROL, DEVICE, EVERY_DEVICE, LIST, QUERY


async def used_lists(tx: Transaction, rule: PlatformRule, catalog: Catalog) -> list[UsedList]:
    """The lists that a rule looks things up in, as they are now."""
    used = []
    for name in sorted(lists_named(rule)):
        if (known := catalog.lists.get(name)) is not None:
            used.append(
                UsedList(
                    name=name, title=known.title, as_of=known.as_of, digest=known.digest, entries=len(known.entries)
                )
            )
        elif name in BUILT_IN:
            kinds = BUILT_IN[name].filled_from
            last = await tx.row(
                "SELECT imported_at, sha256, file FROM muster_imports"
                f" WHERE kind IN ({', '.join('?' * len(kinds))}) ORDER BY import_no DESC LIMIT 1",
                kinds,
            )
            at, digest, file = last or ("", "", "")
            of = f" from the import of {file}" if last else f": no {' or '.join(kinds)} imported yet"
            used.append(UsedList(name=name, title=f"kept by Muster{of}", as_of=at, digest=digest[:16], entries=None))
    return used


async def exemptions_of(tx: Transaction, subject: Subject) -> list[dict[str, Any]]:
    """The exemptions that cover the device on the day, where the verdict is exempt."""
    if subject.verdict.status != EXEMPT:
        return []
    return await dicts(
        tx,
        "SELECT e.exemption_id, e.scope, e.subject, x.first_day, x.last_day, e.reason, e.risk, e.compensating_control,"
        " e.link, e.requested_by, e.requested_at, e.approved_by, e.granted_at, e.revoked_by, e.revoked_day"
        " FROM muster_exempted x JOIN muster_exemptions e ON e.exemption_id = x.exemption_id"
        " WHERE x.device_no = ? AND x.control = ? AND x.first_day <= ? AND x.last_day >= ?"
        " ORDER BY x.last_day, x.exemption_id",
        (subject.device.device_no, subject.control, subject.day.day, subject.day.day),
    )


async def revisions_of(tx: Transaction, subject: Subject) -> list[Revision]:
    """The revisions of the day's verdict, in the order they were made."""
    rows = await tx.rows(
        "SELECT revised_at, first_day, last_day, cause, detail, before_status, before_underlying_status, before_lapsed,"
        " before_reason, after_status, after_underlying_status, after_lapsed, after_reason FROM muster_revisions"
        " WHERE control_no = ? AND device_no = ? AND first_day <= ? AND last_day >= ? ORDER BY revised_seq",
        (subject.control_no, subject.device.device_no, subject.day.day, subject.day.day),
    )
    return [
        Revision(
            revised_at=at, first_day=first, last_day=last, cause=cause, detail=detail,
            before=Verdict(*said[:4]) if said[0] else None, after=Verdict(*said[4:]) if said[4] else None,
        )
        for at, first, last, cause, detail, *said in rows
    ]  # fmt: skip


async def pending_news(tx: Transaction, subject: Subject, tables: Sequence[str], lists: Collection[str]) -> list[str]:
    """What was noted of the day since it was judged, of what the verdict rests on: queries by table, and lists."""
    concerned = {(QUERY, table) for table in tables} | {(CONTROL, subject.control), (DEVICE, "")}
    concerned |= {(LIST, kind) for name in lists if name in BUILT_IN for kind in BUILT_IN[name].filled_from}
    numbers, day = (EVERY_DEVICE, subject.device.device_no), subject.day.day
    found = await tx.each(
        "SELECT noted_seq, kind, subject, detail FROM muster_news WHERE kind = ? AND subject = ? AND device_no = ?"
        " AND first_day <= ? AND last_day >= ?",
        [(*about, number, day, day) for about in sorted(concerned) for number in numbers],
    )
    noted = sorted(row for rows in found for row in rows)
    return [detail or f"{kind} {about}".strip() for _, kind, about, detail in noted]


async def erasure_of(tx: Transaction, device_no: int) -> Mapping[str, Any]:
    """The erasure of a device; empty if it was not erased."""
    found = await dicts(
        tx,
        "SELECT requested_at, finished_at, erased_by, reason FROM muster_erasures WHERE device_no = ?",
        (device_no,),
    )
    return found[0] if found else {}
