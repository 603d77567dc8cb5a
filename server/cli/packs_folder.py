"""``muster packs init`` and ``muster packs schemas``: a folder of one's own, and the schemas for its editor."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from server.app import shipped_packs
from server.catalog.editor_schemas import outdated, write_schemas
from server.cli.options import FAILED, PROBLEMS, fail, packs_option


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Copy the packs that come with Muster into DIR, to be edited. DIR must be new or empty."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            fail(f"{folder} is not empty: nothing was copied", FAILED)
        count = _copy(shipped_packs(), folder)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror or error}", FAILED)
    shown = click.format_filename(folder)
    click.echo(f"{count} files are in {shown}; README.md there says what they mean. Keep the folder under version")
    click.echo("control, and after every change:")
    click.echo(f"  muster packs check --packs {shown}    compiles queries and rules, before any device sees them")
    click.echo(f"  muster packs test --packs {shown}     runs the cases of the controls")
    click.echo(f'  muster serve --packs {shown}          serves them; or write packs = "{shown}" in muster.toml')


def _copy(source: Path, target: Path) -> int:
    """Copy a tree of files, whatever its permissions: these are to be edited."""
    count = 0
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            count += 1
    return count


@click.command()
@packs_option
@click.option("--write", is_flag=True, help="Write those that are missing or of another version.")
def schemas(packs: Path, write: bool) -> None:
    """Look after the JSON Schemas in schema/editors, from which an editor knows the keys of each file.

    A file names its own in its first line: # yaml-language-server: $schema=../../../schema/editors/control.schema.json
    """
    if write:
        try:
            for file in write_schemas(packs):
                click.echo(f"written: {file}")
        except OSError as error:
            fail(f"{error.filename or packs}: {error.strerror or error}", FAILED)
    problems = outdated(packs)
    for problem in problems:
        click.echo(str(problem))
    if problems:
        fail(f"{len(problems)} schema(s) are not current: muster packs schemas --write", PROBLEMS)
    click.echo("the schemas are current")
