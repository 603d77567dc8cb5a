"""``muster packs schema``: osquery's tables, from the spec files in its source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from server.app import shipped_packs
from server.catalog.specs import differences, read_specs
from server.cli.options import PROBLEMS, fail, packs_option


@click.command()
@click.argument("specs", metavar="DIR_OF_SPECS", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--version", metavar="N.N.N", help="The osquery they are of.  [default: as in the schema that is there]")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 3 where something differs.")
@packs_option
def schema(specs: Path, version: str | None, only_check: bool, packs: Path) -> None:
    """Make schema/osquery.json of a packs folder from osquery's spec files, the folder specs in its source.

    The files are read as data: nothing in them is run.
    """
    path = packs / "schema" / "osquery.json"
    old = _old(path)
    version = version or old.get("osquery_version")
    if not version:
        raise click.UsageError("say with --version which osquery the spec files are of")
    new, problems = read_specs(specs, version)
    for problem in problems:
        click.echo(str(problem))
    if problems:
        fail(f"{len(problems)} problem(s) found", PROBLEMS)
    changes = list(differences(old, new))
    for change in changes:
        click.echo(change)
    if only_check and changes:
        fail(f"{path} is not what these spec files say", PROBLEMS)
    if not only_check:
        _write(path, new)
    columns = sum(len(table["columns"]) for table in new["tables"])
    click.echo(f"osquery {version}: {len(new['tables'])} tables, {columns} columns, {len(changes)} difference(s)")


def _old(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, new: Mapping[str, Any]) -> None:
    """One table a line, so that a difference can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(table, separators=(",", ":")) for table in new["tables"])
    version = json.dumps(new["osquery_version"])
    path.write_text(f'{{"osquery_version": {version}, "tables": [\n{lines}\n]}}\n', encoding="utf-8")
    notes = path.with_name("notes.json")
    if not notes.exists():
        shutil.copyfile(shipped_packs() / "schema" / "notes.json", notes)
