"""The packs that come with Muster: every query compiles, every control is judged as its cases say, by the judge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.app import config_bodies, scratch_database, shipped_packs
from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.check import check_queries
from server.catalog.controls import Case
from server.evaluate.cases import run_cases
from server.evaluate.check import check_controls
from server.normalize.rows import typed_row
from tests.support import postgres

CATALOG = load_catalog(shipped_packs())


async def test_queries_and_rules_compile() -> None:
    assert check_queries(CATALOG) == []
    assert await check_controls(CATALOG) == []


def test_configs_are_small_and_the_same_bytes_every_time() -> None:
    first, second = config_bodies(CATALOG), config_bodies(load_catalog(shipped_packs()))
    assert first == second
    for platform, body in first.bodies.items():
        config = json.loads(body)
        names = [name for pack in config["packs"].values() for name in pack["queries"]]
        assert len(names) == len(set(names)), platform
        assert config["options"]["logger_event_type"] is False


@pytest.mark.parametrize("loaded", CATALOG.controls.values(), ids=list(CATALOG.controls))
def test_a_control_has_cases_of_every_kind(loaded: LoadedControl) -> None:
    found = {(case.platform, case.status) for case in loaded.cases}
    for platform in loaded.control.platforms:
        assert {(platform, "pass"), (platform, "fail")} <= found
    assert any(not case.rows for case in loaded.cases), "no case of an empty answer"
    assert any(case.reason == "undecided" for case in loaded.cases), "no case of an undecidable row"
    assert any(_misfits(CATALOG, loaded, case) for case in loaded.cases), "no case of a malformed row"


def _misfits(catalog: Catalog, loaded: LoadedControl, case: Case) -> bool:
    columns = _columns(catalog, loaded, case)
    return any(typed_row(row, columns).misfit for row in case.rows)


def _columns(catalog: Catalog, loaded: LoadedControl, case: Case) -> Any:
    from server.store.shipped import shipped_queries

    return shipped_queries(catalog)[loaded.control.platforms[case.platform].query].columns


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_every_case_is_judged_as_it_says(kind: str) -> None:
    async with scratch_database(postgres.cluster() if kind == "postgres" else None) as driver:
        results = await run_cases(driver, CATALOG)
    assert len(results) == sum(len(loaded.cases) for loaded in CATALOG.controls.values())
    assert [result for result in results if not result.passed] == []
