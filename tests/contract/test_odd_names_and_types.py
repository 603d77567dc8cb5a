"""Names nobody would choose, columns that change, and lines that must not hold up the ones beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.store.store import Store
from tests.contract.test_store import T0, run, send
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

POISON: list[dict[str, Any]] = [
    snapshot_line("pack/", T0, [{"a": "1"}]),
    snapshot_line("pack_", T0, [{"a": "1"}]),
    snapshot_line("good_open", T0, [{"a": "1"}]),
    snapshot_line("good_closed", T0, [{"a": "1"}]),
    snapshot_line("good_event", T0, [{"a": "1"}]),
    snapshot_line("odd", T0, [{"\ud800": "1"}]),
    snapshot_line("odd", T0, [{"b\u0000c": "1"}]),
    snapshot_line("odd", T0, [{"": "1", "_": "2"}]),
    run("odd", T0, 0, [{"\ud800": "1", "b\u0000c": "2"}], []),
    snapshot_line("osquery_schedule", T0, [{"name": "", "denylisted": "1"}]),
    snapshot_line("Select", T0, [{"X": "1", "x_" + "0" * 6: "2", "x": "3"}]),
    {**snapshot_line("odd", T0, []), "unixTime": "--5"},
    {**snapshot_line("odd", T0, []), "epoch": "--5"},
]


@pytest.mark.parametrize("line", POISON, ids=[str(number) for number in range(len(POISON))])
async def test_no_line_holds_up_the_one_beside_it(tmp_path: Path, line: dict[str, Any]) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, line, snapshot_line("good", T0, [{"a": "1"}]))
        await send(store, device, line, snapshot_line("good", T0 + 60, [{"a": "2"}]))
        assert await rows(store, "SELECT a FROM good") == [("2",)]
        assert not await rows(store, "SELECT reason FROM rejects WHERE reason LIKE 'it could not be stored%'")


@pytest.mark.parametrize(
    "message", ["Error executing scheduled query pack_: x", "Error executing scheduled query a b: x"]
)
async def test_odd_names_in_status_lines(tmp_path: Path, message: str) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        line = {"unixTime": T0, "severity": 2, "message": message, "version": "\ud800"}
        await send(store, device, line, log_type="status")
        assert await rows(store, "SELECT status, message FROM coverage") == [("error", "x")]


async def test_a_column_takes_the_kind_that_holds_all_its_first_values(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        sent = [{"n": "", "d": 1, "t": 1}, {"n": 42, "d": 1.5, "t": "x"}, {"n": 7, "d": "", "t": ""}]
        await send(store, device, snapshot_line("numbers", T0, sent))
        found = await rows(store, "SELECT n, d, t FROM numbers WHERE n = 42")
        assert [tuple(type(value) for value in row) for row in found] == [(int, float, str)]


async def test_junk_columns_never_keep_a_shipped_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.registry.COLUMNS_A_TABLE", 8)
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        junk = snapshot_line("users", T0, [{f"junk_{n}": "" for n in range(2)}])
        assert not (await send(store, device, junk)).rejected
        await store.write(lambda tx: tx.run("DELETE FROM muster_columns WHERE name = 'shell'"))
        await store.write(lambda tx: tx.run("DROP VIEW users"))
        await store.write(lambda tx: tx.run("DROP VIEW users_history"))
        await store.write(lambda tx: tx.run("ALTER TABLE muster_rows_users DROP COLUMN shell"))
        table = (await store.read(store.tables))["users"]
        for statement in table.create_views():
            await store.write(lambda tx, statement=statement: tx.run(statement))  # type: ignore[misc]
        store = Store(store.driver, store.catalog, max_age_days=36_500)
        await store.ship()
        assert "shell" in {column.name for column in (await store.read(store.tables))["users"].columns}
