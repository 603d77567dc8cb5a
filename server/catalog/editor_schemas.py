"""JSON Schemas of the files of a packs folder, for editors: what a key means, and what may stand there."""

from __future__ import annotations

import json
from pathlib import Path

from server.catalog.controls import Cases, Control
from server.catalog.files import read_text
from server.catalog.fleet import Fleet
from server.catalog.frameworks import Framework
from server.catalog.lists import ListFile
from server.catalog.minimise import MinimiseFile
from server.catalog.packs import Pack
from server.catalog.problems import Problem
from server.catalog.yaml_files import Strict

FOLDER = Path("schema", "editors")
MODELS: dict[str, type[Strict]] = {
    "cases": Cases,
    "control": Control,
    "fleet": Fleet,
    "framework": Framework,
    "list": ListFile,
    "minimise": MinimiseFile,
    "pack": Pack,
}
"""The model of each kind of file."""


def schemas() -> dict[Path, str]:
    """The schemas by their place in a packs folder."""
    return {FOLDER / f"{kind}.schema.json": _schema(model) for kind, model in MODELS.items()}


def _schema(model: type[Strict]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False).replace("``", "`") + "\n"


def outdated(packs: Path) -> list[Problem]:
    """The schemas that a packs folder lacks, or that are not those of this Muster's files."""
    problems: list[Problem] = []
    for file, schema in schemas().items():
        if not (packs / file).is_file():
            problems.append(Problem(str(file), 1, "this schema is missing"))
        elif read_text(packs / file, str(file), problems) not in (schema, None):
            problems.append(Problem(str(file), 1, "this schema is another version's"))
    return problems


def write_schemas(packs: Path) -> list[Path]:
    """Write the schemas into a packs folder; returns those that were written, apart from those that are current."""
    written = []
    for file, schema in schemas().items():
        path = packs / file
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != schema:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(schema, encoding="utf-8")
            written.append(file)
    return written
