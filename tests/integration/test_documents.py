"""What the documents list is what there is, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.api.people import LISTS
from tests.support.server import muster
from tests.support.stores import open_store, rows

ROOT = Path(__file__).parents[2]
_FOUND = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "packs" / "README.md", *(ROOT / "docs").rglob("*.md")]
DOCUMENTS = sorted(_FOUND)


async def public_views(tmp_path: Path) -> set[str]:
    async with open_store(tmp_path) as store:
        found = await rows(store, "SELECT name FROM sqlite_master WHERE type = 'view' AND name NOT LIKE 'muster%'")
        queries = await rows(store, "SELECT table_name FROM muster_queries")
    own = {name for (name,) in queries}
    return {name for (name,) in found if name.removesuffix("_history") not in own}


async def test_the_readme_and_the_help_name_every_view(tmp_path: Path) -> None:
    views = await public_views(tmp_path)
    assert {"posture", "posture_revisions", "devices_history"} <= views
    readme, told = (ROOT / "README.md").read_text(encoding="utf-8"), muster("sql", "--help").stdout
    assert {name for name in views if f"`{name}`" not in readme} == set()
    assert views - set(re.findall(r"\w+", told)) == set()


def test_the_api_is_described_whole() -> None:
    described = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert {name for name in LISTS if name not in described} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []
