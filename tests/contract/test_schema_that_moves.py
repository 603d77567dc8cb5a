"""A query's new version changes its columns: no history is lost, and answers to every version keep coming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from server.app import opened_database
from server.catalog.catalog import Catalog
from server.normalize.times import iso
from server.store import retype as retyping
from server.store.devices import Device
from server.store.names import internal_name
from server.store.store import Store
from tests.contract.test_store import T0, event, send
from tests.support.catalogs import folks_catalog
from tests.support.server import snapshot_line
from tests.support.stores import SINCE_1970, add_device, open_store, rows, url_in

OLD, NEW = "0" * 10, "1" * 10
TEXTS = folks_catalog(OLD, "who text", "uid text")
NUMBERS = folks_catalog(NEW, "who text", "uid bigint")


def folks(at: int, version: str, *sent: dict[str, Any]) -> dict[str, Any]:
    return snapshot_line(f"pack/inventory/folks@{version}", T0 + at, list(sent))


async def move(store: Store, catalog: Catalog) -> Store:
    """The server started again with other packs, on the same database."""
    moved = Store(store.driver, catalog, max_age_days=SINCE_1970)
    await moved.ship()
    return moved


async def column_names(store: Store, view: str) -> list[str]:
    return (await store.read(lambda tx: tx.select(f"SELECT * FROM {view}")))[0]


async def test_a_column_comes_and_one_goes_and_history_keeps_both(tmp_path: Path) -> None:
    async with open_store(tmp_path, folks_catalog(OLD, "who text", "shell text")) as store:
        device = await add_device(store, "a")
        await send(store, device, folks(0, OLD, {"who": "ann", "shell": "sh"}))
        store = await move(store, folks_catalog(NEW, "who text", "home text"))
        assert await rows(store, "SELECT who, shell, home FROM folks") == [("ann", "sh", None)]
        await send(store, device, folks(60, NEW, {"who": "ann", "home": "/"}))
        assert await rows(store, "SELECT who, shell, home FROM folks") == [("ann", None, "/")]
        shown = "SELECT who, shell, home, valid_to FROM folks_history ORDER BY valid_from"
        assert await rows(store, shown) == [("ann", "sh", None, "2026-09-21T14:14:20Z"), ("ann", None, "/", None)]


async def test_shipping_again_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path, NUMBERS) as store:
        device = await add_device(store, "a")
        await send(store, device, folks(0, NEW, {"who": "ann", "uid": "1"}))
        before = await column_names(store, "folks_history"), await rows(store, "SELECT * FROM muster_columns")
        for _ in range(2):
            await store.ship()
        await move(store, NUMBERS)
        assert (
            await column_names(store, "folks_history"),
            await rows(store, "SELECT * FROM muster_columns"),
        ) == before


WORDS = ["007", "7", "x", "", " 8 ", "9223372036854775808"]


@pytest.mark.parametrize("mode", ["state", "events"])
async def test_a_type_and_back_again_loses_nothing(tmp_path: Path, mode: str) -> None:
    texts = folks_catalog(OLD, "who text", "uid text", mode=mode)
    numbers = folks_catalog(NEW, "who text", "uid bigint", mode=mode)

    def line(at: int, version: str, *sent: dict[str, Any]) -> dict[str, Any]:
        answer = folks(at, version, *sent)
        return answer if mode == "state" else {**event(answer["name"], T0 + at, at, "added", sent[0])}

    async with open_store(tmp_path, texts) as store:
        device = await add_device(store, "a")
        for at, uid in enumerate(WORDS):
            await send(store, device, line(at, OLD, {"who": f"w{at}", "uid": uid}))
        shown = "SELECT who, uid, _misfit, valid_from, valid_to FROM folks_history ORDER BY who"
        before = await rows(store, shown)
        store = await move(store, numbers)
        assert [row[1:3] for row in await rows(store, shown)] == [
            (7, None),
            (7, None),
            (None, '{"uid":"x"}'),
            (None, None),
            (8, None),
            (None, '{"uid":"9223372036854775808"}'),
        ]
        await send(store, device, line(100, NEW, {"who": "x7", "uid": "1"}))
        await send(store, device, line(101, NEW, {"who": "x8", "uid": "later"}))
        assert (await rows(store, shown))[-2:][1][1:3] == (None, '{"uid":"later"}')
        store = await move(store, texts)
        after = await rows(store, shown)
        assert [row[:3] for row in after] == [row[:3] for row in before] + [("x7", "1", None), ("x8", "later", None)]
        store = await move(store, numbers)
        store = await move(store, folks_catalog("2" * 10, "who text", "uid double", mode=mode))
        assert [row[1] for row in await rows(store, shown)] == [7.0, 7.0, None, None, 8.0, 2.0**63, 1.0, None]
        assert await rows(store, "SELECT COUNT(*) FROM muster_other_kinds WHERE sql_name = 'uid'") == [(2,)]


async def test_a_strangers_query_that_is_shipped_later_keeps_what_it_held(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        sent = [{"who": "root", "uid": "0"}, {"who": "odd", "uid": "zero"}, {"who": "none", "uid": ""}]
        await send(store, device, snapshot_line("folks", T0, sent))
        store = await move(store, NUMBERS)
        shown = "SELECT who, uid, _misfit FROM folks ORDER BY who"
        held = [("none", None, None), ("odd", None, '{"uid":"zero"}'), ("root", 0, None)]
        assert await rows(store, shown) == held
        await send(store, device, folks(60, NEW, *sent))
        assert await rows(store, shown) == held
        assert await rows(store, "SELECT managed FROM muster_queries WHERE query = 'folks'") == [(1,)]


async def test_rows_taken_back_are_retyped_too(tmp_path: Path) -> None:
    async with open_store(tmp_path, TEXTS) as store:
        device = await add_device(store, "a")
        await send(store, device, folks(0, OLD, {"who": "ann", "uid": "1"}))
        await send(store, device, folks(200, OLD, {"who": "ann", "uid": "1"}))
        await send(store, device, folks(100, OLD))  # late: the open row was not true all the while
        store = await move(store, NUMBERS)
        taken = "SELECT uid FROM muster_rows_folks WHERE muster_superseded_seq IS NOT NULL AND valid_to IS NULL"
        assert await rows(store, taken) == [(1,)]


_INDEXES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? ORDER BY name",
    "postgres": "SELECT indexname FROM pg_indexes WHERE tablename = ? ORDER BY indexname",
}


async def test_a_retyped_table_keeps_its_indexes(tmp_path: Path, database: str) -> None:
    async with open_store(tmp_path, TEXTS) as store:
        before = await rows(store, _INDEXES[database], ("muster_rows_folks",))
        assert before
        store = await move(store, NUMBERS)
        assert await rows(store, _INDEXES[database], ("muster_rows_folks",)) == before


async def test_tables_whose_long_names_begin_alike_have_the_same_indexes(tmp_path: Path, database: str) -> None:
    names = [f"{'people_' * 7}x_{end}" for end in ("one", "two")]
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await send(store, device, *(snapshot_line(name, T0, [{"who": "ann"}]) for name in names))
        found = [await rows(store, _INDEXES[database], (internal_name("rows", name),)) for name in names]
        assert [len(indexes) for indexes in found] == [3, 3]


async def test_a_volatile_column_takes_its_newest_value(tmp_path: Path) -> None:
    texts = folks_catalog(OLD, "who text", "seen text!")
    numbers = folks_catalog(NEW, "who text", "seen bigint!")
    async with open_store(tmp_path, texts) as store:
        device = await add_device(store, "a")
        for at, (catalog, version) in enumerate([(texts, OLD), (numbers, NEW), (texts, OLD), (numbers, NEW)]):
            store = await move(store, catalog)
            await send(store, device, folks(at, version, {"who": "ann", "seen": str(at)}))
        store = await move(store, texts)
        assert await rows(store, "SELECT seen FROM folks") == [("3",)]


async def test_answers_to_both_versions_keep_coming_while_the_type_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers, the old one at work and the new one starting: every answer is stored, before, amid and after."""
    monkeypatch.setattr(retyping, "ROWS_A_STEP", 4)
    async with open_store(tmp_path, TEXTS) as old, second_server(tmp_path, NUMBERS) as new:
        devices = [await add_device(old, f"d{n:02}") for n in range(20)]

        async def say(store: Store, device: Device, at: int, version: str) -> None:
            sent = [{"who": f"p{n}", "uid": str(at + n)} for n in range(3)]
            done = await send(store, device, folks(at, version, *sent))
            assert not done.rejected

        for device in devices:
            await say(old, device, 0, OLD)
        write, turns = new.write, asyncio.Semaphore(0)

        async def in_turn(work: Any) -> Any:
            await turns.acquire()  # a step of the change for each answer, however quick either is
            return await write(work)

        monkeypatch.setattr(new, "write", in_turn)
        changing = asyncio.create_task(new.ship())
        at = 0
        while not changing.done():
            at += 1
            for device in devices[:5]:
                await say(old, device, at, OLD)
                turns.release()
        await changing
        monkeypatch.setattr(new, "write", write)
        assert at > 1
        for device in devices[:3]:
            await say(new, device, at + 1, NEW)
            await say(old, device, at + 2, OLD)  # an old answer, to the old server, of a device that was not told yet
        await say(new, devices[0], at + 3, NEW)
        counted = dict.fromkeys(range(at + 1), 3 * 5) | {0: 3 * 20, at + 1: 9, at + 2: 9, at + 3: 3}
        # Equal numbers follow one another as one row, so count what was true at each instant.
        for when, count in counted.items():
            instant = await rows(
                old, "SELECT COUNT(*), SUM(uid) FROM folks_history WHERE valid_from = ?", (iso_at(when),)
            )
            assert instant == [(count, count // 3 * (3 * when + 3))], when
        assert await rows(old, "SELECT COUNT(*) FROM folks_history WHERE uid IS NULL OR _misfit IS NOT NULL") == [(0,)]
        assert await rows(old, "SELECT COUNT(*) FROM folks") == [(60,)]


async def test_the_old_server_sees_the_wider_table(tmp_path: Path) -> None:
    wider = folks_catalog(NEW, "who text", "uid bigint", "home text", "name text")
    async with open_store(tmp_path, TEXTS) as old, second_server(tmp_path, wider) as new:
        device = await add_device(old, "a")
        await send(old, device, folks(0, OLD, {"who": "ann", "uid": "1"}))
        await new.ship()
        await send(new, device, folks(10, NEW, {"who": "ann", "uid": "1", "home": "/", "name": "A"}))
        sent = {"who": "ann", "uid": "1", "home": "/root", "shell": "sh"}
        await send(old, device, folks(20, NEW, sent))  # it may hold an answer to the new one, too
        await send(new, device, folks(30, NEW, {**sent, "shell": "zsh", "name": "B"}))
        assert await rows(old, "SELECT who, uid, home, name, shell FROM folks") == [("ann", 1, "/root", "B", "zsh")]
        assert await rows(old, "SELECT COUNT(*) FROM folks_history") == [(4,)]


async def test_a_change_that_was_broken_off_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retyping, "ROWS_A_STEP", 1)
    async with open_store(tmp_path, TEXTS) as store:
        for n in range(5):
            device = await add_device(store, f"d{n}")
            await send(store, device, folks(0, OLD, {"who": "ann", "uid": str(n)}))
        broken = Store(store.driver, NUMBERS, max_age_days=SINCE_1970)
        count = 0
        write = broken.write

        async def fails_at_the_fourth(work: Any) -> Any:
            nonlocal count
            count += 1
            if count == 4:
                raise RuntimeError("killed")
            return await write(work)

        monkeypatch.setattr(broken, "write", fails_at_the_fourth)
        with pytest.raises(RuntimeError):
            await broken.ship()
        await send(store, device, folks(5, OLD, {"who": "ann", "uid": "50"}))
        assert (await rows(store, "SELECT uid FROM folks ORDER BY 1"))[-1] == ("50",)
        store = await move(store, NUMBERS)
        assert await rows(store, "SELECT uid FROM folks_history ORDER BY 1") == [(0,), (1,), (2,), (3,), (4,), (50,)]


async def test_two_servers_make_the_same_change_at_once(tmp_path: Path) -> None:
    async with (
        open_store(tmp_path, TEXTS) as old,
        second_server(tmp_path, NUMBERS) as one,
        second_server(tmp_path, NUMBERS) as two,
    ):
        for n in range(30):
            device = await add_device(old, f"d{n}")
            await send(old, device, folks(0, OLD, {"who": "ann", "uid": str(n)}))
        await asyncio.gather(one.ship(), two.ship())
        assert await rows(old, "SELECT SUM(uid), COUNT(*) FROM folks") == [(435, 30)]


async def test_a_strangers_column_gives_way_to_a_shipped_one(tmp_path: Path) -> None:
    """A rule goes by the SQL name, so that must be the shipped column's."""
    async with open_store(tmp_path, TEXTS) as store:
        device = await add_device(store, "a")
        await send(store, device, folks(0, OLD, {"who": "ann", "uid": "1", "Shell": "theirs"}))
        store = await move(store, folks_catalog(NEW, "who text", "uid text", "shell text"))
        await send(store, device, folks(60, NEW, {"who": "ann", "uid": "1", "shell": "ours", "Shell": "theirs"}))
        names = [name for name in await column_names(store, "folks") if name.startswith("shell_")]
        assert await rows(store, f"SELECT shell, {names[0]} FROM folks") == [("ours", "theirs")]
        found = await rows(store, f"SELECT shell, {names[0]} FROM folks_history ORDER BY valid_from")
        assert found == [(None, "theirs"), ("ours", "theirs")]


@pytest.mark.parametrize("catalog", [NUMBERS, folks_catalog(NEW, "who text", "uid text", "home text")])
async def test_whoever_reads_a_table_is_waited_for_and_holds_up_nobody_else(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, catalog: Catalog
) -> None:
    async with open_store(tmp_path, TEXTS) as old, second_server(tmp_path, catalog) as new:
        device = await add_device(old, "a")
        await send(old, device, folks(0, OLD, {"who": "ann", "uid": "1"}))
        reader = await asyncpg.connect(await url_in(tmp_path)) if database == "postgres" else None
        pauses = 0

        async def answers_come() -> None:
            nonlocal pauses
            pauses += 1
            await send(old, device, folks(10 * pauses, OLD, {"who": "bob", "uid": str(pauses)}))
            if pauses == 2 and reader is not None:
                await reader.close()

        monkeypatch.setattr(retyping, "pause", answers_come)
        monkeypatch.setattr("server.drivers.postgres_transaction.DDL_PAUSE_SECONDS", 0.0)
        if reader is not None:
            await reader.execute("BEGIN")
            await reader.execute("SELECT * FROM folks")
        await new.ship()
        assert pauses == (2 if reader is not None else 0)  # a reader of SQLite has a view of its own
        assert len(await rows(old, "SELECT * FROM folks")) == 1


def iso_at(offset: int) -> str:
    return iso(T0 + offset)


@asynccontextmanager
async def second_server(directory: Path, catalog: Catalog) -> AsyncIterator[Store]:
    """Another process's store on the same database: a connection and caches of its own."""
    async with opened_database(await url_in(directory)) as database:
        yield Store(database.driver, catalog, max_age_days=SINCE_1970)
