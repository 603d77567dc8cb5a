"""``muster packs check``."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path

import click

from server.catalog.catalog import Catalog, read_catalog
from server.catalog.minimise import minimised_columns
from server.catalog.problems import CatalogError, Problem
from server.cli.options import PROBLEMS, fail, json_option, packs_option, print_json, run
from server.cli.problems import print_problems
from server.evaluate.check import check_catalog

_SOME = re.compile(r"^on [a-z, ]+: ")


@click.command()
@packs_option
@json_option
def check(packs: Path, as_json: bool) -> None:
    """Check every query, control and pack. Exit code 3 where there are problems."""
    catalog, problems = _problems(packs)
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        print_problems(problems, packs, terminal=sys.stdout.isatty())
    if problems:
        fail(f"{len(problems)} problem(s) found", PROBLEMS)
    if catalog and not as_json:
        queries = len({name for name, _ in catalog.queries})
        click.echo(f"{queries} queries, {len(catalog.controls)} controls, {len(catalog.packs)} packs: no problems")
        for line in _minimised(catalog):
            click.echo(line)


def _problems(packs: Path) -> tuple[Catalog | None, list[Problem]]:
    """The catalog, and everything wrong with it, each problem once."""
    try:
        catalog, problems = read_catalog(packs)
    except CatalogError as error:
        return None, error.problems
    found = set(problems) | set(run(check_catalog(catalog)))
    said = {(problem.file, problem.line, problem.message) for problem in problems}
    # What is typed and planned is read twice: a name that nothing bears is found both times.
    return catalog, sorted(
        problem
        for problem in found
        if problem in problems or (problem.file, problem.line, _SOME.sub("", problem.message)) not in said
    )


def _minimised(catalog: Catalog) -> list[str]:
    """The columns that are not stored as they come, so that nobody waits for their values."""
    lines = {
        f"{query.file}: {column}: {note}"
        for (_, platform), query in catalog.queries.items()
        for column, note in minimised_columns(catalog.minimisation, query, platform).items()
    }
    return sorted(lines)
