"""Checking controls: their rules against their queries, and their cases against the judge itself."""

from __future__ import annotations

from collections.abc import Iterator, Set

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.controls import PlatformRule
from server.catalog.problems import Problem
from server.catalog.queries import Query
from server.evaluate.rules import RuleError, columns_read, compile_rule


async def check_controls(catalog: Catalog) -> list[Problem]:
    """Compile every rule of every control."""
    problems: list[Problem] = []
    for loaded in catalog.controls.values():
        problems += _check_rules(catalog, loaded)
    return problems


def _check_rules(catalog: Catalog, loaded: LoadedControl) -> list[Problem]:
    problems = []
    for platform, rule in loaded.control.platforms.items():
        query = catalog.queries[rule.query, platform]
        kinds = {column.name.lower(): column.kind for column in query.columns}
        try:
            compile_rule(rule, kinds)
        except RuleError as error:
            problems.append(Problem(loaded.file, 1, f"{platform}: {error}", f"the query is {query.file}"))
            continue
        read = columns_read(rule, kinds)
        problems += _check_minimised(catalog, loaded, platform, rule, read)
        problems += [
            Problem(loaded.file, 1, f"{platform}: {what}", f"the query is {query.file}")
            for what in _without_a_past(query, read)
        ]
    return problems


def _without_a_past(query: Query, read: Set[str]) -> Iterator[str]:
    """Why the rows of a query cannot tell what was true on a past day."""
    if query.mode != "state":
        yield f"mode of {query.name} is {query.mode}, which does not tell what was true on a past day"
    for column in query.columns:
        if column.volatile and column.name.lower() in read:
            yield f"column {column.name!r} is volatile, so its past is not kept"


def _check_minimised(
    catalog: Catalog, loaded: LoadedControl, platform: str, rule: PlatformRule, read: Set[str]
) -> list[Problem]:
    """A value that is dropped or changed cannot be judged."""
    problems = []
    for column in sorted(read):
        treatment = catalog.minimisation.treatment(rule.query, platform, column)
        if treatment.never:
            what = f"{platform}: the rule reads {rule.query}.{column}, which is never stored"
            problems.append(Problem(loaded.file, 1, what, "compute what decides on the device, in the query"))
        for found in treatment.rules:
            file, _, line = found.source.rpartition(":")
            judged = f"{rule.query}.{column} on {platform}"
            what = f"{loaded.control_id} judges {judged}, which this rule would {found.action}"
            problems.append(Problem(file, int(line), what, "compute what decides on the device, in the query"))
    return problems
