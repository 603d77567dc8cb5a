"""The models of ``control.yaml`` and ``cases.yaml``."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from server.catalog.rule_sql import queries_named
from server.catalog.yaml_files import Strict

Platform = Literal["darwin", "linux", "windows"]
Text = Annotated[str, Field(min_length=1)]
Position = Annotated[int, Field(ge=0)]
CASE_DAY = date(2026, 9, 21)
"""The day that is judged where a case names none."""


class PlatformRule(Strict):
    """How one platform's answers are judged: exactly one of ``every``, ``none``, ``any`` and ``sql``."""

    query: Text = ""
    """Whose rows are judged; not with ``sql``, which names its queries itself."""
    every: Text | None = None
    none: Text | None = None
    any: Text | None = None
    sql: Text | None = None
    """A SELECT of a condition on all the rows of one device, of one query or several."""
    evidence: Text | None = None
    """With ``sql``, a SELECT of the rows to show."""
    undecided: Text | None = None
    """Rows that cannot be judged."""
    applies_when: Text | None = None
    """Where no row of an answer satisfies it, the control does not apply to the device. With ``sql``, a SELECT."""
    empty: Literal["pass", "fail", "error", "not_applicable"]
    """What an answer without rows means."""
    confidence: Literal["observed", "documented", "draft"]
    """Seen on a machine of that platform, read in its documentation, or neither yet (never judged)."""
    note: str = ""

    @model_validator(mode="after")
    def _one_rule(self) -> PlatformRule:
        if sum(rule is not None for rule in (self.every, self.none, self.any, self.sql)) != 1:
            raise ValueError("give exactly one of every, none, any, sql")
        if self.sql is None:
            if not self.query:
                raise ValueError("key 'query' is missing: say whose rows are judged")
            if self.evidence is not None:
                raise ValueError("evidence goes with sql: the rows that decide every, none and any are known")
            return self
        if self.query:
            raise ValueError("sql goes without query: its SELECT names the queries after FROM and JOIN")
        if self.evidence is None:
            raise ValueError("sql needs evidence: a SELECT of the rows to show")
        if self.undecided is not None:
            raise ValueError("sql goes without undecided: where its condition is null, the rows do not decide")
        return self

    @property
    def quantifier(self) -> Literal["every", "none", "any", "sql"]:
        """Which of the four the rule is."""
        if self.sql is not None:
            return "sql"
        if self.every is not None:
            return "every"
        return "none" if self.none is not None else "any"

    @property
    def predicate(self) -> str:
        """The rule's condition on a row; of ``sql``, its SELECT."""
        return self.every or self.none or self.any or self.sql or ""

    @property
    def conditions(self) -> dict[str, str]:
        """Its conditions, by the keys they stand under; that of the rule itself comes first."""
        found = {self.quantifier: self.predicate, "undecided": self.undecided, "applies_when": self.applies_when}
        return {key: text for key, text in found.items() if text}

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries whose answers decide."""
        return (self.query,) if self.sql is None else queries_named(*self.conditions.values())


class Control(Strict):
    """A good state a device is held to."""

    title: Text
    """Names the good state."""
    why: Text
    severity: Literal["low", "medium", "high", "critical"]
    fresh_within_days: Annotated[int, Field(ge=1, le=31)] = 1
    platforms: Annotated[dict[Platform, PlatformRule], Field(min_length=1)]
    remediation: Annotated[dict[Platform, Text], Field(min_length=1)]
    """What the device's owner does, per platform."""
    limits: Text
    """What a pass does not show."""

    def rule(self, platform: str) -> PlatformRule | None:
        """The rule of a platform; None where the control has none for it, or there is no such platform."""
        return next((rule for name, rule in self.platforms.items() if name == platform), None)

    def judging_rule(self, platform: str) -> PlatformRule | None:
        """The rule by which devices of a platform are judged: a draft never judges."""
        rule = self.rule(platform)
        return None if rule is None or rule.confidence == "draft" else rule


def _as_day(value: Any) -> Any:
    """A day as YAML reads it, or the same in quotes."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


Day = Annotated[date, BeforeValidator(_as_day)]


class Case(Strict):
    """Rows as osquery sends them, and the verdict they lead to."""

    name: Text
    platform: Platform
    rows: list[dict[str, str]] = Field(default_factory=list)
    """Every column of the query, every value a text, "" for null."""
    rows_of: dict[str, list[dict[str, str]]] = Field(default_factory=dict)
    """Of a rule of the kind ``sql``, the rows of each of its queries."""
    day: Day = CASE_DAY
    """The day that is judged; the rows are sent at its noon, UTC."""
    lists: dict[str, list[Annotated[list[str], Field(min_length=1)]]] = Field(default_factory=dict)
    """Entries of the lists that Muster fills, as of that day; those that are not given are empty."""
    status: Literal["pass", "fail", "error", "not_applicable"]
    reason: Text | None = None
    evidence: list[Position] | None = None
    """The rows that decide, counted from 0."""
    evidence_rows: list[dict[str, str | int | float | None]] | None = None
    """Of a rule of the kind ``sql``, the rows that its evidence gives, in any order."""

    @model_validator(mode="after")
    def _one_answer(self) -> Case:
        if len({"rows", "rows_of"} & self.model_fields_set) != 1:
            raise ValueError("give rows or, for a rule of the kind sql, rows_of")
        if (self.evidence is not None and self.rows_of) or (self.evidence_rows is not None and not self.rows_of):
            raise ValueError("evidence goes with rows, evidence_rows with rows_of")
        return self

    def answers(self, rule: PlatformRule) -> dict[str, list[dict[str, str]]]:
        """The rows of each query that a rule judges."""
        return {rule.query: self.rows} if rule.sql is None else self.rows_of

    @property
    def empty(self) -> bool:
        """Whether the device answers without a row."""
        return not self.rows and not any(self.rows_of.values())


class Cases(Strict):
    """``cases.yaml``."""

    cases: Annotated[list[Case], Field(min_length=1)]
