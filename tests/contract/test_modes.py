"""What is kept of a query's answers, by its mode, and of columns without a past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from server.normalize.times import iso
from server.store.devices import Device
from server.store.store import Store
from server.store.thinning import thin
from tests.contract.test_store import run, send
from tests.support.histories import NOW, T0
from tests.support.server import snapshot_line
from tests.support.shapes import small_catalog
from tests.support.stores import add_device, open_store, rows

HISTORY = "SELECT proc, pid, load, valid_from, valid_to FROM procs_history ORDER BY pid"


def proc(pid: int, load: float = 0.5) -> dict[str, Any]:
    return {"proc": "p", "pid": str(pid), "load": str(load)}


def clock() -> float:
    return float(NOW)


async def answer(store: Store, device: Device, query: str, at: int, *found: dict[str, Any]) -> None:
    done = await send(store, device, snapshot_line(query, T0 + at, list(found)))
    assert not done.rejected


async def test_latest_keeps_the_rows_of_the_newest_answer_and_no_others(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        await answer(store, device, "procs", 0, proc(1), proc(2))
        await answer(store, device, "procs", 60, proc(2, 0.9), proc(3))
        assert await rows(store, HISTORY) == [
            ("p", 2, 0.9, "2026-09-21T14:14:20Z", None),
            ("p", 3, 0.5, "2026-09-21T14:14:20Z", None),
        ]
        assert await rows(store, "SELECT pid FROM procs ORDER BY 1") == [(2,), (3,)]
        assert await rows(store, "SELECT COUNT(*) FROM muster_rows_procs") == [(2,)]
        await answer(store, device, "procs", 120)
        assert await rows(store, "SELECT COUNT(*) FROM muster_rows_procs") == [(0,)]


async def test_an_older_answer_that_comes_late_changes_only_the_coverage_of_latest(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        await answer(store, device, "procs", 600, proc(1))
        kept = await rows(store, "SELECT * FROM muster_rows_procs")
        await answer(store, device, "procs", 0, proc(1, 0.9), proc(2))
        assert await rows(store, "SELECT * FROM muster_rows_procs") == kept
        assert await rows(store, "SELECT first_at, last_at FROM coverage") == [
            ("2026-09-21T14:13:20Z", "2026-09-21T14:23:20Z")
        ]


async def test_an_unchanged_answer_of_latest_writes_no_row_and_is_the_newest(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        await answer(store, device, "procs", 0, proc(1))
        kept = await rows(store, "SELECT * FROM muster_rows_procs")
        await answer(store, device, "procs", 60, proc(1))
        assert await rows(store, "SELECT * FROM muster_rows_procs") == kept
        assert await rows(store, HISTORY) == [("p", 1, 0.5, "2026-09-21T14:14:20Z", None)]


async def test_latest_takes_a_differential_too(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        await send(store, device, run("procs", T0 + 120, 2, [proc(3)], [proc(1)]))
        await send(store, device, run("procs", T0, 0, [proc(1)], []))
        await send(store, device, run("procs", T0 + 60, 1, [proc(2)], []))
        assert await rows(store, "SELECT pid FROM procs ORDER BY 1") == [(2,), (3,)]
        assert await rows(store, "SELECT status FROM coverage") == [("ok",)]


async def test_thinning_leaves_latest_what_its_next_run_goes_on_from(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        for counter, epoch in ((0, 0), (1, 0), (0, 1), (1, 1)):
            at = T0 + 60 * (counter + 2 * epoch)
            await send(store, device, run("procs", at, counter, [proc(10 * epoch + counter)], [], epoch))
        assert await thin(store.driver, iso(NOW)) == 2
        await send(store, device, run("procs", T0 + 600, 2, [proc(12)], [proc(10)], 1))
        assert await rows(store, "SELECT pid FROM procs ORDER BY 1") == [(11,), (12,)]
        assert await rows(store, "SELECT status FROM coverage") == [("ok",)]


async def test_a_late_answer_leaves_volatile_columns_at_their_newest_value(tmp_path: Path) -> None:
    async with open_store(tmp_path, small_catalog(), clock) as store:
        device = await add_device(store, "a")
        await answer(store, device, "folks", 600, {"who": "ann", "seen": "6"}, {"who": "bob", "seen": "6"})
        await answer(store, device, "folks", 0, {"who": "ann", "seen": "1"}, {"who": "cyd", "seen": "1"})
        assert await rows(store, "SELECT who, seen FROM folks ORDER BY 1") == [("ann", 6), ("bob", 6)]
        assert await rows(store, "SELECT who, seen, valid_from FROM folks_history ORDER BY 1") == [
            ("ann", 6, "2026-09-21T14:13:20Z"),
            ("bob", 6, "2026-09-21T14:23:20Z"),
            ("cyd", None, "2026-09-21T14:13:20Z"),
        ]


async def test_of_a_snapshot_and_a_run_of_one_second_the_snapshot_counts(tmp_path: Path) -> None:
    for position, order in enumerate(((0, 1), (1, 0))):
        folder = tmp_path / str(position)
        folder.mkdir()
        async with open_store(folder, small_catalog(), clock) as store:
            device = await add_device(store, "a")
            lines = [snapshot_line("files", T0, [{"f": "s"}]), run("files", T0, 0, [{"f": "r"}], [])]
            for number in order:
                await send(store, device, lines[number])
            assert await rows(store, "SELECT f FROM files") == [("s",)]
            assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(0,)]


async def test_a_column_that_becomes_volatile_loses_its_past(tmp_path: Path) -> None:
    catalog = small_catalog()
    folks = catalog.queries["folks", "linux"]
    fixed = replace(folks, columns=tuple(replace(column, volatile=False) for column in folks.columns))
    before = {key: fixed if query is folks else query for key, query in catalog.queries.items()}
    async with open_store(tmp_path, replace(catalog, queries=before), clock) as store:
        device = await add_device(store, "a")
        await answer(store, device, "folks", 0, {"who": "ann", "seen": "6"})
        await answer(store, device, "folks", 60)
        assert await rows(store, "SELECT seen FROM folks_history") == [(6,)]
    async with open_store(tmp_path, catalog, clock) as store:
        assert await rows(store, "SELECT seen FROM folks_history") == [(None,)]
