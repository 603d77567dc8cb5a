"""The models of ``control.yaml`` and ``cases.yaml``."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from server.catalog.yaml_files import Strict

Platform = Literal["darwin", "linux", "windows"]
Text = Annotated[str, Field(min_length=1)]
Position = Annotated[int, Field(ge=0)]
CASE_DAY = date(2026, 9, 21)
"""The day that is judged where a case names none."""


class PlatformRule(Strict):
    """How one platform's answer is judged: exactly one of ``every``, ``none``, ``any``."""

    query: Text
    every: Text | None = None
    none: Text | None = None
    any: Text | None = None
    undecided: Text | None = None
    """Rows that cannot be judged."""
    applies_when: Text | None = None
    """Where no row of an answer satisfies it, the control does not apply to the device."""
    empty: Literal["pass", "fail", "error", "not_applicable"]
    """What an answer without rows means."""
    confidence: Literal["observed", "documented", "draft"]
    """Seen on a machine of that platform, read in its documentation, or neither yet (never judged)."""
    note: str = ""

    @model_validator(mode="after")
    def _one_rule(self) -> PlatformRule:
        if sum(rule is not None for rule in (self.every, self.none, self.any)) != 1:
            raise ValueError("give exactly one of every, none, any")
        return self

    @property
    def quantifier(self) -> Literal["every", "none", "any"]:
        """Which of the three the rule is."""
        if self.every is not None:
            return "every"
        return "none" if self.none is not None else "any"

    @property
    def predicate(self) -> str:
        """The rule's condition on a row."""
        return self.every or self.none or self.any or ""


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
    rows: list[dict[str, str]]
    """Every column of the query, every value a text, "" for null."""
    day: Day = CASE_DAY
    """The day that is judged; the rows are sent at its noon, UTC."""
    lists: dict[str, list[Annotated[list[str], Field(min_length=1)]]] = Field(default_factory=dict)
    """Entries of the lists that Muster fills, as of that day; those that are not given are empty."""
    status: Literal["pass", "fail", "error", "not_applicable"]
    reason: Text | None = None
    evidence: list[Position] | None = None
    """The rows that decide, counted from 0."""


class Cases(Strict):
    """``cases.yaml``."""

    cases: Annotated[list[Case], Field(min_length=1)]
