"""What files of a packs folder say of each other: names that are not there, and what is left without them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.catalog.lists import BUILT_IN
from server.catalog.problems import Problem, did_you_mean
from server.catalog.yaml_files import place_of

if TYPE_CHECKING:
    from server.catalog.catalog import Catalog, LoadedControl
    from server.catalog.queries import Query

MOST_MISSING = 20
"""Names of one pack that nothing bears and that are said."""


def check_references(catalog: Catalog) -> Iterator[Problem]:
    """Every name that nothing bears. A file that is there but wrong is named for what is wrong in it, and not here."""
    queries = query_files(catalog.root)
    yield from _of_packs(catalog, queries, control_files(catalog.root))
    yield from _modes(catalog)
    yield from _kinds(catalog)
    for loaded in catalog.controls.values():
        yield from _of_control(catalog, loaded, queries)


def without_dangling(catalog: Catalog) -> Catalog:
    """The catalog without what names something that is not there, so that the rest of it can be checked."""
    controls = {}
    for control_id, loaded in catalog.controls.items():
        rules = loaded.control.platforms.items()
        kept = {
            platform: rule
            for platform, rule in rules
            if rule.queries and all((name, platform) in catalog.queries for name in rule.queries)
        }
        controls[control_id] = replace(loaded, control=loaded.control.model_copy(update={"platforms": kept}))
    packs = {}
    for pack_id, pack in catalog.packs.items():
        known: dict[str, Any] = {"controls": [control for control in pack.controls if control in controls]}
        packs[pack_id] = pack.model_copy(update=known)
    return replace(catalog, controls=controls, packs=packs)


def control_files(root: Path) -> frozenset[str]:
    """The ids of the controls there are files for, good or bad: to say that there is none would mislead."""
    return frozenset(path.parent.name for path in (root / "controls").glob("*/*/control.yaml"))


def query_files(root: Path) -> frozenset[str]:
    """The names of the queries there are files for, good or bad."""
    return frozenset(path.name.partition(".")[0] for path in (root / "queries").glob("**/*.sql"))


def _of_packs(catalog: Catalog, queries: Set[str], controls: Set[str]) -> Iterator[Problem]:
    for pack_id, pack in catalog.packs.items():
        file = f"{pack_id}.yaml"
        missing: list[tuple[str, str, str | int, str]] = []
        missing += [("query", "queries", name, name) for name in pack.queries if name not in queries]
        missing += [("control", "controls", at, name) for at, name in enumerate(pack.controls) if name not in controls]
        for kind, key, part, name in missing[:MOST_MISSING]:
            line, column = place_of(catalog.root / file, (key, part))
            hint = did_you_mean(name, queries if kind == "query" else controls)
            yield Problem(file, line, f"there is no {kind} {name!r}", hint, column=column)


def _modes(catalog: Catalog) -> Iterator[Problem]:
    for name in sorted({name for name, _ in catalog.queries}):
        variants = [query for (other, _), query in sorted(catalog.queries.items()) if other == name]
        odd = next((query for query in variants if query.mode != variants[0].mode), None)
        if odd:
            message = f"mode is {odd.mode}, but {variants[0].mode} in {variants[0].file}: a query has one table"
            yield Problem(odd.file, odd.header.line("mode"), message)


def _kinds(catalog: Catalog) -> Iterator[Problem]:
    """A query is one table: a column that several of its files give has one type."""
    first: dict[tuple[str, str], tuple[str, Query]] = {}
    for query in {query.file: query for _, query in sorted(catalog.queries.items())}.values():
        for column in query.columns:
            kind, other = first.setdefault((query.name, column.name.lower()), (column.kind, query))
            if kind != column.kind:
                told = f"is {column.kind} here, but {kind} in {other.file}: a query has one table"
                hint = f"CAST it in one of them, as {kind} here or as {column.kind} there"
                yield query.text.problem(query.file, f"column {column.name!r} {told}", hint, column.name, -1)


def _of_rules(catalog: Catalog, loaded: LoadedControl, files: Set[str]) -> Iterator[Problem]:
    path = catalog.root / loaded.file
    for platform, rule in loaded.control.platforms.items():
        there = [name for name, where in catalog.queries if where == platform]
        place = ("platforms", platform, "query" if rule.sql is None else "sql")
        if not rule.queries:
            line, column = place_of(path, place)
            hint = "write one SELECT, and the queries after its FROM and JOIN"
            yield Problem(loaded.file, line, f"{platform}: no query is named", hint, column=column)
        for name in rule.queries:
            elsewhere = [where for other, where in catalog.queries if other == name]
            if name not in there and (elsewhere or name not in files):
                line, column = place_of(path, place, name if rule.sql is not None else "")
                hint = f"it is written for {', '.join(elsewhere)}" if elsewhere else did_you_mean(name, there)
                yield Problem(loaded.file, line, f"there is no query {name!r} for {platform}", hint, column=column)


def _of_control(catalog: Catalog, loaded: LoadedControl, files: Set[str]) -> Iterator[Problem]:
    path = catalog.root / loaded.file
    yield from _of_rules(catalog, loaded, files)
    for platform in sorted(set(loaded.control.platforms) - set(loaded.control.remediation)):
        line, column = place_of(path, ("remediation",))
        hint = "say what the owner of the device does about it"
        yield Problem(loaded.file, line, f"remediation says nothing for {platform}", hint, column=column)
    for case, line in zip(loaded.cases, loaded.case_lines, strict=True):
        if case.platform not in loaded.control.platforms:
            yield Problem(loaded.cases_file, line, f"{loaded.control_id} has no rule for {case.platform}")
        for name, entries in case.lists.items():
            known = BUILT_IN.get(name)
            if known is None:
                hint = did_you_mean(name, BUILT_IN)
                yield Problem(loaded.cases_file, line, f"Muster fills no list {name!r}", hint)
            elif any(len(entry) > len(known.columns) for entry in entries):
                yield Problem(loaded.cases_file, line, f"an entry of {name} is: {', '.join(known.columns)}")
