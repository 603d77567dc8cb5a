"""The packs that come with Muster: every query compiles, every control is judged as its cases say, by the judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from server.app import config_bodies, shipped_packs
from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.check import check_queries
from server.catalog.controls import Case
from server.evaluate.check import check_controls
from server.evaluate.judge import evaluate
from server.evaluate.rules import compile_rule
from server.evaluate.statements import evidence
from server.normalize.names import scheduled_name
from server.normalize.rows import typed_row
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

CATALOG = load_catalog(shipped_packs())
NOON = 1_790_000_000  # 2026-09-21
CASES = [(loaded, case) for loaded in CATALOG.controls.values() for case in loaded.cases]


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


@pytest.fixture(scope="module")
def store_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("cases")


async def test_every_case_is_judged_as_it_says(store_directory: Path) -> None:
    """One device a case, all of them judged in one day."""
    async with open_store(store_directory, CATALOG, clock=lambda: NOON + 3600.0) as store:
        devices = {}
        for number, (loaded, case) in enumerate(CASES):
            device = await add_device(store, f"case-{number}", case.platform)
            devices[number] = device.device_no
            rule = loaded.control.platforms[case.platform]
            query = CATALOG.queries[rule.query, case.platform]
            line = snapshot_line(scheduled_name(query.name, query.version), NOON, case.rows)
            raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
            done = await store.ingest(device, parse_log(raw))
            assert not done.rejected, case.name
        await evaluate(store, date(2026, 9, 21), date(2026, 9, 21))
        wrong = []
        for number, (loaded, case) in enumerate(CASES):
            found = await rows(
                store,
                "SELECT status, reason FROM posture p JOIN muster_devices d USING (device_id)"
                " WHERE d.device_no = ? AND p.control = ?",
                (devices[number], loaded.control_id),
            )
            if found != [(case.status, case.reason)]:
                wrong.append(f"{loaded.control_id}: {case.name}: {found} instead of {case.status} {case.reason}")
            deciding = await _evidence(store, devices[number], loaded, case)
            if case.evidence is not None and deciding != case.evidence:
                wrong.append(f"{loaded.control_id}: {case.name}: evidence {deciding} instead of {case.evidence}")
        assert not wrong, "\n".join(wrong)


async def _evidence(store: Store, device_no: int, loaded: LoadedControl, case: Case) -> list[int]:
    """The positions of the case's rows that the evidence statement gives."""
    platform_rule = loaded.control.platforms[case.platform]
    table = (await store.read(store.tables))[platform_rule.query]
    rule = compile_rule(platform_rule, {column.sql_name: column.kind for column in table.columns})
    end = "2026-09-22T00:00:00Z"
    given = await rows(store, evidence(table, rule, case.status), (device_no, end, end))
    sent = [typed_row(row, table.columns).values for row in case.rows]
    positions = []
    for values in given:
        position = next(n for n, row in enumerate(sent) if row == values and n not in positions)
        positions.append(position)
    return sorted(positions)
