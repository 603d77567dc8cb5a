"""Packs of other tools become Muster's, and Muster's a plain osquery pack; what cannot is said, with file and line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.app import shipped_packs
from server.catalog.catalog import Catalog, read_catalog
from server.catalog.check import check_queries
from server.catalog.exchange.columns import NotNamedError, name_columns
from server.catalog.exchange.export import NoSuchPackError, export_pack
from server.catalog.exchange.foreign import platforms_meant
from server.catalog.schema import load_schema
from server.cli.packs import packs as command
from server.evaluate.check import check_controls
from server.normalize.names import parse_scheduled_name
from tests.support.stores import shipped_catalog

DATA = Path(__file__).parent.parent / "data" / "exchange"
SCHEMA = load_schema(shipped_packs())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(shipped_packs() / "schema", tmp_path / "packs" / "schema")
    return tmp_path / "packs"


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


async def clean(folder: Path) -> Catalog:
    catalog, problems = read_catalog(folder)
    assert [*problems, *check_queries(catalog), *await check_controls(catalog)] == []
    return catalog


async def test_a_pack_with_everything_osquery_allows(folder: Path) -> None:
    code, said = run("import", DATA / "attic.conf", "--into", folder)
    assert code == 3
    for line in (
        "attic.conf:35: query 'typo' on darwin: no such column: nam",
        "attic.conf:36: query 'gone': no such table: opera_extensions (",
        "attic.conf:37: query 'rare': interval 9999999 is not between 1 and 604800 seconds",
        "attic.conf:38: query 'two': 2 statements; a query is exactly one SELECT",
        "attic.conf:39: query 'odd': not SQL",
        "attic.conf:40: query 'nothing' has no SQL",
        "attic.conf:41: query 'gentoo': osquery runs nothing that is for 'gentoo'",
        "attic.conf:34: query 'shares': osquery runs nothing that is for 'windows'",
    ):
        assert line in said
    assert "5 queries and 0 controls written" in said
    catalog = await clean(folder)
    pack = catalog.packs["attic"]
    assert pack.platforms == ["darwin", "linux"]
    assert pack.discovery == ["SELECT 1 FROM osquery_info"]
    assert pack.queries["kernel_info"].interval == 86_400  # type: ignore[union-attr]
    assert pack.queries["crontabs"].interval == 60, "the least there is"  # type: ignore[union-attr]
    assert catalog.packs["attic-from-5-10-0"].targets.osquery == "5.10.0"  # type: ignore[union-attr]
    assert catalog.packs["attic-10-percent"].targets.percentage == 10  # type: ignore[union-attr]
    kernel = catalog.queries["kernel_info", "linux"]
    assert kernel.description.startswith("Note: which kernel runs. Old kernels have known holes")
    assert [column.name for column in kernel.columns] == ["version", "arguments", "path"]
    assert [column.name for column in catalog.queries["crontabs", "linux"].columns] == ["command", "path", "count"]
    joined = [column.name for column in catalog.queries["own_and_others", "linux"].columns]
    assert joined.count("uid") == 1
    assert {"users_gid", "user_groups_gid"} & set(joined)
    assert "'kernel' AS kind" in catalog.queries["a_tenth", "linux"].sql
    assert catalog.queries["starts", "linux"].mode == "events"
    assert ("starts", "darwin") not in catalog.queries


async def test_fleets_queries_packs_and_policies(folder: Path) -> None:
    code, said = run("import", DATA / "fleet.yml", DATA / "gitops.yml", "--into", folder)
    assert code == 3
    for line in (
        "fleet.yml:13: pack 'Night shift': its targets were not taken over",
        "pack 'Night shift' asks for a query 'Machines by Nam' that the file does not have",
        "did you mean 'Machines by Name'?",
        "fleet.yml:29: a 'label' was not taken over",
        "gitops.yml:7: policy 'Broken': no such table: gatekeepr (did you mean 'gatekeeper'?)",
        "gitops.yml:10: policies of ./more.policies.yml are in a file of their own",
        "gitops.yml:16: an entry has no name",
        "gitops.yml:17: 'polices' was not taken over",
    ):
        assert line in said
    catalog = await clean(folder)
    assert set(catalog.controls) == {"gatekeeper-is-on", "no-guests"}
    gatekeeper = catalog.controls["gatekeeper-is-on"].control
    assert gatekeeper.severity == "high"
    assert gatekeeper.remediation["darwin"] == "Run: spctl --master-enable"
    assert set(catalog.packs) == {"night-shift", "fleet-pack", "gitops", "gitops-from-5-9-0"}
    machines = [column.name for column in catalog.queries["machines_by_name", "darwin"].columns]
    assert machines[-1] == "computer_name"
    assert "username" in machines


def test_an_osquery_conf_with_packs_by_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(DATA / "attic.conf", tmp_path / "more" / "attic.conf")
    conf = {
        "options": {"host_identifier": "uuid"},
        "schedule": {"up": {"query": "select total_seconds / 86400 as days from uptime", "interval": 3600}},
        "packs": {
            "inline": {"queries": {"os": {"query": "select name from os_version", "interval": 60}}},
            "*": "more/*.conf",
            "lost": "/nowhere/lost.conf",
            "odd": 3,
        },
    }
    (tmp_path / "osquery.conf").write_text(json.dumps(conf, indent=1), encoding="utf-8")
    code, said = run("import", tmp_path / "osquery.conf", "--into", folder, "--json")
    assert code == 3
    told = json.loads(said.splitlines()[0])
    assert told["queries"] == 7
    assert {"osquery.yaml", "inline.yaml", "attic.yaml"} <= set(told["files"])
    messages = " ".join(problem["message"] for problem in told["problems"])
    assert "'options' was not taken over" in messages
    assert "pack 'lost': there is no file /nowhere/lost.conf" in messages
    assert "pack 'odd' is neither a pack nor a path" in messages


def test_nothing_is_written_over_or_dry(folder: Path) -> None:
    run("import", DATA / "gitops.yml", "--into", folder, "--dry-run")
    assert not (folder / "gitops.yaml").exists()
    run("import", DATA / "gitops.yml", "--into", folder)
    before = (folder / "gitops.yaml").read_bytes()
    code, said = run("import", DATA / "gitops.yml", "--into", folder)
    assert code != 0
    assert (folder / "gitops.yaml").read_bytes() == before, said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.conf", "[1, 2]", "file is not an object"),
        ("half.conf", '{"queries": {"a": {"query": "select 1"', "half.conf:1: not JSON as osquery reads it"),
        ("late.conf", '{\n// why\n"queries": {\n  "a": }\n}', "late.conf:4: not JSON as osquery reads it"),
        ("deep.conf", "[" * 100_000, "nested too deeply"),
        ("none.conf", '{"platform": "linux"}', "pack 'none' has no queries"),
        ("twice.conf", '{"queries": {"a": {"query": "select 1 as b"}, "a": {}}}', "'a' is given twice"),
        ("text.yml", "just words", "neither a mapping nor a list"),
        ("bad.yml", "a: [1", "bad.yml:1: not YAML"),
        ("latin.conf", b'{"queries": {"\xe9": {}}}', "not UTF-8"),
    ],
)
def test_files_that_are_no_packs(folder: Path, tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, output = run("import", tmp_path / name, "--into", folder)
    assert code == 3
    assert said in output
    assert "Traceback" not in output


def test_where_osquery_would_run_it() -> None:
    assert platforms_meant("") == platforms_meant("all") == platforms_meant("null") == ("darwin", "linux", "windows")
    assert platforms_meant("posix") == platforms_meant("linux,darwin") == ("darwin", "linux")
    assert platforms_meant("ubuntu") == ("linux",)
    assert platforms_meant("gentoo") == ()


def test_stars_are_written_out_and_other_queries_stay_word_for_word() -> None:
    kept = "select name,  major from os_version -- as it is"
    assert name_columns(f"{kept};", "linux", SCHEMA) == kept
    expanded = name_columns(
        "SELECT h.md5, f.* FROM file f JOIN hash h USING (path) WHERE f.path = '/x'", "linux", SCHEMA
    )
    assert expanded.startswith("SELECT\n  h.md5,\n  f.path,")
    union = name_columns("WITH a AS (SELECT * FROM time) SELECT * FROM a UNION SELECT * FROM a", "linux", SCHEMA)
    assert union.count("unix_time") == 3
    with pytest.raises(NotNamedError, match="no such table: shared_folders"):
        name_columns("SELECT * FROM shared_folders", "linux", SCHEMA)


def test_an_export_is_what_osquery_takes_and_muster_knows_again() -> None:
    catalog = shipped_catalog()
    body, said = export_pack(catalog, "posture")
    exported = json.loads(body)
    known = {(query.name, query.version) for query in catalog.queries.values()}
    assert {tuple(parse_scheduled_name(name)) for name in exported["queries"]} <= known
    for entry in exported["queries"].values():
        assert entry["snapshot"] is True
        assert platforms_meant(entry["platform"])
    assert "pack_delimiter" in said[0]
    with pytest.raises(NoSuchPackError, match="did you mean 'posture'"):
        export_pack(catalog, "postur")


async def test_an_export_comes_back(folder: Path, tmp_path: Path) -> None:
    body, _ = export_pack(shipped_catalog(), "inventory")
    (tmp_path / "inventory.conf").write_bytes(body)
    code, said = run("import", tmp_path / "inventory.conf", "--into", folder)
    assert code == 0, said
    catalog = await clean(folder)
    assert len(catalog.packs["inventory"].queries) == len(json.loads(body)["queries"])


def test_a_column_that_a_star_loses_is_a_note(folder: Path, tmp_path: Path) -> None:
    asked = {"os": {"query": "SELECT * FROM kernel_info"}, "named": {"query": "SELECT path FROM kernel_info"}}
    (tmp_path / "stars.conf").write_text(json.dumps({"platform": "linux", "queries": asked}, indent=1))
    code, said = run("import", tmp_path / "stars.conf", "--into", folder)
    assert code == 0, said
    notes = [line for line in said.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert "query 'os': its * was written out without kernel_info." in notes[0]
