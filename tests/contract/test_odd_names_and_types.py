"""Names nobody would choose, columns that change, and lines that must not hold up the ones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.store.store import Store
from server.wire.log import parse_log
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


# Words with a meaning in SQL, names that are taken, and names beyond what a database takes for one.
ODD_QUERIES = [
    *"select user order groups time interval values raise system_user view temp main public table index".split(),
    *"devices devices_history posture rejects coverage days live_x muster_devices muster_meta sqlite_master".split(),
    *"pg_class pg_catalog information_schema users_history _history history _ __ 0 9lives".split(),
    *("y" * length for length in (49, 50, 51, 52, 53, 54, 55, 56, 63, 64, 512)),
    *("y" * 54 + end for end in "ab"),
    *("y" * 70 + end for end in "ab"),
    *(
        "é" * 40,
        "é" * 40 + "è",
        "Größe",
        "größe",
        "GRÖSSE",
        "日本語",
        "\U0001f4bb" * 30,
        "a b",
        "a_b",
        "A B",
        "a.b",
        "a/b",
    ),
    *('say "hi"', "drop table x; --", "x'y", "%s", "?", "$1", "a\nb", "a\tb", "a\\b"),
]


async def test_every_name_has_a_table_of_its_own(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for step in range(2):
            lines = [snapshot_line(name, T0 + step, [{"a": name, "n": str(step)}]) for name in ODD_QUERIES]
            assert not (await send(store, device, *lines)).rejected
        tables = await store.read(store.tables)
        for name in ODD_QUERIES:
            table = tables[name].name
            # Without quotes, as somebody would write it.
            assert await rows(store, f"SELECT a, n FROM {table}") == [(name, "1")]
            found = await rows(store, f"SELECT {table}_history.a, n FROM {table}_history ORDER BY n")
            assert found == [(name, "0"), (name, "1")]
        assert len({table.name for table in tables.values()}) == len(tables)


ODD_COLUMNS = [
    *"ctid xmin xmax cmin cmax tableoid oid rowid _rowid_ device_id device_no valid_from valid_to opened_seq".split(),
    *"closed_seq _misfit muster_digest muster_ordinal muster_superseded_seq hostname HostName Path path PATH".split(),
    *"select order group user check r d ctid_ device_id_".split(),
    *("", "_", " ", "é", "è", "c" * 63, "c" * 64, "c" * 60 + "a", "c" * 60 + "b", "é" * 100, "é" * 99 + "a", 'a"b'),
]


async def test_every_column_is_kept_apart(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        sent = {name: f"value of {name}" for name in ODD_COLUMNS}
        for at, row in enumerate([dict(list(sent.items())[::2]), sent, {**sent, "late": "1"}]):
            assert not (await send(store, device, snapshot_line("odd", T0 + at, [row]))).rejected
        table = (await store.read(store.tables))["odd"]
        names = {column.name: column.sql_name for column in table.columns}
        assert set(names) == {*sent, "late"}
        columns, found = await store.read(lambda tx: tx.select("SELECT * FROM odd"))
        values = dict(zip(columns, found[0], strict=True))
        assert {name: values[names[name]] for name in sent} == sent
        assert len(columns) == len(set(columns))


async def test_of_one_column_given_twice_the_last_counts(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        line = json.dumps(snapshot_line("odd", T0, [{"a": "1"}])).replace('{"a": "1"}', '{"a": "1", "a": "2"}')
        body = f'{{"node_key": "k", "log_type": "result", "data": [{line}]}}'
        await store.ingest(device, parse_log(body.encode()))
        assert await rows(store, "SELECT a FROM odd") == [("2",)]


async def test_a_name_that_is_no_name_is_set_aside(tmp_path: Path) -> None:
    """osquery_schedule and status lines name queries, too, at any length."""
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        name = "x" * 5000
        schedule = {"name": name, "interval": "60", "denylisted": "1"}
        status = {
            "unixTime": T0,
            "severity": 2,
            "message": f"Error executing scheduled query {name}: no",
            "version": "5",
        }
        assert not (await send(store, device, snapshot_line("osquery_schedule", T0, [schedule]))).rejected
        assert not (await send(store, device, status, log_type="status")).rejected
        assert await rows(store, "SELECT query FROM coverage") == [("osquery_schedule",)]
        assert await rows(store, "SELECT COUNT(*) FROM status_logs") == [(1,)]


async def test_junk_columns_never_keep_a_shipped_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.registry.COLUMNS_A_TABLE", 8)
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        junk = snapshot_line("users", T0, [{f"junk_{n}": "" for n in range(2)}])
        assert not (await send(store, device, junk)).rejected
        await store.write(lambda tx: tx.run("DELETE FROM muster_columns WHERE name = 'shell' AND table_name = 'users'"))
        await store.write(lambda tx: tx.run("DROP VIEW users"))
        await store.write(lambda tx: tx.run("DROP VIEW users_history"))
        await store.write(lambda tx: tx.run("ALTER TABLE muster_rows_users DROP COLUMN shell"))
        table = (await store.read(store.tables))["users"]
        for statement in table.create_views():
            await store.write(lambda tx, statement=statement: tx.run(statement))  # type: ignore[misc]
        store = Store(store.driver, store.catalog, max_age_days=36_500)
        await store.ship()
        assert "shell" in {column.name for column in (await store.read(store.tables))["users"].columns}
