"""``muster packs check``."""

from __future__ import annotations

from pathlib import Path

import click

from server.app import config_bodies
from server.catalog.catalog import Catalog, read_catalog
from server.catalog.check import check_queries
from server.catalog.minimise import minimised_columns
from server.catalog.problems import CatalogError, Problem
from server.cli.options import PROBLEMS, fail, json_option, print_json, run
from server.cli.options import packs_option as _packs_option
from server.cli.packs_exchange import export, import_
from server.evaluate.check import check_controls


@click.group()
def packs() -> None:
    """Query packs: what the fleet is asked, and by which controls it is judged."""


@packs.command()
@_packs_option
@json_option
def check(packs: Path, as_json: bool) -> None:
    """Check every query, control and pack. Exit code 3 where there are problems."""
    try:
        catalog, problems = read_catalog(packs)
    except CatalogError as error:
        fail(str(error), PROBLEMS)
        return
    if not problems:
        problems = run(_deeper(catalog))
    if as_json:
        print_json([{"file": p.file, "line": p.line, "message": p.message, "hint": p.hint} for p in sorted(problems)])
    else:
        for problem in sorted(problems):
            click.echo(str(problem))
    if problems:
        fail(f"{len(problems)} problem(s) found", PROBLEMS)
    if not as_json:
        queries = len({name for name, _ in catalog.queries})
        click.echo(f"{queries} queries, {len(catalog.controls)} controls, {len(catalog.packs)} packs: no problems")
        for line in _minimised(catalog):
            click.echo(line)


def _minimised(catalog: Catalog) -> list[str]:
    """The columns that are not stored as they come, so that nobody waits for their values."""
    lines = {
        f"{query.file}: {column}: {note}"
        for (_, platform), query in catalog.queries.items()
        for column, note in minimised_columns(catalog.minimisation, query, platform).items()
    }
    return sorted(lines)


async def _deeper(catalog: Catalog) -> list[Problem]:
    problems = check_queries(catalog) + await check_controls(catalog)
    try:
        config_bodies(catalog)
    except CatalogError as error:
        problems += error.problems
    return problems


packs.add_command(import_)
packs.add_command(export)
