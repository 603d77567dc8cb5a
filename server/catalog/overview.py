"""What a packs folder holds, for a reader: its controls, and which criteria of which frameworks they answer to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from server.catalog.catalog import Catalog
from server.catalog.frameworks import supported_by


@dataclass(frozen=True, slots=True)
class ControlOverview:
    """A control: how sure its rule is per platform, its cases, the packs that ask it, the criteria it answers to.

    ``criteria`` are by framework; one that it supports only partly has what is left open beside it.
    """

    control: str
    area: str
    title: str
    severity: str
    confidence: dict[str, str]
    cases: dict[str, int]
    packs: list[str]
    criteria: dict[str, list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class CriterionOverview:
    """A criterion and the controls that answer to it, each with what it leaves open; or why none does.

    ``idle`` are those of the controls that are judged nowhere: in no pack, or drafts on every platform.
    """

    criterion: str
    says: str
    supports: list[str]
    partly: dict[str, str]
    none: str
    idle: list[str]


def controls_of(catalog: Catalog) -> list[ControlOverview]:
    """The controls, by area and id."""
    return [
        ControlOverview(
            loaded.control_id,
            loaded.area,
            loaded.control.title,
            loaded.control.severity,
            {str(platform): rule.confidence for platform, rule in sorted(loaded.control.platforms.items())},
            dict(sorted(Counter(str(case.platform) for case in loaded.cases).items())),
            sorted(pack_id for pack_id, pack in catalog.packs.items() if loaded.control_id in pack.controls),
            supported_by(catalog.frameworks, loaded.control_id),
        )
        for loaded in sorted(catalog.controls.values(), key=lambda loaded: (loaded.area, loaded.control_id))
    ]


def criteria_of(catalog: Catalog, framework: str) -> list[CriterionOverview]:
    """The criteria of a framework, in its file's order."""
    judged = {
        loaded.control_id
        for loaded in catalog.judged()
        if any(rule.confidence != "draft" for rule in loaded.control.platforms.values())
    }
    return [
        CriterionOverview(
            name,
            criterion.says,
            list(criterion.supports or ()),
            dict(criterion.partly or {}),
            criterion.none or "",
            [control for control, _ in criterion.controls if control not in judged],
        )
        for name, criterion in catalog.frameworks[framework].criteria.items()
    ]
