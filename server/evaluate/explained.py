"""What an explanation is made of: the facts behind one verdict. Times are ISO-8601, UTC; days YYYY-MM-DD. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.evaluate.evidence import Evidence
from server.evaluate.runs import VerdictRun
from server.evaluate.verdicts import Counts, Verdict
from server.store.applications import Application
from server.store.driver import StoreError


class ExplainError(StoreError):
    """There is nothing to explain. ``unknown``: what was named is not there; else the question makes no sense.

    ``candidates`` are the devices that may be meant, where there are several.
    """

    def __init__(self, message: str, *, unknown: bool = True, candidates: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.unknown = unknown
        self.candidates = candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedDevice:
    """The device; empty texts for what is not known of it, or was erased."""

    device_no: int
    device_id: str
    hostname: str
    platform: str
    serial: str
    osquery_version: str
    tags: str
    in_scope_from: str
    enrolled_at: str
    last_seen_at: str
    retired_at: str | None
    erased_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedDay:
    """The day, and the judged days of the control beside it."""

    day: str
    starts_at: str
    ends_at: str
    zone: str
    state: str
    closed_at: str | None
    previous: str | None
    following: str | None
    newest: str

    @property
    def provisional(self) -> bool:
        """Whether its verdicts may still change without a revision."""
        return self.state == "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedVerdict:
    """The verdict of a device, a control and a day, and those beside it."""

    device: ExplainedDevice
    control: str
    title: str
    severity: str
    day: ExplainedDay
    run: VerdictRun
    """The days around this one with the same verdict."""
    status_since: str
    """The first of the days on end with the same status, for whatever reason."""
    before: VerdictRun | None
    """What came before these days."""
    next: VerdictRun | None
    """What came after the run; None while it goes on."""

    @property
    def verdict(self) -> Verdict:
        """The verdict that is explained."""
        return self.run.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBy:
    """The packs of a verdict. ``exact``: their rule has the very version that was written down when it was judged.

    ``application`` is None for packs that were never applied; ``problem`` says why they cannot be read.
    """

    rule_version: str
    evaluated_at: str
    canary: bool
    application: Application | None
    exact: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedQuery:
    """A query that the rule judges, in the version it is for; ``interval`` is in seconds, None where no pack asks."""

    query: str
    version: str
    interval: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRule:
    """The rule of the device's platform."""

    queries: Sequence[ExplainedQuery]
    quantifier: str
    condition: str
    undecided: str | None
    applies_when: str | None
    empty: str
    confidence: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedList:
    """A list that the rule looks things up in. Of one that Muster keeps itself: the newest import it is made of."""

    name: str
    title: str
    as_of: str
    digest: str
    entries: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The last word of the device on a query before the day's end, within the stretch of such words around it.

    It counts from ``fresh_from`` on. ``exact`` is False where of that stretch not every instant is kept.
    """

    query: ExplainedQuery
    at: str
    exact: bool
    status: str
    version: str
    message: str | None
    basis: str
    approximate: bool
    first_at: str
    last_at: str
    fresh_from: str
    next_expected_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What else was heard of the device on the day: queries it answered, lines of its log, and the last instant."""

    queries: int
    status_logs: int
    last_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingAnswer:
    """An answer that is not there, or does not count.

    ``scheduled``: whether the device's own schedule had the query in the version wanted (None: not told);
    ``conditional``: whether packs ask for it only where their discovery finds something.
    """

    query: ExplainedQuery
    last_answer_at: str | None
    next_answer_at: str | None
    answered_version: str | None
    wanted_since: str | None
    asked: bool
    conditional: bool
    scheduled: bool | None
    denylisted: bool
    asked_again: Sequence[Mapping[str, Any]]
    """Distributed queries for the answer of that day: why, by whom, when, and what came of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What is known of the device where answers are missing.

    ``config`` is by the hash that the device told last before the day's end: ``proven`` to be that of the packs it is
    judged by, ``other``, or ``not told``. It told its schedule at ``schedule_at``. What it was served is of now.
    """

    answers: Sequence[MissingAnswer]
    presence: Presence
    served_number: int | None
    served_since: str | None
    config: str
    schedule_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """An answer within the day at which the rule was broken, and the next at which it was not; the rows then."""

    at: str
    until: str | None
    reason: str | None
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A verdict of the day, when it was closed already, became another."""

    revised_at: str
    first_day: str
    last_day: str
    before: Verdict | None
    after: Verdict | None
    cause: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(ExplainedVerdict):
    """Why a device has its verdict of a control on a day."""

    judged_by: JudgedBy
    rule: ExplainedRule | None = None
    packs: Sequence[tuple[str, bool]] = ()
    """The packs that bring the control to the platform, and whether they reach the device."""
    fresh_within_days: int = 1
    grace_days: int = 0
    """For how many days the fleet's settings let new devices be."""
    lists: Sequence[UsedList] = ()
    observations: Sequence[Observation] = ()
    """The last words on the rule's queries; of one never answered there is none."""
    evidence: Evidence | None = None
    counts: Counts | None = None
    """How the rows true at the day's end stand to the rule, where they were judged at all."""
    lapses: Sequence[Lapse] = ()
    missing: Missing | None = None
    exemptions: Sequence[Mapping[str, Any]] = ()
    revisions: Sequence[Revision] = ()
    pending: Sequence[str] = ()
    """What came since that may change the verdict, and has not been judged yet."""
    as_stored_now: Verdict | None = None
    """What the stored rows lead to now, where that is not what was said then."""
    rows_kept_from: str = ""
    """Nothing is deleted from this instant on; empty where nothing ever was."""
    erasure: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    remediation: str = ""
    limits: str = ""

    @property
    def rows_deleted(self) -> bool:
        """Whether rows that the day rests on may have been deleted for their age, or with the device."""
        return bool(self.erasure) or self.day.starts_at < self.rows_kept_from
