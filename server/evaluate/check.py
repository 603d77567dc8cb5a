"""Checking controls: their rules against their queries, and their cases against the judge itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Set
from functools import partial

from server.catalog.budget import check_budget
from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.check import check_queries
from server.catalog.config import check_configs
from server.catalog.content import Content
from server.catalog.controls import PlatformRule
from server.catalog.problems import CatalogError, Problem
from server.catalog.queries import Query
from server.catalog.yaml_files import place_of
from server.evaluate.aggregates import compile_condition, compile_evidence
from server.evaluate.case_check import check_cases
from server.evaluate.deciding import never_decides
from server.evaluate.language import RuleError
from server.evaluate.reading import columns_of, shapes_on
from server.evaluate.rules import ANY_DAY, compile_predicate

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
    files = [catalog.queries[name, platform].file for name in rule.queries]
    hint = f"the query is {files[0]}" if len(files) == 1 else f"the queries are {', '.join(files)}"
    problems = []
    for key, check in _checks(catalog, platform, rule):
        try:
            check()
        except RuleError as error:
            place = _place(catalog, loaded, platform, key, error.word)
            problems.append(Problem(loaded.file, place[0], f"{platform}: {error}", hint, column=place[1]))
    if problems:
        return problems
    for key, why in never_decides(rule):
        line, column = _place(catalog, loaded, platform, key)
        problems.append(Problem(loaded.file, line, f"{platform}: {key}: {why}", NEVER, column=column))
    for name, read in columns_of(catalog, platform, rule).items():
        query = catalog.queries[name, platform]
        for what, key, word in _without_a_past(query, rule, read):
            line, column = _place(catalog, loaded, platform, key, word)
            problems.append(Problem(loaded.file, line, f"{platform}: {what}", hint, column=column))
        problems += _check_minimised(catalog, loaded, platform, rule, query, read)
    return problems


def _checks(catalog: Catalog, platform: str, rule: PlatformRule) -> Iterator[tuple[str, Callable[[], object]]]:
    """What compiles each part of a rule, by the keys they stand under."""
    lists, shapes = catalog.lists, shapes_on(catalog, platform)
    for key, text in rule.conditions.items():
        if rule.sql is not None:
            yield key, partial(compile_condition, text, shapes, lists, ANY_DAY)
        else:
            yield key, partial(compile_predicate, text, shapes[rule.query].columns, lists, ANY_DAY)
    if rule.sql is not None:
        yield "evidence", partial(compile_evidence, rule, shapes, lists, ANY_DAY)


def _place(catalog: Catalog, loaded: LoadedControl, platform: str, key: str, word: str = "") -> tuple[int, int]:
    return place_of(catalog.root / loaded.file, ("platforms", platform, key), word)


def _without_a_past(query: Query, rule: PlatformRule, read: Set[str]) -> Iterator[tuple[str, str, str]]:
    """Why the rows of a query cannot tell what was true on a past day, with the key and the word that say so."""
    if query.mode != "state":
        what = f"mode of {query.name} is {query.mode}, which does not tell what was true on a past day"
        yield what, "query" if rule.sql is None else "sql", query.name
    of = "" if rule.sql is None else f" of {query.name}"
    for column in query.columns:
        if column.volatile and column.name.lower() in read:
            what = f"column {column.name!r}{of} is volatile, so its past is not kept"
            yield what, rule.quantifier, column.name


def _check_minimised(
    catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule, query: Query, read: Set[str]
) -> list[Problem]:
    """A value that is dropped or changed cannot be judged."""
    problems = []
    for column in sorted(read):
        treatment = catalog.minimisation.treatment(query.name, platform, column)
        if treatment.never:
            what = f"{platform}: the rule reads {query.name}.{column}, which is never stored"
            at, where = _place(catalog, loaded, platform, rule.quantifier, column)
            mend = "compute what decides on the device, in the query"
            problems.append(Problem(loaded.file, at, what, mend, column=where))
        for found in treatment.rules:
            file, _, line = found.source.rpartition(":")
            judged = f"{query.name}.{column} on {platform}"
            what = f"{loaded.control_id} judges {judged}, which this rule would {found.action}"
            problems.append(Problem(file, int(line), what, "compute what decides on the device, in the query"))
    return problems
