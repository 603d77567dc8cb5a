"""Frameworks: which controls answer to which criteria of a standard. They point at controls, never the reverse."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from server.catalog.controls import Text
from server.catalog.files import odd_id
from server.catalog.problems import Problem, did_you_mean
from server.catalog.yaml_files import Located, Strict, read_located


class Criterion(Strict):
    """One criterion: what it asks for, in our own words, and which controls answer to it, or why none does."""

    says: Text
    supports: Annotated[list[Text], Field(min_length=1)] | None = None
    """Controls of which a pass is evidence for the criterion, as far as devices can give it."""
    partly: Annotated[dict[Text, Text], Field(min_length=1)] | None = None
    """Controls that show a part of it, each with what it leaves open."""
    none: Text | None = None
    """Why no control of a device can show it."""

    @model_validator(mode="after")
    def _one_answer(self) -> Criterion:
        if (self.none is None) == (not self.supports and not self.partly):
            raise ValueError("give controls (supports, partly) or the reason for none, and not both")
        return self

    @property
    def controls(self) -> list[tuple[str, str]]:
        """Its controls, each with what it leaves open; empty for one that supports the criterion."""
        return [(control, "") for control in self.supports or ()] + list((self.partly or {}).items())


class Framework(Strict):
    """A standard, by its criteria."""

    title: Text
    edition: Text
    """Which edition of it, as its publisher names it."""
    criteria: Annotated[dict[Text, Criterion], Field(min_length=1)]


def read_frameworks(root: Path, controls: Collection[str], problems: list[Problem]) -> dict[str, Framework]:
    """The frameworks of a packs folder, by id; ``controls`` are the ids that they may name."""
    frameworks: dict[str, Framework] = {}
    for path in sorted((root / "frameworks").glob("*.yaml")):
        shown = str(path.relative_to(root))
        if odd := odd_id("framework", path.stem):
            problems.append(Problem(shown, 1, odd))
        located = read_located(path, shown, Framework, problems)
        if located:
            frameworks[path.stem] = located.model
            problems += _odd(located, controls)
    return frameworks


def _odd(located: Located[Framework], controls: Collection[str]) -> Iterator[Problem]:
    for name, criterion in located.model.criteria.items():
        seen: set[str] = set()
        places: list[tuple[str, str | int, str]] = [
            ("supports", at, c) for at, c in enumerate(criterion.supports or ())
        ]
        places += [("partly", control, control) for control in criterion.partly or ()]
        for key, at, control in places:
            place = ("criteria", name, key, at)
            if control in seen:
                yield located.problem(f"{name} names control {control!r} twice", at=place)
            elif control not in controls:
                yield located.problem(f"there is no control {control!r}", did_you_mean(control, controls), at=place)
            seen.add(control)


def supported_by(frameworks: Mapping[str, Framework], control: str) -> dict[str, list[tuple[str, str]]]:
    """The criteria a control answers to, by framework, each with what it leaves open; empty if nothing."""
    found = {
        framework_id: [
            (name, open_)
            for name, criterion in framework.criteria.items()
            for other, open_ in criterion.controls
            if other == control
        ]
        for framework_id, framework in frameworks.items()
    }
    return {framework_id: criteria for framework_id, criteria in found.items() if criteria}
