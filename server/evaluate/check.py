"""Checking controls: their rules against their queries, and their cases against the judge itself."""

from __future__ import annotations

from server.catalog.catalog import Catalog, LoadedControl
from server.catalog.problems import Problem
from server.evaluate.rules import RuleError, compile_rule


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
        try:
            compile_rule(rule, {column.name.lower(): column.kind for column in query.columns})
        except RuleError as error:
            problems.append(Problem(loaded.file, 1, f"{platform}: {error}", f"the query is {query.file}"))
    return problems
