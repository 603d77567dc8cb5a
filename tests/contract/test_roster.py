"""People and assets as files say: what changes by an import, who has departed, and which machines are silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.catalog.assets import Asset
from server.catalog.people import Person
from server.normalize.calendar import day_of
from server.normalize.devices import DeviceFacts
from server.store import access, assets, erase, people
from server.store.driver import StoreError
from server.store.imports import Changes, Import
from server.store.store import Store
from tests.contract.test_erasure import MARK, enrolled, facts, files_with, places_of
from tests.contract.test_judge import DAY, MIDNIGHT, ROOT, TOOR, fleet
from tests.contract.test_store import send
from tests.support.server import snapshot_line
from tests.support.stores import rows

TODAY = "2026-09-15"
COLUMNS = frozenset({"serial", "hostname", "platform", "owner", "status", "tags", "in_scope_from", "model", "since"})
ADA = Person(person="7", name="Ada", email="Ada@example.com", accounts=["ada"])
BOB = Person(person="8", name="Bob", email="bob@example.com", accounts=["bob"])
LEFT = replace(ADA, last_day="2026-09-05")


def source(kind: str, said: object) -> Import:
    when = float(MIDNIGHT + 14 * DAY)
    return Import(kind=kind, file=f"{kind}.csv", sha256=str(hash(str(said))), by="ann", now=when, today=TODAY)


async def roster(store: Store, *told: Person) -> Changes:
    return await store.write(lambda tx: people.import_people(tx, source("people", told), told))


async def register(store: Store, *told: Asset, columns: frozenset[str] = COLUMNS, today: str = TODAY) -> Changes:
    its = replace(source("assets", told), today=today)
    return await store.write(
        lambda tx: assets.import_assets(tx, its, told, columns, lambda day: day_of(day, "UTC").starts_at)
    )


def asset(serial: str, **said: str | None) -> Asset:
    return Asset(serial=serial.lower(), shown=serial, **said)  # type: ignore[arg-type]


async def everything(store: Store) -> list[list[tuple[Any, ...]]]:
    tables = ("muster_people", "muster_person_facts", "muster_assets", "muster_asset_history", "muster_devices")
    found = [await rows(store, f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in tables]
    return [*found, await rows(store, "SELECT * FROM imports"), await rows(store, "SELECT * FROM import_changes")]


async def devices(store: Store, columns: str = "hostname, serial, platform, owner, tags") -> Sequence[tuple[Any, ...]]:
    return await rows(store, f"SELECT {columns} FROM devices ORDER BY serial, hostname")


async def closed(store: Store) -> list[str]:
    return [row[0] for row in await rows(store, "SELECT day FROM days WHERE state = 'closed' ORDER BY day")]


async def news_since(store: Store) -> list[tuple[Any, ...]]:
    """What is news, and from which day on; it is not any more after that."""
    found = await rows(store, "SELECT kind, subject, device_no, first_day FROM muster_news ORDER BY 1, 2, 3")
    await store.write(lambda tx: tx.run("DELETE FROM muster_news"))
    return found


# -- people -------------------------------------------------------------------------------------------------------


async def test_what_an_import_changes_is_recorded_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await roster(f.store, ADA, BOB)
        before = await everything(f.store)
        again = await roster(f.store, ADA, BOB)
        assert (again.of, await everything(f.store)) == ({}, before)
        named = replace(ADA, name="Ada L", last_day="2026-09-20", accounts=["ada", "adal"])
        planned = await f.store.read(lambda tx: people.plan_people(tx, [named]))
        assert await everything(f.store) == before
        done = await roster(f.store, named)
        assert (
            planned.of
            == done.of
            == {
                "7": ("changed", "name, last_day – → 2026-09-20, accounts"),
                "8": ("missing", ""),
            }
        )
        assert await rows(f.store, "SELECT imported_by, file, entries, added, changed, missing FROM imports") == [
            ("ann", "people.csv", 2, 2, 0, 0),
            ("ann", "people.csv", 1, 0, 1, 1),
        ]
        assert await rows(f.store, "SELECT person, name, last_day, missing_since FROM people ORDER BY 1") == [
            ("7", "Ada L", "2026-09-20", None),
            ("8", "Bob", None, "2026-09-15T00:00:00Z"),
        ]
        assert (await roster(f.store, named, BOB)).of == {"8": ("back", "")}
        shown = await f.store.read(lambda tx: people.show_person(tx, "8"))
        assert [change["change"] for change in shown["changes"]] == ["added", "missing", "back"]
        assert shown["person"]["missing_since"] is None
        listed = await f.store.read(lambda tx: people.list_people(tx, TODAY))
        assert [entry["state"] for entry in listed] == ["leaving", "active"]


async def test_departed_accounts_keys_and_systems(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        told = "SELECT * FROM {} ORDER BY 1"
        assert await rows(f.store, told.format("muster_departed_accounts")) == []
        gone = replace(
            LEFT, keys={"k1": "SHA256:x"}, access_disabled={"": "2026-09-06T00:00:00Z", "vpn": "2026-09-07T00:00:00Z"}
        )
        await roster(f.store, gone, replace(BOB, keys={"k1": "SHA256:x", "k2": "SHA256:y"}))
        assert await rows(f.store, told.format("muster_departed_accounts")) == [("*", ""), ("ada", "2026-09-05")]
        assert await rows(f.store, told.format("muster_departed_keys")) == [("*", ""), ("k1", "2026-09-05")]
        assert await rows(f.store, "SELECT access_disabled_at FROM people WHERE person = '7'") == [
            ("2026-09-07T00:00:00Z",)
        ]
        assert await rows(f.store, "SELECT system, disabled_at FROM people_access ORDER BY 1") == [
            ("", "2026-09-06T00:00:00Z"),
            ("vpn", "2026-09-07T00:00:00Z"),
        ]
        # Somebody else who has the account now, or who came back under another number, is no leaver.
        await roster(f.store, gone, Person(person="9", accounts=["ada"], email=gone.email, keys=gone.keys))
        assert await rows(f.store, told.format("muster_departed_accounts")) == [("*", "")]
        assert await rows(f.store, told.format("muster_departed_keys")) == [("*", "")]


async def test_departed_devices_by_roster_and_by_register(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        told = "SELECT serial, last_day, from_day, to_day FROM muster_departed_devices WHERE serial <> '*' ORDER BY 1"
        ever = ("2026-09-05", "", "9999-12-31")
        await roster(f.store, replace(LEFT, serials={"s1": "S1", "s2": "S2", "s3": "S3"}), BOB)
        assert await rows(f.store, told) == [(f"s{n}", *ever) for n in (1, 2, 3)]
        await register(
            f.store,
            asset("S2", owner="bob@example.com"),  # another's now
            asset("S3", status="returned"),
            asset("S4", owner="ADA@example.com"),
            asset("S5", owner="7", status="lost"),
            asset("S6", owner="ada@example.com", status="wiped"),
            asset("S7", owner=""),
        )
        assert await rows(f.store, told) == [("s1", *ever), ("s4", *ever), ("s5", *ever)]
        await register(f.store, asset("S4", owner="ada@example.com", status="returned", since="2026-09-10"),
                       asset("S5", owner="7", status="disposed"))  # fmt: skip
        assert await rows(f.store, told) == [
            ("s1", *ever),
            ("s4", "2026-09-05", "", "2026-09-10"),
            ("s5", "2026-09-05", "", TODAY),
        ]
        await roster(f.store, LEFT, BOB, Person(person="9", email="ada@example.com"))
        assert await rows(f.store, told) == []


async def test_days_from_the_earliest_changed_last_day_on_are_news(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.judge(*range(14))
        days = await closed(f.store)
        assert days[-1] == "2026-09-13"
        assert await news_since(f.store) == []
        # The first one counts for every day, as far back as days are judged at all: it tells who has not left. Then of
        # what no last day tells, from now on.
        for said, first in (
            (ADA, "2026-06-17"),
            (replace(ADA, name="Ada L."), TODAY),
            (replace(ADA, last_day="2026-09-10"), "2026-09-10"),
            (LEFT, "2026-09-05"),
            (replace(ADA, last_day="2026-10-05"), "2026-09-05"),
            (replace(ADA, last_day="2026-10-06"), TODAY),
            (replace(ADA, last_day="2001-01-01"), "2026-06-17"),
        ):
            await roster(f.store, said, BOB)
            assert await news_since(f.store) == [("list", "people", 0, first)]
            await roster(f.store, said, BOB)
            assert await news_since(f.store) == []
        assert await closed(f.store) == days


async def test_news_name_the_import_they_come_from(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await roster(f.store, LEFT)
        await roster(f.store, ADA, BOB)
        assert await rows(f.store, "SELECT subject, first_day, last_day, detail FROM muster_news") == [
            ("people", "2026-06-17", "9999-12-31", "import 2 of people.csv")
        ]


@pytest.mark.parametrize("name", ["people", "people_access", "assets", "imports", "import_changes"])
async def test_queries_of_these_names_get_other_tables(tmp_path: Path, name: str) -> None:
    async with fleet(tmp_path) as f:
        device, _ = await enrolled(f.store, "laptop")
        await send(f.store, device, snapshot_line(name, MIDNIGHT, [{"who": "x"}]))
        ((table,),) = await rows(f.store, "SELECT table_name FROM muster_queries WHERE query = ?", (name,))
        assert table != name
        assert await rows(f.store, f"SELECT who FROM {table}") == [("x",)]
        assert await rows(f.store, f"SELECT * FROM {name}") == []


async def test_of_an_erased_person_nothing_is_left_but_that_there_was_one(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        person = Person(
            person=MARK.upper(),
            name=f"Ms {MARK}",
            email=f"{MARK}@example.com",
            last_day="2026-09-05",
            accounts=[MARK],
            serials={f"sn-{MARK}": f"SN-{MARK}"},
            keys={MARK: MARK},
            access_disabled={MARK: "2026-09-06T00:00:00Z"},
        )
        await roster(f.store, person, BOB)
        await register(
            f.store, asset("S1", owner=f"{MARK}@Example.com"), asset("S2", owner=MARK), asset("S3", owner="8")
        )
        await roster(f.store, replace(person, name=f"Mrs {MARK}"), BOB)
        assert await places_of(f.store, database, MARK)
        now = f.store.clock()
        stone = await f.store.write(lambda tx: people.erase_person(tx, MARK.upper(), "ann", "she asked", now))
        await f.store.driver.scrub()
        assert await places_of(f.store, database, MARK) == set()
        if database == "sqlite":
            assert files_with(tmp_path, MARK) == []
        shown = await f.store.read(lambda tx: people.show_person(tx, stone))
        assert (shown["person"]["erased_by"], shown["person"]["erased_why"]) == ("ann", "she asked")
        assert await devices(f.store, "serial, owner") == [("S1", "(erased)"), ("S2", "(erased)"), ("S3", "8")]
        assert await f.store.write(lambda tx: people.erase_person(tx, stone, "bob", "again", now)) == stone
        assert (await roster(f.store, BOB)).of == {}
        with pytest.raises(StoreError, match="no person 'nobody'"):
            await f.store.write(lambda tx: people.erase_person(tx, "nobody", "ann", "x", now))


# -- assets -------------------------------------------------------------------------------------------------------


async def test_assets_never_seen_are_silent_devices(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await register(
            f.store,
            asset(
                "S1", hostname="mac", platform="darwin", owner="ada@example.com", tags="eng", in_scope_from="2026-09-03"
            ),
            asset("S2"),
            asset("S3", status="stock", platform="linux"),
        )
        assert await devices(f.store, "hostname, serial, platform, owner, tags, in_scope_from, enrolled_at") == [
            ("mac", "S1", "darwin", "ada@example.com", "eng", "2026-09-03T00:00:00Z", None),
            ("", "S2", "", "", "", "2026-09-15T00:00:00Z", None),
        ]
        await f.judge(1, 2, 14)
        found = await rows(
            f.store,
            "SELECT DISTINCT d.serial, p.day, p.control, p.status, p.reason FROM posture p JOIN devices d"
            " ON d.device_id = p.device_id WHERE p.control IN ('release-supported', 'only-root-has-uid-0')"
            " ORDER BY 1, 2, 3",
        )
        never, not_yet = ("no_data", "never_answered"), ("not_applicable", "not_in_scope")
        both = ("only-root-has-uid-0", "release-supported")
        assert found == [
            *(("S1", "2026-09-02", control, *not_yet) for control in both),
            *(("S1", "2026-09-03", control, *never) for control in both),
            *(("S1", TODAY, control, *never) for control in both),
            *(("S2", "2026-09-02", control, *not_yet) for control in both),
            *(("S2", "2026-09-03", control, *not_yet) for control in both),
            *(("S2", TODAY, control, *never) for control in both),
        ]  # fmt: skip


async def test_a_machine_takes_over_the_device_that_stood_for_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        told = asset(" Sn-Laptop ".strip(), owner="ada@example.com", tags="eng", in_scope_from="2026-09-02")
        await register(f.store, told)
        await f.judge(1, 2)
        ((device_id,),) = await rows(f.store, "SELECT device_id FROM devices")
        device, _ = await enrolled(f.store, "laptop")
        assert device.device_id == device_id
        assert await devices(f.store) == [("laptop-laptop", "SN-laptop", "linux", "ada@example.com", "eng")]
        assert (await enrolled(f.store, "laptop"))[0].device_id == device_id
        await f.users(device, 3, 9, ROOT, TOOR)
        await f.judge(3)
        assert await f.verdicts(device, "day, status") == [
            ("2026-09-02", "no_data"),
            ("2026-09-03", "no_data"),
            ("2026-09-04", "fail"),
        ]
        before = await everything(f.store)
        await register(f.store, told)
        assert await everything(f.store) == before
        other, _ = await enrolled(f.store, "other")
        assert other.device_id != device_id


async def test_a_machine_that_was_there_before_its_asset_is_one_device(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await enrolled(f.store, "laptop")
        await register(f.store, asset("sn-LAPTOP", hostname="renamed", owner="ada", tags="eng", platform="windows"))
        assert await devices(f.store) == [("laptop-laptop", "SN-laptop", "linux", "ada", "eng")]
        # A register without these columns leaves them as they are.
        await register(f.store, asset("sn-LAPTOP"), columns=frozenset({"serial"}))
        assert await devices(f.store, "owner, tags") == [("ada", "eng")]
        await register(f.store, asset("sn-LAPTOP"), columns=frozenset({"serial", "owner"}))
        assert await devices(f.store, "owner, tags") == [("", "eng")]
        # A second machine with that serial, as after a change of its board, is the owner's too.
        await f.store.write(lambda tx: access.add_enroll_secret(tx, "s", f.store.clock()))
        swapped = replace(facts("laptop"), hardware_uuid="4c4c4544-0000-2010-8020-another")
        await _enroll(f.store, swapped)
        assert await devices(f.store, "owner, tags") == [("", "eng"), ("", "eng")]


async def _enroll(store: Store, machine: DeviceFacts) -> str:
    secret = await store.write(lambda tx: access.add_enroll_secret(tx, "s", store.clock()))
    key = await store.enroll(secret, machine, "x")
    assert key is not None
    return key


async def test_a_placeholder_is_no_assets_serial(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await register(f.store, asset("S1"))
        await _enroll(f.store, replace(facts("a"), serial="To be filled by O.E.M."))
        await _enroll(f.store, replace(facts("b"), serial=""))
        assert await devices(f.store, "serial") == [("",), ("S1",), ("To be filled by O.E.M.",)]


async def test_assets_leave_scope_and_come_back(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device, key = await enrolled(f.store, "laptop")
        await register(f.store, asset("SN-laptop"), asset("S2", platform="linux"))
        assert await retired(f.store) == {"SN-laptop": False, "S2": False}
        await register(f.store, asset("SN-laptop", status="returned"), asset("S2", platform="linux", status="lost"))
        assert await retired(f.store) == {"SN-laptop": True, "S2": True}
        f.store._keyring._good_until = 0.0
        assert await f.store.device_of(key) is None
        await register(f.store, asset("SN-laptop"), asset("S2", platform="linux", status="loan"))
        assert await retired(f.store) == {"SN-laptop": False, "S2": False}
        f.store._keyring._good_until = 0.0
        assert await f.store.device_of(key) == device
        # What somebody retired stays so, as long as the register says the same.
        await f.store.write(lambda tx: erase.retire(tx, device.device_id, f.store.clock()))
        await register(f.store, asset("SN-laptop", tags="x"), asset("S2", platform="linux", status="loan"))
        assert (await retired(f.store))["SN-laptop"] is True
        # A machine in use that was in stock is expected from then on; one that is not named any more still is.
        await register(f.store, asset("S3", status="stock"))
        assert "S3" not in await retired(f.store)
        done = await register(f.store, asset("S3"))
        assert done.of == {"s3": ("changed", "status stock → in_use")}
        assert await retired(f.store) == {"SN-laptop": True, "S2": False, "S3": False}
        assert await rows(f.store, "SELECT serial FROM assets WHERE missing_since IS NULL") == [("S3",)]


async def retired(store: Store) -> dict[str, bool]:
    return {serial: at is not None for serial, at in await devices(store, "serial, retired_at")}


async def test_a_scope_that_begins_in_the_past_brings_its_days(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await f.judge(*range(14))
        await register(f.store, asset("S1", platform="linux"))
        (number,) = (row[0] for row in await rows(f.store, "SELECT device_no FROM muster_devices"))
        # The first register tells of every day which machines are not in it.
        assert await news_since(f.store) == [("device", "", number, TODAY), ("list", "assets", 0, "2026-06-17")]
        await register(f.store, asset("S1", platform="linux", in_scope_from="2026-09-06"))
        assert await news_since(f.store) == [("device", "", number, "2026-09-06"), ("list", "assets", 0, "2026-09-06")]
        await register(f.store, asset("S1", platform="linux", in_scope_from="2026-09-10"))
        assert ("device", "", number, "2026-09-05") in await news_since(f.store)
        await register(f.store, asset("S1", platform="linux", in_scope_from="2026-09-10", model="X"))
        assert [row[0] for row in await news_since(f.store)] == ["list"]


async def test_what_a_register_says_of_a_device_is_news_of_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop, _ = await enrolled(f.store, "laptop")
        serial = (await rows(f.store, "SELECT serial FROM devices"))[0][0]
        await news_since(f.store)
        for said in ({"platform": "linux"}, {"owner": "ada@example.com"}, {"status": "stolen"}, {"status": "in_use"}):
            await register(f.store, asset(serial, **{"platform": "linux", **said}))
            assert ("device", "", laptop.device_no, TODAY) in await news_since(f.store)


async def test_an_erased_device_leaves_the_register(tmp_path: Path, database: str) -> None:
    async with fleet(tmp_path) as f:
        await register(
            f.store, asset(f"SN-{MARK}", owner=f"{MARK}@example.com", hostname=MARK, model=MARK), asset("S2")
        )
        await register(f.store, asset(f"SN-{MARK}", owner="bob"), asset("S2"))
        ((device_id,),) = await rows(f.store, "SELECT device_id FROM devices WHERE serial <> 'S2'")
        number = await f.store.write(lambda tx: erase.begin_erasure(tx, device_id, "ann", "x", f.store.clock()))
        await erase.erase(f.store.driver, number, f.store.clock())
        assert await places_of(f.store, database, MARK) == set()
        assert await rows(f.store, "SELECT existed_from, existed_to FROM erasures") == [("2026-09-15T00:00:00Z",) * 2]
        assert await rows(f.store, "SELECT serial FROM assets") == [("S2",)]
        device, _ = await enrolled(f.store, MARK)
        assert device.device_id != device_id
