"""A packs folder of one's own: ``muster packs init``, and the schemas that editors read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.editor_schemas import MODELS, outdated, schemas, write_schemas
from tests.support.server import muster_here


def test_the_shipped_schemas_are_current() -> None:
    assert outdated(shipped_packs()) == [], "muster packs schemas --packs packs --write"
    files = {path.name for path in (shipped_packs() / "schema" / "editors").iterdir()}
    assert files == {f"{kind}.schema.json" for kind in MODELS}


@pytest.mark.parametrize("kind", MODELS)
def test_a_schema_knows_the_keys_of_its_model_and_no_others(kind: str) -> None:
    schema = json.loads(next(text for path, text in schemas().items() if path.name == f"{kind}.schema.json"))
    assert set(schema["properties"]) == set(MODELS[kind].model_fields)
    assert schema["additionalProperties"] is False


def test_a_schema_explains_keys() -> None:
    text = next(text for path, text in schemas().items() if path.name == "control.schema.json")
    rule = json.loads(text)["$defs"]["PlatformRule"]["properties"]
    assert rule["empty"]["description"] == "What an answer without rows means."
    assert rule["empty"]["enum"] == ["pass", "fail", "error", "not_applicable"]


def test_schemas_are_written_where_they_are_missing_or_old(tmp_path: Path) -> None:
    assert len(write_schemas(tmp_path)) == len(MODELS)
    assert outdated(tmp_path) == []
    (tmp_path / "schema" / "editors" / "pack.schema.json").write_text("{}")
    (tmp_path / "schema" / "editors" / "cases.schema.json").unlink()
    assert [problem.message for problem in outdated(tmp_path)] == [
        "this schema is missing",
        "this schema is another version's",
    ]
    done = muster_here("packs", "schemas", "--packs", str(tmp_path), check=False)
    assert done.returncode == 3
    assert "schema/editors/pack.schema.json:1: this schema is another version's" in done.stdout
    said = muster_here("packs", "schemas", "--packs", str(tmp_path), "--write").stdout.splitlines()
    assert said == [
        "written: schema/editors/cases.schema.json",
        "written: schema/editors/pack.schema.json",
        "the schemas are current",
    ]


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_of_the_packs_to_be_edited(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "packs"
    said = muster_here("packs", "init", str(folder)).stdout
    assert files(folder) == files(shipped_packs())
    assert f"{len(files(folder))} files are in {folder}" in said
    assert f"muster packs check --packs {folder}" in said
    assert "no problems" in muster_here("packs", "check", "--packs", str(folder)).stdout
    (folder / "posture.yaml").write_text("title: mine")
    done = muster_here("packs", "init", str(folder), check=False)
    assert done.returncode == 1
    assert "is not empty: nothing was copied" in done.stderr
    assert (folder / "posture.yaml").read_text() == "title: mine"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    muster_here("packs", "init", str(tmp_path))
    assert files(tmp_path) == files(shipped_packs())


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = muster_here("packs", "init", str(tmp_path / "file"), check=False)
    assert done.returncode == 2
    done = muster_here("packs", "init", str(tmp_path / "file" / "packs"), check=False)
    assert done.returncode == 1
    assert "Not a directory" in done.stderr
