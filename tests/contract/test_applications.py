"""Packs are applied whole or not at all, every application can be restored, and a canary is for its devices only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.app import opened_database
from server.applying import apply, settle
from server.catalog.canary import SelectorError, parse_selector
from server.catalog.catalog import load_catalog
from server.catalog.content import Content, content_of, read_content
from server.catalog.problems import CatalogError
from server.cli.shipping import apply_folder
from server.normalize.times import iso
from server.store import applications, devices
from server.store.applications import APPLY, Application
from server.store.driver import Driver, StoreError
from server.store.in_force import InForce, load_in_force
from server.store.migrate import migrate
from server.store.shipping import Applied, Request, roll_back
from server.store.store import Store
from tests.support import packs
from tests.support.stores import add_device, rows, url_in

NOW = 1_800_000_000.0
FIRST = packs.content()
SHELLS = packs.content({packs.RESIDENTS: "-- Who there is.\nSELECT username AS who, uid, shell FROM users\n"})
SOONER = packs.content({packs.PACK: "title: All of it\ninterval: 600\ncontrols: [no-guests]\n"})


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Driver]:
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, NOW)
        yield database.driver


async def put(driver: Driver, content: Content, canary: str = "", at: float = NOW) -> Application:
    selector = parse_selector(canary) if canary else None
    return (await apply(driver, content, Request(by="ada", note="why", selector=selector), at))[0].application


async def back(driver: Driver, number: int | None = None) -> Applied:
    return await roll_back(driver, number, Request(by="bob"), NOW + 9)


async def history(driver: Driver) -> list[tuple[int, str, int | None]]:
    return [(one.number, one.state, one.restores) for one in await driver.read(applications.applications)]


async def in_force(driver: Driver) -> InForce:
    found = await load_in_force(driver)
    assert found is not None
    return found


async def test_a_canary_with_problems_leaves_a_new_database_as_it_was(tmp_path: Path) -> None:
    folder = packs.write(packs.content({packs.PACK: "title: All\nnew_key: 1\n"}), tmp_path / "folder")
    url = await url_in(tmp_path)
    async with opened_database(url, create=True) as database:
        await migrate(database.driver, NOW)
        with pytest.raises(CatalogError, match="new_key"):
            await apply_folder(url, folder, Request(by="ada", selector=parse_selector("5%")), quiet=True)
        assert await history(database.driver) == []


async def test_an_application_says_who_when_why_and_what_it_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        second = await put(driver, SHELLS, at=NOW + 5)
        first = await driver.read(lambda tx: applications.application(tx, 1))
        assert first == Application(
            number=1, hash=FIRST.hash, origin=APPLY, applied_by="ada", applied_at=iso(NOW), note="why",
            state="superseded", ended_at=iso(NOW + 5),
        )  # fmt: skip
        assert (second.number, second.state, second.replaces) == (2, "applied", 1)
        kept = await driver.read(lambda tx: applications.content(tx, FIRST.hash))
        assert kept.files == FIRST.files
        assert ("residents", "shell") in await driver.read(
            lambda tx: tx.rows("SELECT table_name, name FROM muster_columns WHERE name = 'shell'")
        )


async def test_what_is_in_force_is_not_applied_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        again, _ = await apply(driver, packs.content(), Request(by="bob"), NOW + 1)
        assert (again.changed, again.application.number) == (False, 1)
        assert await history(driver) == [(1, "applied", None)]


async def test_a_rollback_is_an_application_and_any_earlier_one_can_be_restored(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        with pytest.raises(StoreError, match="nothing before"):
            await back(driver)
        for content in (FIRST, SHELLS, SOONER):
            await put(driver, content)
        assert (await back(driver)).application.restores == 2
        assert (await back(driver, 1)).application.restores == 1
        assert await history(driver) == [
            (5, "applied", 1), (4, "superseded", 2), (3, "superseded", None), (2, "superseded", None),
            (1, "superseded", None),
        ]  # fmt: skip
        assert (await in_force(driver)).base.hash == FIRST.hash
        with pytest.raises(StoreError, match="no application 9"):
            await back(driver, 9)
        assert (await back(driver, 1)).changed is False


BROKEN = {
    "a rule of a column that is not there": {packs.CONTROL: packs.control("age > 7")},
    "a query of a table that is not there": {packs.RESIDENTS: "-- Who.\nSELECT who, uid FROM people_of_the_moon\n"},
    "a pack that is no mapping": {packs.PACK: "- nothing\n"},
    "an unknown query in a pack": {packs.PACK: "title: All\nqueries: {resident_s: }\n"},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=list(BROKEN))
async def test_packs_with_a_problem_change_nothing(tmp_path: Path, change: dict[str, str]) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        before = await everything(driver)
        with pytest.raises(CatalogError):
            await put(driver, packs.content({**change, "queries/more.sql": "-- More.\nSELECT uid FROM users\n"}))
        assert await everything(driver) == before


async def test_a_query_whose_mode_changes_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        before = await everything(driver)
        latest = {packs.RESIDENTS: "-- Who.\n-- mode: latest\nSELECT username AS who, uid FROM users\n"}
        pack = {packs.PACK: "title: All of it\nqueries: {residents: , more: }\n", packs.CONTROL: None}
        more = {"queries/more.sql": "-- More.\nSELECT uid FROM users\n"}
        with pytest.raises(CatalogError, match="of mode state"):
            await put(driver, packs.content({**latest, **pack, **more}))
        assert await everything(driver) == before


async def everything(driver: Driver) -> list[list[tuple[object, ...]]]:
    tables = "muster_applications muster_pack_contents muster_queries muster_columns muster_query_versions muster_meta"
    return [
        sorted(await driver.read(lambda tx, name=name: tx.rows(f"SELECT * FROM {name}")), key=repr)  # type: ignore[misc]
        for name in tables.split()
    ]


async def test_a_share_takes_at_least_one_device_and_new_ones_by_the_same_rule(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        store = Store(driver, await in_force(driver), clock=lambda: NOW)
        for number in range(3):
            await add_device(store, f"old-{number}")
        canary = await put(driver, SHELLS, "0.01%")
        assert len(await driver.read(lambda tx: applications.members(tx, canary.number))) == 1
        assert canary.state == "canary" and canary.canary == "0.01%"
        await back(driver)

        canary = await put(driver, SHELLS, "50%")
        part = (await in_force(driver)).canary
        assert part is not None
        new = [await add_device(store, f"new-{number}") for number in range(20)]
        members = await driver.read(lambda tx: applications.members(tx, canary.number))
        assert {device.device_no for device in new if part.takes(device)} == members & {d.device_no for d in new}
        assert 0 < len(members) < 23


async def test_a_canary_by_tag(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        store = Store(driver, await in_force(driver), clock=lambda: NOW)
        first, second = await add_device(store, "one"), await add_device(store, "two")
        with pytest.raises(StoreError, match="No device has the tag 'eng'"):
            await put(driver, SHELLS, "tag=eng")
        await driver.write(lambda tx: devices.tag(tx, first.device_id, {"eng", "berlin"}, set(), NOW))
        canary = await put(driver, SHELLS, "tag=Eng")
        assert await driver.read(lambda tx: applications.members(tx, canary.number)) == {first.device_no}
        await driver.write(lambda tx: devices.tag(tx, second.device_id, {"eng"}, set(), NOW))
        assert len(await driver.read(lambda tx: applications.members(tx, canary.number))) == 2


async def test_there_is_one_canary_and_nothing_else_is_applied_beside_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        with pytest.raises(StoreError, match="no canary"):
            await driver.write(lambda tx: applications.promote(tx, "ada", NOW))
        with pytest.raises(StoreError, match="nothing in force"):
            await put(driver, FIRST, "5%")
        await put(driver, FIRST)
        await put(driver, SHELLS, "5%")
        for canary in ("", "5%"):
            with pytest.raises(StoreError, match="under way"):
                await put(driver, SOONER, canary)
        with pytest.raises(StoreError, match="is the canary"):
            await back(driver, 2)
        promoted = await driver.write(lambda tx: applications.promote(tx, "bob", NOW + 3))
        assert (promoted.state, promoted.promoted_by, promoted.promoted_at) == ("applied", "bob", iso(NOW + 3))
        assert await history(driver) == [(2, "applied", None), (1, "superseded", None)]
        assert (await back(driver)).application.restores == 1


async def test_rolling_back_a_canary_stops_it_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        await put(driver, SHELLS, "5%")
        stopped = (await back(driver)).application
        assert (stopped.number, stopped.state, stopped.stopped_by) == (2, "stopped", "bob")
        assert stopped.stop_reason == "rolled back"
        assert await history(driver) == [(2, "stopped", None), (1, "applied", None)]
        assert (await in_force(driver)).canary is None


async def test_restoring_a_certain_application_ends_the_canary_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as driver:
        for content in (FIRST, SOONER):
            await put(driver, content)
        await put(driver, SHELLS, "5%")
        assert (await back(driver, 1)).application.restores == 1
        assert await history(driver) == [
            (4, "applied", 1), (3, "stopped", None), (2, "superseded", None), (1, "superseded", None),
        ]  # fmt: skip


async def test_a_canary_cannot_change_what_both_keep_in_one_table(tmp_path: Path) -> None:
    other = packs.content({packs.RESIDENTS: "-- Who.\nSELECT username AS who, CAST(uid AS TEXT) AS uid FROM users\n"})
    async with opened(tmp_path) as driver:
        await put(driver, FIRST)
        with pytest.raises(CatalogError, match=r"residents\.uid has another type"):
            await put(driver, other, "5%")
        await put(driver, other)


@pytest.mark.parametrize("text", ["", "100%", "0%", "5", "tag=", "tag", "five%", "tag=a,b", "-1%"])
def test_a_selector_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(text)


def test_a_folder_is_told_by_its_files_that_matter(tmp_path: Path) -> None:
    root = packs.write(FIRST, tmp_path / "packs")
    (root / "README.md").write_text("words")
    (root / "schema" / "editors").mkdir()
    (root / "schema" / "editors" / "pack.json").write_text("{}")
    (root / ".git").mkdir()
    (root / ".git" / "odd.yaml").write_text("odd: true")
    read = read_content(root)
    assert read.files == FIRST.files
    assert read.hash == FIRST.hash != SHELLS.hash
    assert content_of(read.archive()).hash == FIRST.hash
    assert load_catalog(root).packs == read.load().packs


async def test_a_server_applies_the_folder_it_is_started_with_once(tmp_path: Path) -> None:
    folder, library = packs.write(FIRST, tmp_path / "packs"), packs.write(SOONER, tmp_path / "library")
    async with opened(tmp_path) as driver:

        async def start(packs_folder: Path | None) -> str:
            return (await settle(driver, packs_folder, library, "serve", NOW)).base.hash

        assert await start(None) == SOONER.hash
        assert await start(None) == SOONER.hash
        assert await history(driver) == [(1, "applied", None)]
        packs.write(packs.content({packs.PACK: "title: Newer\ncontrols: [no-guests]\n"}), library)
        newer = read_content(library).hash
        assert await start(None) == newer, "a newer Muster brings a newer library"
        assert await start(folder) == FIRST.hash
        assert await start(None) == FIRST.hash, "no library takes the place of what was applied"
        await put(driver, SHELLS)
        assert await start(folder) == SHELLS.hash, "a restart does not undo what was applied by hand"
        (folder / packs.PACK).write_text("title: Others\ncontrols: [no-guests]\n")
        assert await start(folder) == read_content(folder).hash
        assert len(await history(driver)) == 5
        assert (await rows(Store(driver, await in_force(driver)), "SELECT COUNT(*) FROM residents")) == [(0,)]
