"""What the store promises, on a real database."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from server.store.deliveries import Ingested
from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

T0 = 1_790_000_000


async def send(store: Store, device: Device, *lines: dict[str, Any], log_type: str = "result") -> Ingested:
    body = {"node_key": "k", "log_type": log_type, "data": list(lines)}
    return await store.ingest(device, parse_log(json.dumps(body).encode()))


def event(name: str, at: int, counter: int, action: str, row: dict[str, Any], epoch: int = 0) -> dict[str, Any]:
    return {"name": name, "unixTime": at, "epoch": epoch, "counter": counter, "action": action, "columns": row}


def run(name: str, at: int, counter: int, added: list[Any], removed: list[Any], epoch: int = 0) -> dict[str, Any]:
    difference = {"added": added, "removed": removed}
    return {"name": name, "unixTime": at, "epoch": epoch, "counter": counter, "diffResults": difference}


async def test_a_row_is_stored_once_with_the_time_it_was_true(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for step, folks in enumerate((["ann", "bob"], ["ann", "bob"], ["ann"], ["ann", "bob"])):
            await send(store, device, snapshot_line("folks", T0 + step * 60, [{"who": who} for who in folks]))
        assert await rows(store, "SELECT who FROM folks ORDER BY 1") == [("ann",), ("bob",)]
        assert await rows(store, "SELECT who, valid_from, valid_to FROM folks_history ORDER BY 1, 2") == [
            ("ann", "2026-09-21T14:13:20Z", None),
            ("bob", "2026-09-21T14:13:20Z", "2026-09-21T14:15:20Z"),
            ("bob", "2026-09-21T14:16:20Z", None),
        ]


async def test_an_unchanged_answer_writes_no_row(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for step in range(5):
            await send(store, device, snapshot_line("folks", T0 + step * 60, [{"who": "ann"}]))
        assert await rows(store, "SELECT COUNT(*) FROM muster_rows_folks") == [(1,)]
        assert await rows(store, "SELECT first_at, last_at, status FROM coverage") == [
            ("2026-09-21T14:13:20Z", "2026-09-21T14:17:20Z", "ok")
        ]


async def test_an_empty_answer_ends_every_row_and_is_covered(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, snapshot_line("folks", T0, [{"who": "ann"}]))
        await send(store, device, snapshot_line("folks", T0 + 60, []))
        assert await rows(store, "SELECT * FROM folks") == []
        assert await rows(store, "SELECT last_at FROM coverage") == [("2026-09-21T14:14:20Z",)]


async def test_equal_rows_are_kept_as_often_as_they_are_true(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for step, count in enumerate((2, 3, 1)):
            await send(store, device, snapshot_line("folks", T0 + step, [{"who": "ann"}] * count))
            assert await rows(store, "SELECT COUNT(*) FROM folks") == [(count,)]


async def test_two_devices_never_touch(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = await add_device(store, "a"), await add_device(store, "b")
        await send(store, first, snapshot_line("folks", T0, [{"who": "ann"}]))
        await send(store, second, snapshot_line("folks", T0 + 1, [{"who": "ann"}]))
        await send(store, second, snapshot_line("folks", T0 + 2, []))
        assert await rows(store, "SELECT hostname, who FROM folks") == [("a", "ann")]


async def test_late_data_lands_in_its_own_time_and_what_was_known_before_stays_known(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, snapshot_line("folks", T0, [{"who": "ann"}]))
        await send(store, device, snapshot_line("folks", T0 + 200, [{"who": "ann"}]))
        known = await rows(store, "SELECT MAX(opened_seq) FROM muster_rows_folks")
        await send(store, device, snapshot_line("folks", T0 + 100, []))
        assert await rows(store, "SELECT valid_from, valid_to FROM folks_history ORDER BY 1") == [
            ("2026-09-21T14:13:20Z", "2026-09-21T14:15:00Z"),
            ("2026-09-21T14:16:40Z", None),
        ]
        before = "opened_seq <= ? AND (muster_superseded_seq IS NULL OR muster_superseded_seq > ?)"
        assert await rows(
            store, f"SELECT valid_from, valid_to FROM muster_rows_folks WHERE {before}", (known[0][0], known[0][0])
        ) == [("2026-09-21T14:13:20Z", None)]


async def test_volatile_columns_are_the_newest_and_no_history(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        row = {"name": "users", "interval": "3600", "denylisted": "0"}
        for step in range(3):
            moving = {"executions": str(step), "output_size": "5"}
            await send(store, device, snapshot_line("osquery_schedule", T0 + step * 60, [row | moving]))
        assert await rows(store, "SELECT name, executions FROM osquery_schedule") == [("users", 2)]
        assert await rows(store, "SELECT COUNT(*) FROM osquery_schedule_history") == [(1,)]


async def test_values_that_do_not_fit_are_null_and_kept(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        done = await send(store, device, snapshot_line("users", T0, [{"uid": "zero", "username": "root"}]))
        assert not done.rejected
        assert await rows(store, "SELECT uid, username, _misfit FROM users") == [(None, "root", '{"uid":"zero"}')]


async def test_a_differential_is_applied_by_counter_not_by_position(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(
            store,
            device,
            event("files", T0 + 20, 1, "added", {"f": "new"}),
            event("files", T0 + 20, 1, "removed", {"f": "old"}),
            event("files", T0 + 10, 0, "added", {"f": "old"}),
        )
        assert await rows(store, "SELECT f FROM files") == [("new",)]
        assert await rows(store, "SELECT f, valid_to FROM files_history ORDER BY f DESC") == [
            ("old", "2026-09-21T14:13:40Z"),
            ("new", None),
        ]


async def test_a_new_epoch_begins_from_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, run("files", T0, 0, [{"f": "a"}, {"f": "b"}], []))
        await send(store, device, run("files", T0 + 10, 0, [{"f": "b"}, {"f": "c"}], [], epoch=7))
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [("b",), ("c",)]
        assert await rows(store, "SELECT COUNT(*) FROM files_history WHERE f = 'b'") == [(1,)]


async def test_a_gap_is_said_until_a_run_starts_anew(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, run("files", T0, 0, [{"f": "a"}], []))
        await send(store, device, run("files", T0 + 20, 2, [{"f": "c"}], []))
        assert await rows(store, "SELECT status FROM coverage ORDER BY first_at") == [("ok",), ("incomplete",)]
        await send(store, device, run("files", T0 + 10, 1, [{"f": "b"}], []))
        assert await rows(store, "SELECT status FROM coverage") == [("ok",)]
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [("a",), ("b",), ("c",)]


async def test_a_run_may_come_in_pieces_and_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        pieces = [event("files", T0, 0, "added", {"f": name}) for name in "abc"]
        await send(store, device, pieces[2], pieces[0])
        await send(store, device, *pieces)
        await send(store, device, pieces[1])
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [("a",), ("b",), ("c",)]


async def test_the_same_value_is_one_row_in_snapshot_and_differential(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, event("files", T0, 0, "added", {"f": r"a\x0Ab"}))
        await send(store, device, snapshot_line("files", T0 + 10, [{"f": "a\nb"}]))
        assert await rows(store, "SELECT f, valid_to FROM files_history") == [("a\nb", None)]


async def test_a_failing_query_is_an_error_and_not_an_answer(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        message = "Error executing scheduled query pack/posture/users@0123456789: no such table: users"
        line = {
            "unixTime": T0,
            "severity": 2,
            "filename": "scheduler.cpp",
            "line": 1,
            "message": message,
            "version": "5",
        }
        await send(store, device, line, line, log_type="status")
        await send(store, device, line, line, log_type="status")
        assert await rows(store, "SELECT query, status, message FROM coverage") == [
            ("users", "error", "no such table: users")
        ]
        assert await rows(store, "SELECT COUNT(*) FROM status_logs") == [(2,)]


async def test_a_denylisted_query_is_known_from_the_schedule(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        row = {"name": "pack/posture/users@0123456789", "interval": "3600", "denylisted": "1"}
        await send(store, device, snapshot_line("osquery_schedule", T0, [row]))
        found = await rows(store, "SELECT status, basis FROM coverage WHERE query = 'users'")
        assert found == [("denylisted", "schedule")]


@pytest.mark.parametrize(("offset", "why"), [(-40_000 * 86_400, "older than"), (2**40, "after the year 9999")])
async def test_a_time_that_cannot_be_believed_is_set_aside(tmp_path: Path, offset: int, why: str) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        now = int(time.time())
        bad = snapshot_line("folks", now + offset, [{"who": "bad"}])
        await send(store, device, bad, snapshot_line("folks", now, [{"who": "good"}]))
        await send(store, device, bad)
        assert await rows(store, "SELECT who FROM folks") == [("good",)]
        found = await rows(store, "SELECT query, reason FROM rejects")
        assert [query for query, _ in found] == ["folks"]
        assert why in found[0][1]


async def test_columns_may_come_later_and_be_called_anything(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, snapshot_line("odd", T0, [{"group": "x", "Name": "a", "name": "b"}]))
        row = {"group": "x", "Name": "a", "name": "b", "device_id": "z", 'say "hi"': 5, "n" * 100: 1.5}
        await send(store, device, snapshot_line("odd", T0 + 60, [row]))
        columns, found = await store.read(lambda tx: tx.select("SELECT * FROM odd"))
        assert len(found) == 1
        values = dict(zip(columns, found[0], strict=True))
        assert values["group"] == "x"
        assert {values["name"], *(v for k, v in values.items() if k.startswith("name_"))} == {"a", "b"}
        assert values["device_id_"] == "z"
        assert values["say__hi_"] == 5
        assert 1.5 in values.values()


async def test_the_number_of_foreign_tables_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.registry.UNMANAGED_QUERIES", 3)
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        done = await send(store, device, *[snapshot_line(f"foreign_{n}", T0, [{"a": "1"}]) for n in range(5)])
        assert done.answers == 3
        assert len(done.rejected) == 2
        assert await rows(store, "SELECT COUNT(*) FROM rejects") == [(2,)]


async def test_a_snapshot_after_a_broken_differential_is_the_whole_truth(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        whole = [{"f": "a"}, {"f": "b"}]
        await send(store, device, snapshot_line("files", T0, whole))
        await send(store, device, run("files", T0 + 60, 3, [], [{"f": "b"}]))
        await send(store, device, snapshot_line("files", T0 + 120, whole))
        assert await rows(store, "SELECT f FROM files ORDER BY 1") == [("a",), ("b",)]


async def test_work_that_fails_undoes_itself_alone(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")

        async def fails(tx: Any) -> None:
            await tx.run("DELETE FROM muster_devices")
            raise ValueError("on purpose")

        results = await asyncio.gather(
            send(store, device, snapshot_line("folks", T0, [{"who": "ann"}])),
            store.write(fails),
            send(store, device, snapshot_line("more", T0, [{"who": "bob"}])),
            return_exceptions=True,
        )
        assert isinstance(results[1], ValueError)
        assert await rows(store, "SELECT COUNT(*) FROM devices, folks, more") == [(1,)]


async def test_bodies_stored_together_may_each_bring_a_column(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        devices = [await add_device(store, name) for name in "abcd"]
        await asyncio.gather(
            *(
                send(store, device, snapshot_line("odd", T0, [{"always": "x", f"only_{n}": str(n)}]))
                for n, device in enumerate(devices)
            )
        )
        found = await rows(store, "SELECT hostname, only_0, only_1, only_2, only_3 FROM odd ORDER BY 1")
        assert found == [
            ("a", "0", None, None, None),
            ("b", None, "1", None, None),
            ("c", None, None, "2", None),
            ("d", None, None, None, "3"),
        ]
