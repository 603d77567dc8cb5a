"""The catalog: everything under ``packs/``, read once, with the problems found on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.catalog.controls import Case, Cases, Control
from server.catalog.files import check_folders, odd_id
from server.catalog.fleet import FILE as FLEET_FILE
from server.catalog.fleet import Fleet, read_fleet
from server.catalog.frameworks import Framework, read_frameworks
from server.catalog.lists import ReferenceList, read_lists
from server.catalog.minimise import FILE as MINIMISE_FILE
from server.catalog.minimise import read_minimisation
from server.catalog.packs import Pack
from server.catalog.problems import CatalogError, Problem
from server.catalog.queries import Query, load_query
from server.catalog.references import check_references, control_files, without_dangling
from server.catalog.schema import NOTES, TABLES, OsquerySchema, SchemaError, load_schema
from server.catalog.yaml_files import read_located, read_model
from server.normalize.treatment import Minimisation

NOT_PACKS = {MINIMISE_FILE, FLEET_FILE}
"""The files beside the packs that are none."""


@dataclass(frozen=True, slots=True)
class LoadedControl:
    """A control with its cases; ``control_id`` is its folder's name, ``area`` the folder above.

    ``case_lines`` are the lines on which the cases begin, in ``cases_file``.
    """

    control_id: str
    area: str
    control: Control
    cases: tuple[Case, ...]
    file: str
    case_lines: tuple[int, ...] = ()

    @property
    def cases_file(self) -> str:
        """The file its cases are in."""
        return self.file.replace("control.yaml", "cases.yaml")


@dataclass(frozen=True)
class Catalog:
    """Queries by (name, platform), controls, packs and frameworks by id, lists by name, osquery's schema with the
    tables of extensions, what of answers is not stored, and the fleet's settings."""

    root: Path
    schema: OsquerySchema
    queries: Mapping[tuple[str, str], Query]
    controls: Mapping[str, LoadedControl]
    packs: Mapping[str, Pack]
    minimisation: Minimisation
    frameworks: Mapping[str, Framework] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)
    lists: Mapping[str, ReferenceList] = field(default_factory=dict)

    def scheduled(self, platform: str) -> dict[str, list[tuple[str, int]]]:
        """Every query a platform is asked, with the packs that ask it and at what interval.

        A query several packs want runs once: in a pack without discovery, at the shortest interval. Where every pack
        that wants it has discovery it stays in all of them, for a device may match any.
        """
        wanted: dict[str, list[tuple[int, str]]] = {}
        for pack_id, pack in self.packs.items():
            for name, interval in self.pack_queries(pack, platform).items():
                wanted.setdefault(name, []).append((interval, pack_id))
        placed: dict[str, list[tuple[str, int]]] = {}
        for name, claims in sorted(wanted.items()):
            plain = [claim for claim in claims if not self.packs[claim[1]].discovery]
            chosen = [min(plain)] if plain else sorted(claims)
            placed[name] = [(pack_id, interval) for interval, pack_id in chosen]
        return placed

    def judged_queries(self, platform: str) -> set[str]:
        """The queries whose answers decide a verdict on a platform."""
        rules = (loaded.control.judging_rule(platform) for loaded in self.judged())
        return {name for rule in rules if rule for name in rule.queries}

    def pack_queries(self, pack: Pack, platform: str) -> dict[str, int]:
        """The queries of one pack on one platform, those of its controls included, with their intervals."""
        if platform not in pack.platforms:
            return {}
        asked = {
            name: (entry.interval if entry and entry.interval else pack.interval)
            for name, entry in pack.queries.items()
            if (name, platform) in self.queries
        }
        for control_id in pack.controls:
            rule = self.controls[control_id].control.judging_rule(platform)
            if rule:
                asked |= {name: pack.interval for name in rule.queries if name not in asked}
        return asked

    def judged(self) -> list[LoadedControl]:
        """The controls some pack asks for, by id."""
        wanted = {control_id for pack in self.packs.values() for control_id in pack.controls}
        return [self.controls[control_id] for control_id in sorted(wanted)]


def load_catalog(root: Path) -> Catalog:
    """Read the packs under ``root``; raises ``CatalogError`` with every problem found."""
    catalog, problems = read_catalog(root)
    if problems:
        raise CatalogError(problems)
    return catalog


def read_catalog(root: Path) -> tuple[Catalog, list[Problem]]:
    """Read what can be read under ``root``, and say what cannot."""
    problems: list[Problem] = []
    if not (root / TABLES).is_file():
        raise CatalogError([Problem(str(root), 1, "no packs here", f"a packs folder has {TABLES} in it")])
    if not (root / NOTES).is_file():
        hint = "copy it from the packs that come with Muster; muster packs schema does so"
        raise CatalogError([Problem(NOTES, 1, "what else is known of osquery is missing", hint)])
    try:
        schema = load_schema(root)
    except SchemaError as error:
        raise CatalogError([Problem(error.file, 1, str(error))]) from error
    problems += check_folders(root)
    fleet, schema = read_fleet(root, schema, problems)
    queries = _queries(root, schema, problems)
    controls = _controls(root, problems)
    catalog = Catalog(
        root,
        schema,
        queries,
        controls,
        _packs(root, problems),
        read_minimisation(root, queries, schema, problems),
        read_frameworks(root, control_files(root), problems),
        fleet,
        read_lists(root, problems),
    )
    problems += check_references(catalog)
    return without_dangling(catalog) if problems else catalog, problems


def _queries(root: Path, schema: OsquerySchema, problems: list[Problem]) -> dict[tuple[str, str], Query]:
    queries: dict[tuple[str, str], Query] = {}
    for path in sorted((root / "queries").glob("**/*.sql")):
        shown = str(path.relative_to(root))
        query = load_query(path, shown, schema, problems)
        if query is None:
            continue
        for platform in query.platforms:
            if other := queries.get((query.name, platform)):
                problems.append(Problem(shown, 1, f"{other.name} is given for {platform} by {other.file} too"))
            queries[query.name, platform] = query
    return queries


def _controls(root: Path, problems: list[Problem]) -> dict[str, LoadedControl]:
    controls: dict[str, LoadedControl] = {}
    for path in sorted((root / "controls").glob("*/*/control.yaml")):
        shown = str(path.relative_to(root))
        if odd := odd_id("control", path.parent.name):
            problems.append(Problem(shown, 1, odd))
        control = read_model(path, shown, Control, problems)
        cases_path = path.with_name("cases.yaml")
        cases = None
        if cases_path.exists():
            cases = read_located(cases_path, str(cases_path.relative_to(root)), Cases, problems)
        else:
            problems.append(Problem(shown, 1, "no cases.yaml beside it", "give rows and the verdict they lead to"))
        if control is None or cases is None:
            continue
        control_id = path.parent.name
        if control_id in controls:
            problems.append(Problem(shown, 1, f"{controls[control_id].file} has the same id {control_id!r}"))
        lines = tuple(cases.line("cases", number) for number in range(len(cases.model.cases)))
        area, found = path.parent.parent.name, tuple(cases.model.cases)
        controls[control_id] = LoadedControl(control_id, area, control, found, shown, lines)
    return controls


def _packs(root: Path, problems: list[Problem]) -> dict[str, Pack]:
    packs: dict[str, Pack] = {}
    for path in sorted(root.glob("*.yaml")):
        if path.name in NOT_PACKS:
            continue
        if odd := odd_id("pack", path.stem):
            problems.append(Problem(path.name, 1, odd))
        pack = read_model(path, path.name, Pack, problems)
        if pack is not None:
            packs[path.stem] = pack
    return packs
