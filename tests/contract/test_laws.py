"""The law of the store: what a database says is a function of what happened, not of how it was told."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.store.store import Store
from tests.support import stores
from tests.support.deliveries import anyhow, deliver, devices_of, in_order
from tests.support.export import as_bytes, export
from tests.support.histories import NOW, Fleet, fleets
from tests.support.oracle import expected
from tests.support.shapes import small_catalog
from tests.support.stores import passing_store, rows

QUICK = settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    # Shrinking a fleet takes minutes: the deep variant does it.
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
FEW = settings(QUICK, max_examples=5)
DEEP = settings(
    QUICK, max_examples=200, derandomize=False, phases=(Phase.explicit, Phase.generate, Phase.shrink), print_blob=True
)
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize("database", ["postgres"], indirect=True)
SEEDS = st.integers(0, 2**32)


def same(left: Mapping[str, Any], right: Mapping[str, Any], why: str) -> None:
    """Say which table differs, and in which rows."""
    for name in left:
        missing = [row for row in left[name] if row not in right[name]]
        extra = [row for row in right[name] if row not in left[name]]
        assert left[name] == right[name], f"{why}: {name}\n  only there: {missing}\n  only here:  {extra}"


async def remembered(store: Store) -> dict[str, list[Any]]:
    """What the store keeps to go on from. A state's mark hangs on the order in which columns came."""
    instants = await rows(store, "SELECT device_no, table_name, at, status, version, fingerprint FROM muster_instants")
    runs = await rows(
        store,
        "SELECT device_no, table_name, at, epoch, counter, version, whole, added, removed FROM muster_runs_received",
    )
    shortened = [(*key, mark[:1] if mark.startswith("+") else mark) for *key, mark in instants]
    return {"muster_instants": sorted(shortened), "muster_runs_received": sorted(runs)}


async def told_anyhow(factory: pytest.TempPathFactory, fleet: Fleet, seed: int, *, certain: bool) -> None:
    kept, exports = [], []
    for groups in (in_order(fleet), anyhow(fleet, Random(seed))):
        async with passing_store(factory.mktemp("law"), small_catalog(), clock=lambda: float(NOW)) as store:
            await deliver(store, await devices_of(store, fleet), groups)
            kept.append(await remembered(store))
            exports.append(await export(store))
    if certain:
        truth = expected(fleet)
        assert truth.keys() <= exports[0].keys()
        same(truth, exports[0], "the truth, and what was told of it in order")
        assert exports[0]["rejects"] == []
    same(exports[0], exports[1], "told in order, and told anyhow")
    same(kept[0], kept[1], "told in order, and told anyhow")


@ON_SQLITE
@QUICK
@given(fleet=fleets(), seed=SEEDS)
async def test_any_delivery_of_a_history_ends_in_the_truth(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, seed: int
) -> None:
    await told_anyhow(tmp_path_factory, fleet, seed, certain=True)


@ON_SQLITE
@QUICK
@given(fleet=fleets(collisions=True), seed=SEEDS)
async def test_any_delivery_of_answers_of_one_second_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, seed: int
) -> None:
    await told_anyhow(tmp_path_factory, fleet, seed, certain=False)


@ON_POSTGRES
@FEW
@given(fleet=fleets(), collided=fleets(collisions=True), seed=SEEDS)
async def test_the_same_holds_on_postgres(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, collided: Fleet, seed: int
) -> None:
    await told_anyhow(tmp_path_factory, fleet, seed, certain=True)
    await told_anyhow(tmp_path_factory, collided, seed, certain=False)


@ON_SQLITE
@FEW
@given(fleet=fleets(collisions=True), seed=SEEDS)
async def test_both_databases_tell_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, seed: int
) -> None:
    told = []
    for kind, groups in (("sqlite", in_order(fleet)), ("postgres", anyhow(fleet, Random(seed)))):
        with stores.opening(kind):
            async with passing_store(tmp_path_factory.mktemp(kind), small_catalog(), clock=lambda: float(NOW)) as store:
                await deliver(store, await devices_of(store, fleet), groups)
                told.append(await export(store))
    same(told[0], told[1], "on SQLite, and on Postgres")
    assert as_bytes(told[0]) == as_bytes(told[1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@DEEP
@given(fleet=fleets(), collided=fleets(collisions=True), seed=SEEDS)
async def test_the_law_holds_for_many_histories(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, collided: Fleet, seed: int
) -> None:
    await told_anyhow(tmp_path_factory, fleet, seed, certain=True)
    await told_anyhow(tmp_path_factory, collided, seed, certain=False)
