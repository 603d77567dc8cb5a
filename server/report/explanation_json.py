"""An explanation as plain values for a program: keys are called as the columns of the public tables are. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from server.evaluate.evidence import Evidence
from server.evaluate.explained import Explanation, Revision
from server.evaluate.runs import VerdictRun
from server.evaluate.verdicts import REASONS, Verdict
from server.report import explanation as words


def as_json(it: Explanation) -> dict[str, Any]:
    """Everything that is known, and ``words``: the same in sentences."""
    device, verdict = asdict(it.device), it.verdict
    del device["device_no"]
    return {
        "device": device,
        "control": {
            "control": it.control, "title": it.title, "severity": it.severity, "why": it.why, "limits": it.limits,
            "remediation": it.remediation, "fresh_within_days": it.fresh_within_days,
        },
        "day": asdict(it.day) | {"provisional": it.day.provisional},
        "verdict": verdict._asdict() | {
            "reason_text": REASONS.get(verdict.reason, verdict.reason) if verdict.reason else None,
            "since_day": it.run.first_day, "last_day": it.run.last_day, "status_since_day": it.status_since,
        },
        "before": _run(it.before),
        "next": _run(it.next),
        "judged_by": asdict(it.judged_by),
        "packs": [{"pack": pack, "reaches": reaches} for pack, reaches in it.packs],
        "rule": asdict(it.rule) if it.rule else None,
        "lists": [asdict(used) for used in it.lists],
        "observations": [asdict(said) for said in it.observations],
        "counts": asdict(it.counts) if it.counts else None,
        "rows": _evidence(it.evidence),
        "lapses": [
            {"at": lapse.at, "until": lapse.until, "reason": lapse.reason, "rows": _evidence(lapse.evidence)}
            for lapse in it.lapses
        ],
        "missing": asdict(it.missing) if it.missing else None,
        "exemptions": list(it.exemptions),
        "revisions": [_revision(one) for one in it.revisions],
        "pending": list(it.pending),
        "as_stored_now": it.as_stored_now._asdict() if it.as_stored_now else None,
        "rows_deleted": it.rows_deleted,
        "erasure": dict(it.erasure) or None,
        "words": {
            "summary": words.summary(it), "since": words.since(it), "state": words.state(it),
            "parts": [asdict(part) for part in words.parts(it)],
        },
    }  # fmt: skip


def _run(run: VerdictRun | None) -> dict[str, Any] | None:
    return {"first_day": run.first_day, "last_day": run.last_day, **run.verdict._asdict()} if run else None


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    rows = [
        {
            "values": {cell.column: cell.value for cell in row.cells},
            "decides": [cell.column for cell in row.cells if cell.decides],
            "valid_from": row.valid_from,
            "valid_to": row.valid_to,
            "looked_up": dict(row.looked_up),
        }
        for row in evidence.rows
    ]
    return {"query": evidence.query, "count": evidence.count, "offset": evidence.offset, "rows": rows}


def _revision(one: Revision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "revised_at": one.revised_at, "first_day": one.first_day, "last_day": one.last_day, "cause": one.cause,
        "detail": one.detail,
    }  # fmt: skip
    for name, verdict in (("before", one.before), ("after", one.after)):
        told |= {f"{name}_{key}": getattr(verdict, key) if verdict else None for key in Verdict._fields}
    return told
