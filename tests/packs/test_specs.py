"""osquery's spec files become the schema: read as data, compared with what is there, and wrong ones named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import read_catalog
from server.catalog.check import check_queries
from server.catalog.specs import differences, read_specs
from tests.support.server import muster_here

# In osquery's syntax, of tables that it does not have.
LAMPS = """# A comment.
table_name("lamps", aliases=["lights"])
description("Lamps on the desk.")
schema([
    Column("path", TEXT, "Which lamp", required=True, index=True, optimized=True),
    Column("maker", TEXT, "Who made it", collate="nocase", aliases=["brand"]),
    Column("lit_at", DATETIME, "Since when"),
    Column("watts", UNSIGNED_BIGINT, "How bright", additional=True),
    ForeignKey(column="path", table="file"),
])
extended_schema(LINUX + DARWIN, [
    Column("bulb", INTEGER, "Which bulb", hidden=True),
])
extended_schema(WINDOWS, [Column("driver", BIGINT, "The driver")])
attributes(cacheable=True, user_data=True, event_subscriber=False)
implementation("lamps@genLamps")
examples(["select * from lamps where path = '/dev/lamp'"])
"""
BELLS = """table_name("bell_events")
description("Rings.")
schema([Column("time", BIGINT, "When")])
attributes(event_subscriber=True)
implementation("bell_events@bells::genTable")
"""
CMAKE = """set(platform_independent_spec_files
  lamps.table
)
set(platform_dependent_spec_files
  "linux/bell_events.table:linux"
  # "linux/gone.table:linux"
)
if(OSQUERY_BUILD_BELLS)
  list(APPEND platform_dependent_spec_files
    "linux/chimes.table:linux,macos"
  )
endif()
"""


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    root = tmp_path / "specs"
    (root / "linux").mkdir(parents=True)
    (root / "lamps.table").write_text(LAMPS)
    (root / "linux" / "bell_events.table").write_text(BELLS)
    (root / "linux" / "chimes.table").write_text(BELLS.replace("bell_events", "chimes"))
    (root / "CMakeLists.txt").write_text(CMAKE)
    return root


def test_what_a_spec_says(specs: Path) -> None:
    made, problems = read_specs(specs, "9.9.9")
    assert problems == []
    assert made["osquery_version"] == "9.9.9"
    bells, chimes, lamps = made["tables"]
    assert lamps == {
        "name": "lamps",
        "platforms": ["darwin", "linux", "windows"],
        "aliases": ["lights"],
        "cacheable": True,
        "user_data": True,
        "columns": [
            {"name": "path", "type": "text", "required": True, "index": True, "optimized": True},
            {"name": "maker", "type": "text", "collate": "nocase", "aliases": ["brand"]},
            {"name": "lit_at", "type": "text"},
            {"name": "watts", "type": "unsigned_bigint", "additional": True},
            {"name": "bulb", "type": "integer", "hidden": True, "platforms": ["darwin", "linux"]},
            {"name": "driver", "type": "bigint", "platforms": ["windows"]},
        ],
    }
    assert (bells["platforms"], bells["evented"]) == (["linux"], True)
    assert (chimes["platforms"], chimes["build_condition"]) == (["darwin", "linux"], "OSQUERY_BUILD_BELLS")


def test_without_a_build_file_the_folders_say_where(specs: Path) -> None:
    (specs / "CMakeLists.txt").unlink()
    (specs / "denylist").write_text("# not these\nchimes\nfreebsd:lamps\n")
    made, problems = read_specs(specs, "9.9.9")
    assert problems == []
    assert {table["name"]: table["platforms"] for table in made["tables"]} == {
        "lamps": ["darwin", "linux", "windows"],
        "bell_events": ["linux"],
    }


BAD = [
    ("table_name('x'", "not a spec"),
    ("import os", "a spec is a list of calls"),
    ("open('/tmp/spec-was-run', 'w')", "open(…) is not known in a spec"),
    ("table_name(open('/tmp/spec-was-run', 'w').name)", "not a plain value"),
    ("table_name('x')\nschema([Column('a', FOO, '')])", "the column's type is none of"),
    ("table_name('x')\nschema([Pillar('a', TEXT, '')])", "not a Column(…)"),
    ("table_name('x')\nschema([Column(a, TEXT, '')])", "not a plain value"),
    ("table_name('x')\nextended_schema(AMIGA, [Column('a', TEXT, '')])", "not a platform"),
    ("table_name('x')", "names no table, or no column"),
    ("table_name('bell_events')\nschema([Column('a', TEXT, '')])", "a second table 'bell_events'"),
    ("\x00", "not a spec"),
    ("(" * 3000, "not a spec"),
    ("schema(" + "[" * 80 + "]" * 80 + ")", "not a Column(…)"),
]


@pytest.mark.parametrize(("text", "what"), BAD, ids=[what + str(number) for number, (_, what) in enumerate(BAD)])
def test_a_bad_spec(specs: Path, text: str, what: str) -> None:
    (specs / "lamps.table").write_text(text)
    (specs / "CMakeLists.txt").unlink()
    _, problems = read_specs(specs, "9.9.9")
    assert any("lamps.table" in str(problem) and what in problem.message for problem in problems) or any(
        what in problem.message for problem in problems if "second" in what
    )
    assert not Path("/tmp/spec-was-run").exists()


def test_differences_are_named(specs: Path) -> None:
    old, _ = read_specs(specs, "9.9.9")
    text = LAMPS.replace("UNSIGNED_BIGINT", "TEXT").replace('"bulb"', '"tube"').replace("cacheable=True, ", "")
    (specs / "lamps.table").write_text(text)
    (specs / "linux" / "bell_events.table").unlink()
    new, _ = read_specs(specs, "9.9.10")
    assert list(differences(old, old)) == []
    assert list(differences(old, new)) == [
        "version 9.9.9 became 9.9.10",
        "table bell_events is gone",
        "table lamps: cacheable True became None",
        "column lamps.bulb is gone",
        "column lamps.tube is new",
        "column lamps.watts: type unsigned_bigint became text",
    ]


def test_the_command_makes_a_folder_that_can_be_checked(specs: Path, tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    (packs / "queries").mkdir(parents=True)
    arguments = ("packs", "schema", str(specs), "--packs", str(packs))
    assert "say with --version" in muster_here(*arguments, check=False).stderr
    assert "3 tables" in muster_here(*arguments, "--version", "9.9.9").stdout
    made = (packs / "schema" / "osquery.json").read_bytes()
    assert "0 difference(s)" in muster_here(*arguments, "--check").stdout
    (packs / "queries" / "lamps.linux.sql").write_text("-- Lamps.\nSELECT maker, driver FROM lamps\n")
    catalog, problems = read_catalog(packs)
    said = " ".join(problem.message for problem in [*problems, *check_queries(catalog)])
    assert "lamps cannot be read without a value of path" in said
    assert "lamps.driver has a value on windows only" in said
    (specs / "lamps.table").write_text(LAMPS.replace('"driver"', '"controller"'))
    changed = muster_here(*arguments, "--check", check=False)
    assert changed.returncode == 3
    assert "column lamps.controller is new" in changed.stdout
    assert (packs / "schema" / "osquery.json").read_bytes() == made
    (specs / "lamps.table").write_text("import os\n")
    assert "lamps.table:1: a spec is a list of calls" in muster_here(*arguments, check=False).stdout
    assert (packs / "schema" / "osquery.json").read_bytes() == made


def test_the_notes_speak_of_tables_that_are_there() -> None:
    schema = json.loads((shipped_packs() / "schema" / "osquery.json").read_text())
    notes = json.loads((shipped_packs() / "schema" / "notes.json").read_text())
    columns = {table["name"]: {column["name"] for column in table["columns"]} for table in schema["tables"]}
    for table, moving in notes["moving"].items():
        assert set(moving) <= columns[table], table
    assert {*notes["like"], *notes["system_wide_too"]} <= columns.keys()
