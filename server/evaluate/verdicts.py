"""From what is known of a device's answer to a verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PASS, FAIL, STALE, NO_DATA, ERROR, NOT_APPLICABLE, EXEMPT = (
    "pass",
    "fail",
    "stale",
    "no_data",
    "error",
    "not_applicable",
    "exempt",
)
STATUSES = (PASS, FAIL, STALE, NO_DATA, ERROR, NOT_APPLICABLE, EXEMPT)

REASONS = {
    "rows_break_rule": "at least one row does not satisfy the rule",
    "rows_match": "at least one row is of the kind that must not be there",
    "no_row_matches": "no row is of the kind that must be there",
    "rule_not_met": "the rows do not together make up what the rule asks for",
    "condition": "no row shows that the control applies to the device",
    "empty": "the answer had no rows, and the control says what that means",
    "rule_broken": "the rule cannot be applied to the query's columns as they are stored",
    "undecided": "a row that cannot be judged stands in the way, or the rows do not decide",
    "query_failed": "osquery said that the query failed",
    "denylisted": "osquery has denylisted the query",
    "too_old": "the last answer is from before the days that count",
    "incomplete": "a part of the differential that led here is missing",
    "other_version": "the last answer is to another version of the query than the rule is for",
    "never_answered": "the device never answered this query",
    "platform": "the control has no rule for this platform",
    "not_targeted": "no pack brings the control to the device",
    "not_in_scope": "the device was not yet in scope on that day",
    "new_device": "the device was new on that day, and the fleet's settings let new ones settle first",
}
"""Every reason a verdict can carry, with its meaning."""


NO_ROWS, UNDECIDED, OUTSIDE, BREAKS, HOLDS = range(5)
"""What a rule of several queries says of a device's rows: there are none; they do not decide; the control does not
apply; no; yes."""


class Verdict(NamedTuple):
    """What is kept of a device, a control and a day."""

    status: str
    underlying_status: str
    lapsed: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the rows true at an instant: all, those that satisfy the predicate, those that do not, the undecided.

    ``outside`` are the decided ones that do not satisfy ``applies_when``.
    """

    total: int
    holding: int
    breaking: int
    undecided: int
    outside: int = 0

    @classmethod
    def of(cls, total: int, holding: int, undecided: int, outside: int) -> Counts:
        """From what databases count: a row that neither satisfies the predicate nor is undecided breaks it."""
        return cls(total, holding, total - holding - undecided, undecided, outside)


@dataclass(frozen=True, slots=True)
class Heard:
    """The last word of a device on a query before a day's end; empty text for "never"."""

    at: str
    status: str
    version: str
    last_ok: str


def judge_empty(empty: str) -> tuple[str, str | None]:
    """The status and reason of an answer without rows."""
    return empty, None if empty == PASS else "empty"


def judge_rows(counts: Counts, quantifier: str, empty: str) -> tuple[str, str | None]:
    """The status and reason that an answer's rows lead to."""
    if counts.total == 0:
        return judge_empty(empty)
    if counts.outside and counts.outside + counts.undecided == counts.total:
        # A row that cannot be judged might be the one that shows that the control applies.
        return (ERROR, "undecided") if counts.undecided else (NOT_APPLICABLE, "condition")
    if quantifier == "every" and counts.breaking:
        return FAIL, "rows_break_rule"
    if quantifier == "none" and counts.holding:
        return FAIL, "rows_match"
    if quantifier == "any" and counts.holding:
        return PASS, None
    if counts.undecided:
        return ERROR, "undecided"
    return (FAIL, "no_row_matches") if quantifier == "any" else (PASS, None)


def judge_silence(heard: Heard, version: str, fresh_from: str) -> tuple[str, str] | None:
    """The status of a device whose rows must not be judged, or None where they may.

    ``fresh_from`` is the instant from which on an answer counts for the day.
    """
    if not heard.at:
        return NO_DATA, "never_answered"
    if heard.at < fresh_from:
        return (STALE, "too_old") if heard.last_ok else (NO_DATA, "never_answered")
    if heard.status == "error":
        return ERROR, "query_failed"
    if heard.status == "denylisted":
        return ERROR, "denylisted"
    if heard.status == "incomplete":
        return STALE, "incomplete"
    if heard.version != version:
        return STALE, "other_version"
    return None


SILENCES: tuple[tuple[str, str] | None, ...] = (
    None,
    (NO_DATA, "never_answered"),
    (STALE, "too_old"),
    (ERROR, "query_failed"),
    (ERROR, "denylisted"),
    (STALE, "incomplete"),
    (STALE, "other_version"),
)
"""What ``judge_silence`` can say, in the order in which databases number it; of queries that are judged together the
first counts: what is least known of a device comes before what is known to be wrong."""


def judge_code(code: int, empty: str) -> tuple[str, str | None]:
    """The status and reason that a rule of several queries leads to, by what it says of a device's rows."""
    if code == NO_ROWS:
        return judge_empty(empty)
    return {
        HOLDS: (PASS, None),
        BREAKS: (FAIL, "rule_not_met"),
        OUTSIDE: (NOT_APPLICABLE, "condition"),
        UNDECIDED: (ERROR, "undecided"),
    }[code]
