"""Checking controls: their rules against their queries, and their cases against the judge itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Set

from server.catalog.budget import check_budget
from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.check import check_queries
from server.catalog.config import check_configs
from server.catalog.content import Content
from server.catalog.controls import PlatformRule
from server.catalog.problems import CatalogError, Problem
from server.catalog.queries import Query
from server.catalog.yaml_files import place_of
from server.evaluate.case_check import check_cases
from server.evaluate.deciding import never_decides
from server.evaluate.language import RuleError
from server.evaluate.rules import ANY_DAY, columns_read, compile_predicate

NEVER = "a rule that comes out the same for every row decides nothing: look at its AND, OR and NOT"


async def check_catalog(catalog: Catalog) -> list[Problem]:
    """Everything that is checked of packs before any device sees them."""
    of_queries, of_controls = check_queries(catalog), await check_controls(catalog)
    return [*of_queries, *of_controls, *check_cases(catalog), *check_budget(catalog), *check_configs(catalog)]


async def checked(content: Content) -> Catalog:
    """The catalog of these packs. Raises ``CatalogError`` with every problem where there is one."""
    with content.unpacked() as root:
        catalog = await asyncio.to_thread(load_catalog, root)
        problems = await check_catalog(catalog)
    if problems:
        raise CatalogError(problems)
    return catalog


async def check_controls(catalog: Catalog) -> list[Problem]:
    """Compile every rule of every control."""
    problems: list[Problem] = []
    for loaded in catalog.controls.values():
        for platform, rule in loaded.control.platforms.items():
            problems += _check_rule(catalog, loaded, platform, rule)
    return problems


def _check_rule(catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule) -> list[Problem]:
    query = catalog.queries[rule.query, platform]
    kinds = {column.name.lower(): column.kind for column in query.columns}
    hint = f"the query is {query.file}"
    problems = []
    for key, text in _conditions(rule):
        try:
            compile_predicate(text, kinds, catalog.lists, ANY_DAY)
        except RuleError as error:
            place = _place(catalog, loaded, platform, key, error.word)
            problems.append(Problem(loaded.file, place[0], f"{platform}: {error}", hint, column=place[1]))
    if problems:
        return problems
    for key, why in never_decides(rule):
        line, column = _place(catalog, loaded, platform, key)
        problems.append(Problem(loaded.file, line, f"{platform}: {key}: {why}", NEVER, column=column))
    read = columns_read(rule, kinds, catalog.lists)
    for what, key, word in _without_a_past(query, rule, read):
        line, column = _place(catalog, loaded, platform, key, word)
        problems.append(Problem(loaded.file, line, f"{platform}: {what}", hint, column=column))
    return problems + _check_minimised(catalog, loaded, platform, rule, read)


def _conditions(rule: PlatformRule) -> Iterator[tuple[str, str]]:
    """The conditions of a rule, by the keys they stand under."""
    yield rule.quantifier, rule.predicate
    if rule.undecided:
        yield "undecided", rule.undecided
    if rule.applies_when:
        yield "applies_when", rule.applies_when


def _place(catalog: Catalog, loaded: LoadedControl, platform: str, key: str, word: str = "") -> tuple[int, int]:
    return place_of(catalog.root / loaded.file, ("platforms", platform, key), word)


def _without_a_past(query: Query, rule: PlatformRule, read: Set[str]) -> Iterator[tuple[str, str, str]]:
    """Why the rows of a query cannot tell what was true on a past day, with the key and the word that say so."""
    if query.mode != "state":
        what = f"mode of {query.name} is {query.mode}, which does not tell what was true on a past day"
        yield what, "query", query.name
    for column in query.columns:
        if column.volatile and column.name.lower() in read:
            what = f"column {column.name!r} is volatile, so its past is not kept"
            yield what, rule.quantifier, column.name


def _check_minimised(
    catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule, read: Set[str]
) -> list[Problem]:
    """A value that is dropped or changed cannot be judged."""
    problems = []
    for column in sorted(read):
        treatment = catalog.minimisation.treatment(rule.query, platform, column)
        if treatment.never:
            what = f"{platform}: the rule reads {rule.query}.{column}, which is never stored"
            at, where = _place(catalog, loaded, platform, rule.quantifier, column)
            mend = "compute what decides on the device, in the query"
            problems.append(Problem(loaded.file, at, what, mend, column=where))
        for found in treatment.rules:
            file, _, line = found.source.rpartition(":")
            judged = f"{rule.query}.{column} on {platform}"
            what = f"{loaded.control_id} judges {judged}, which this rule would {found.action}"
            problems.append(Problem(file, int(line), what, "compute what decides on the device, in the query"))
    return problems
