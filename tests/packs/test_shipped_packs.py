"""The packs that come with Muster: every query compiles, every control is judged as its cases say, by the judge."""

from __future__ import annotations

import json

import pytest

from server.app import scratch_database, shipped_packs
from server.catalog.catalog import load_catalog
from server.catalog.check import check_queries
from server.catalog.config import config_body
from server.catalog.schema import PLATFORMS
from server.evaluate.case_check import check_cases
from server.evaluate.cases import run_cases
from server.evaluate.check import check_controls
from tests.support import postgres
from tests.support.stores import shipped_catalog

CATALOG = shipped_catalog()


async def test_queries_and_rules_compile() -> None:
    assert check_queries(CATALOG) == []
    assert await check_controls(CATALOG) == []


def test_configs_are_small_and_the_same_bytes_every_time() -> None:
    again = load_catalog(shipped_packs())
    for platform in PLATFORMS:
        body = config_body(CATALOG, platform)
        assert body == config_body(again, platform)
        config = json.loads(body)
        names = [name for pack in config["packs"].values() for name in pack["queries"]]
        assert len(names) == len(set(names)), platform
        assert config["options"]["logger_event_type"] is False


def test_every_rule_has_cases_of_every_kind() -> None:
    assert check_cases(CATALOG) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_every_case_is_judged_as_it_says(kind: str) -> None:
    async with scratch_database(postgres.cluster() if kind == "postgres" else None) as driver:
        results = await run_cases(driver, CATALOG)
    assert len(results) == sum(len(loaded.cases) for loaded in CATALOG.controls.values())
    assert [result for result in results if not result.passed] == []
