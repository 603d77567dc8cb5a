"""Bringing foreign packs into a packs folder: made apart, checked, and only then put in place."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.catalog.catalog import Catalog, read_catalog
from server.catalog.check import check_queries
from server.catalog.exchange.convert import Converted, convert
from server.catalog.exchange.foreign import ForeignPack
from server.catalog.fleet import FILE as SETTINGS
from server.catalog.problems import Problem


class WouldOverwriteError(ValueError):
    """A file is there already; the message names it."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What was made (paths in the packs folder to their text) of how much, and what could not be taken over."""

    files: Mapping[str, str]
    queries: int
    controls: int
    problems: Sequence[Problem]
    notes: Sequence[Problem] = ()
    """What was taken over, but not quite as it was."""


def prepare(packs: Iterable[ForeignPack], into: Catalog) -> Brought:
    """Make the files of packs for a folder, without those whose SQL osquery would refuse: each is a problem."""
    taken = {name for name, _ in into.queries} | set(into.controls)
    files: dict[str, str] = {}
    problems: list[Problem] = []
    notes: list[Problem] = []
    queries = controls = 0
    for pack in packs:
        made = convert(pack, into.schema, taken)
        refused = _refused(made, into)
        problems += made.problems + [_at_its_origin(problem, made) for problem in refused]
        notes += made.notes
        made.drop({problem.file for problem in refused})
        files |= made.rendered()
        queries, controls = queries + len(made.queries), controls + len(made.controls)
    return Brought(files, queries, controls, sorted(set(problems)), sorted(set(notes)))


def _refused(made: Converted, into: Catalog) -> list[Problem]:
    """What is wrong with the queries that were made, as the folder they go to would say."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(into.root / "schema", root / "schema")
        if (into.root / SETTINGS).is_file():
            shutil.copy(into.root / SETTINGS, root / SETTINGS)
        put({path: text for path, text in made.files.items() if path.endswith(".sql")}, root)
        catalog, problems = read_catalog(root)
        return [problem for problem in problems + check_queries(catalog) if problem.file in made.origins]


def _at_its_origin(problem: Problem, made: Converted) -> Problem:
    origin = made.origins[problem.file]
    platform = re.search(r"\.(\w+)\.sql$", problem.file)
    where = f" on {platform[1]}" if platform and f"on {platform[1]}" not in problem.message else ""
    return replace(
        problem, file=origin.file, line=origin.line, column=0, message=f"{origin.what}{where}: {problem.message}"
    )


def put(files: Mapping[str, str], root: Path, *, replace_files: bool = False) -> None:
    """Write the files under ``root``. Raises ``WouldOverwriteError`` before anything is written."""
    there = sorted(name for name in files if (root / name).exists())
    if there and not replace_files:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise WouldOverwriteError(
            f"{root / there[0]}{more} exists already: --replace writes over it, or rename the file to import"
        )
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
