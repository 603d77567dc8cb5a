"""``muster packs import`` and ``muster packs export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from server.catalog.exchange.bring_in import Brought, WouldOverwriteError, prepare, put
from server.catalog.exchange.export import NoSuchPackError, export_pack
from server.catalog.exchange.fleet_yaml import read_fleet
from server.catalog.exchange.foreign import ForeignPack
from server.catalog.exchange.osquery_json import read_osquery
from server.catalog.problems import Problem
from server.cli.options import FAILED, PROBLEMS, fail, json_option, loaded, packs_option, print_json


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--into",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The packs folder that the files are written to.",
)
@click.option("--replace", is_flag=True, help="Write over files of an earlier import.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def import_(files: tuple[Path, ...], into: Path, replace: bool, dry_run: bool, as_json: bool) -> None:
    """Take over packs of other tools: osquery's packs and osquery.conf (.conf, .json), Fleet's YAML (.yml, .yaml).

    Stars are written out, and every query is tried against the tables of the platforms it is for. What cannot be taken
    over is named with its file and line, the rest is written; exit code 3 where anything was left out.
    """
    problems: list[Problem] = []
    packs: list[ForeignPack] = []
    for path in files:
        packs += (read_fleet if path.suffix in (".yml", ".yaml") else read_osquery)(path, problems)
    brought = prepare(packs, loaded(into))
    if not dry_run:
        try:
            put(brought.files, into, replace_files=replace)
        except WouldOverwriteError as error:
            fail(str(error), FAILED)
    found = sorted({*problems, *brought.problems})
    if as_json:
        print_json(_as_json(brought, found))
    else:
        _say(brought, found, into, dry_run)
    if found:
        fail(f"{len(found)} problem(s): what they are about was left out", PROBLEMS)


def _say(brought: Brought, problems: list[Problem], into: Path, dry_run: bool) -> None:
    for problem in problems:
        click.echo(str(problem))
    for note in brought.notes:
        click.echo(f"note: {note}")
    packs = sorted(name for name in brought.files if "/" not in name)
    done = "would be written" if dry_run else "written"
    click.echo(f"{brought.queries} queries and {brought.controls} controls {done} to {into}: {', '.join(packs) or '-'}")
    if packs and not dry_run:
        click.echo(f"Next: muster packs check --packs {into}")


def _as_json(brought: Brought, problems: list[Problem]) -> dict[str, object]:
    return {
        "queries": brought.queries,
        "controls": brought.controls,
        "files": sorted(brought.files),
        "problems": [asdict(one) for one in problems],
        "notes": [asdict(one) for one in brought.notes],
    }


@click.command("export")
@click.argument("pack")
@packs_option
def export(pack: str, packs: Path) -> None:
    """Print a pack as a plain osquery pack, for an osqueryd with a config of its own."""
    try:
        body, lost = export_pack(loaded(packs), pack)
    except NoSuchPackError as error:
        fail(str(error), FAILED)
    click.echo(body.decode(), nl=False)
    for line in lost:
        click.echo(line, err=True)
