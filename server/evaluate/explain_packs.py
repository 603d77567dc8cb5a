"""By which packs a verdict was given, as far as that can be told and they can still be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.problems import CatalogError
from server.evaluate.evidence import after
from server.evaluate.explain_subject import Subject
from server.evaluate.explained import JudgedBy
from server.evaluate.versions import rule_version
from server.store import applications
from server.store.applications import Application
from server.store.driver import StoreError, Transaction
from server.store.store import Store


@dataclass(frozen=True, slots=True)
class Candidate:
    """Packs that may have judged the device; ``canary``: as one of a canary's devices."""

    application: Application
    canary: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The packs that judged, or the likeliest; no catalog where none can be read, no control where they have none."""

    by: JudgedBy
    catalog: Catalog | None
    loaded: LoadedControl | None


async def candidates(tx: Transaction, subject: Subject) -> Sequence[Candidate]:
    """The applications that may have judged the day: those it is held to, and those in force when it was judged."""
    found: dict[int, Candidate] = {}
    ends_at = subject.day.ends_at
    at_end, when_judged = [await applications.in_force_at(tx, at) for at in (ends_at, after(subject.evaluated_at))]
    # By those of its end it is judged once that is past, unless somebody had it judged by others.
    pairs = [when_judged, at_end] if subject.evaluated_at < ends_at else [at_end, when_judged]
    if subject.application is not None:
        held = await applications.application(tx, subject.application)
        pairs.insert(0, (held, at_end[1] if subject.canary_version is not None else None))
    for base, canary in [*pairs, await applications.in_force_at(tx, "9999")]:
        mine = canary and subject.device.device_no in await applications.members(tx, canary.number, ends_at)
        one = canary if mine else base
        if one is not None:
            found.setdefault(one.number, Candidate(one, canary=bool(mine)))
    return list(found.values())


async def judged_by(store: Store, subject: Subject, among: Sequence[Candidate]) -> Found:
    """The packs whose rule has the version that was written down; else the first that can be read, marked so."""
    problem, nearest = "", None
    for one in among:
        try:
            catalog = await store.catalog_of(one.application.hash)
        except (CatalogError, StoreError) as error:
            problem = problem or f"application {one.application.number} cannot be read any more: {_first(error)}"
            continue
        found = _held(subject, catalog, one.application, canary=one.canary)
        if found.by.exact:
            return found
        if nearest is None or (nearest.loaded is None and found.loaded is not None):
            nearest = found
    part = store.in_force.part_of(subject.device.device_no)
    if not among or not part.number:  # packs of a folder that was never applied
        own = _held(subject, part.catalog, None, canary=part is store.in_force.canary)
        if own.by.exact:
            return own
        nearest = nearest or own
    if nearest is None:
        nearest = Found(_by(subject, None, canary=bool(among and among[0].canary)), None, None)
    return replace(nearest, by=replace(nearest.by, problem=problem))


def _held(subject: Subject, catalog: Catalog, application: Application | None, *, canary: bool) -> Found:
    loaded = catalog.controls.get(subject.control)
    version = rule_version(catalog, loaded) if loaded else ""
    by = _by(subject, application, canary=canary)
    return Found(replace(by, exact=version == by.rule_version), catalog, loaded)


def _by(subject: Subject, application: Application | None, *, canary: bool) -> JudgedBy:
    # Without a version of its own a canary was judged as all others were.
    version = subject.canary_version if canary and subject.canary_version is not None else subject.rule_version
    return JudgedBy(
        rule_version=version, evaluated_at=subject.evaluated_at, canary=canary, application=application, exact=False
    )


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
