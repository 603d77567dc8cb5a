"""What hides in packs: keys that are not read, characters nobody sees, files in the wrong place, things twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import read_catalog
from server.catalog.check import check_queries


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A packs folder that has nothing but osquery's schema."""
    shutil.copytree(shipped_packs() / "schema", tmp_path / "schema")
    (tmp_path / "queries").mkdir()
    return tmp_path


async def problems(packs: Path) -> str:
    catalog, found = read_catalog(packs)
    return "\n".join(str(problem) for problem in found or check_queries(catalog))


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("-- A.\nSELECT uid FROM users\n-- mode: latest\n", 3, "the header key 'mode' stands below the first word"),
        ("-- A.\n-- Mode: latest\nSELECT uid FROM users", 2, "'-- Mode:' is no header key"),
        ("-- A.\n-- mode = latest\nSELECT uid FROM users", 2, "write it so: -- mode: …"),
        ("-- A.\nSELECT uid\nFROM\u00a0users", 3, "character U+00A0 (NO-BREAK SPACE) in the SQL"),
        ("-- A.\nSELECT u\u200bid FROM users", 2, "character U+200B (ZERO WIDTH SPACE) in the SQL"),
        ("-- A.\nSELECT uid FROM users WHERE uid = ?", 2, "the query has parameters"),
        ("-- A.\n/* B. */ ATTACH 'x' AS y", 2, "ATTACH is not a SELECT"),
        ("-- A.\nSELECT uid FROM users WHERE username = 'x", 2, "is a quotation mark"),
        ("-- A.\n", 2, "the file holds no SQL"),
        ("-- A.\nSELECT a.uid FROM users a" + " JOIN users" * 40, 2, "more than 8 joins in a row without ON or USING"),
        (
            "-- A.\n-- columns: x bigint\nWITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
            " SELECT x FROM c",
            3,
            "the recursion of c never ends",
        ),
    ],
)
async def test_what_hides_in_a_query(packs: Path, text: str, line: int, what: str) -> None:
    (packs / "queries" / "made_up.linux.sql").write_text(text, encoding="utf-8")
    said = await problems(packs)
    assert f"queries/made_up.linux.sql:{line}:" in said
    assert what in said


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff-- A.\r\nSELECT uid FROM users -- to: say\r\n",
        "-- A.\nSELECT uid FROM users WHERE username = 'a\u00a0b' -- \u2026\n",
        "-- A.\n-- columns: x bigint\nWITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9)"
        " SELECT x FROM c",
        "-- A.\nSELECT a.uid FROM users a" + "".join(f" JOIN users u{n} ON u{n}.uid = a.uid" for n in range(20)),
    ],
)
async def test_what_only_looks_odd(packs: Path, text: str) -> None:
    (packs / "queries" / "made_up.linux.sql").write_text(text, encoding="utf-8", newline="")
    assert await problems(packs) == ""


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("queries/x.SQL", "name it x.sql"),
        ("x.sql", "queries are in the folder queries"),
        ("more/x.yaml", "packs are files beside the folder queries"),
        ("x.YAML", "name it x.yaml"),
        (".github/workflows/check.yml", ""),
    ],
)
async def test_a_file_from_where_nothing_is_read(packs: Path, name: str, hint: str) -> None:
    (packs / name).parent.mkdir(parents=True, exist_ok=True)
    (packs / name).write_text("-- A.\nSELECT uid FROM users", encoding="utf-8")
    assert (await problems(packs)).startswith(f"{name}:1: this file is not read\n    {hint}" if hint else "")
    assert hint or not await problems(packs)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("controls: [guest-account-off, guest-account-off]", "x.yaml:2: controls: 'guest-account-off' is there twice"),
        ("platforms: [linux, linux]", "x.yaml:2: platforms: 'linux' is there twice"),
        ("platforms: []", "x.yaml:2: platforms: List should have at least 1 item"),
    ],
)
async def test_a_pack_that_says_it_twice_or_for_nobody(packs: Path, text: str, what: str) -> None:
    (packs / "x.yaml").write_text(f"title: x\n{text}\n", encoding="utf-8")
    assert what in await problems(packs)


async def test_a_column_of_two_types(packs: Path) -> None:
    (packs / "queries" / "made_up.darwin.sql").write_text("-- Accounts.\nSELECT uid AS who FROM users\n")
    linux = packs / "queries" / "made_up.linux.sql"
    linux.write_text("-- Accounts.\nSELECT\n  username AS WHO\nFROM users\n")
    said = await problems(packs)
    assert "queries/made_up.linux.sql:3: column 'WHO' is text here, but bigint in queries/made_up.darwin.sql" in said
    assert "CAST it in one of them" in said
    linux.write_text("-- Accounts.\nSELECT CAST(username AS BIGINT) AS who FROM users\n")
    assert await problems(packs) == ""
