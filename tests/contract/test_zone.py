"""Another time zone of the fleet's days: from tomorrow on, and no day that has begun is touched."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from server.app import opened_database
from server.evaluate.due import due_days
from server.evaluate.judge import evaluate
from server.normalize.calendar import ALWAYS
from server.normalize.times import unix
from server.store.calendar import change_zone, read_calendar, set_zone
from server.store.driver import StoreError, Transaction
from server.store.holds import add_hold
from server.store.migrate import Migration, migrate, migrations
from server.store.store import Store
from tests.support.stores import add_device, open_store, rows, url_in

NOON = float(unix("2026-06-10T10:00:00Z"))


async def change(store: Store, zone: str) -> None:
    await store.write(lambda tx: change_zone(tx, zone, "ada", store.clock()))


async def zones(store: Store) -> list[tuple[Any, ...]]:
    return await rows(store, "SELECT first_day, zone, set_by FROM muster_zones ORDER BY first_day")


async def test_days_before_stay_and_the_first_one_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    clock = [NOON]
    async with open_store(tmp_path, clock=lambda: clock[0]) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, "Europe/Berlin", "init", NOON))
        await add_device(store, "laptop")
        await evaluate(store, date(2026, 6, 9), date(2026, 6, 10))
        before = await rows(store, "SELECT * FROM days ORDER BY day")
        await change(store, "America/Los_Angeles")
        assert await rows(store, "SELECT * FROM days ORDER BY day") == before
        clock[0] = float(unix("2026-06-11T21:59:59Z"))
        # The running server goes by the calendar as it is: the 10th ended in Berlin, the 11th goes on in Los Angeles.
        assert await due_days(store) == [date(2026, 6, 10)]
        await evaluate(store, date(2026, 6, 10), date(2026, 6, 11))
        with pytest.raises(StoreError, match="it is 2026-06-11 in the fleet's zone America/Los_Angeles"):
            await evaluate(store, date(2026, 6, 12), date(2026, 6, 12))
        assert await rows(store, "SELECT day, starts_at, ends_at, zone FROM days ORDER BY day") == [
            ("2026-06-09", "2026-06-08T22:00:00Z", "2026-06-09T22:00:00Z", "Europe/Berlin"),
            ("2026-06-10", "2026-06-09T22:00:00Z", "2026-06-10T22:00:00Z", "Europe/Berlin"),
            ("2026-06-11", "2026-06-10T22:00:00Z", "2026-06-12T07:00:00Z", "America/Los_Angeles"),
        ]


async def test_of_two_changes_on_a_day_the_last_one_counts(tmp_path: Path) -> None:
    clock = [NOON]
    async with open_store(tmp_path, clock=lambda: clock[0]) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, "Europe/Berlin", "init", NOON))
        await change(store, "America/Los_Angeles")
        await change(store, "America/New_York")
        assert await zones(store) == [(ALWAYS, "Europe/Berlin", "init"), ("2026-06-11", "America/New_York", "ada")]
        await change(store, "Europe/Berlin")
        assert await zones(store) == [(ALWAYS, "Europe/Berlin", "init")]
        await change(store, "America/New_York")
        clock[0] += 2 * 86_400
        await change(store, "Europe/Berlin")
        assert [entry[:2] for entry in await zones(store)] == [
            (ALWAYS, "Europe/Berlin"), ("2026-06-11", "America/New_York"), ("2026-06-13", "Europe/Berlin"),
        ]  # fmt: skip
        await change(store, "America/New_York")
        assert len(await zones(store)) == 2


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("UTC", "Mars/Olympus", "no time zone"),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago", "more than a day off"),
        ("Pacific/Pago_Pago", "Pacific/Kiritimati", "too far ahead"),
        ("America/Los_Angeles", "Asia/Tokyo", "would have 8 hours. Go by way of"),
    ],
)
async def test_a_zone_is_refused(tmp_path: Path, before: str, after: str, says: str) -> None:
    async with open_store(tmp_path, clock=lambda: NOON) as store:
        await store.write(lambda tx: set_zone(tx, ALWAYS, before, "init", NOON))
        with pytest.raises(StoreError, match=says):
            await change(store, after)
        assert await zones(store) == [(ALWAYS, before, "init")]


async def test_holds_and_scopes_of_days_to_come_move_with_them(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: NOON) as store:
        device = await add_device(store, "expected")
        scope = "UPDATE muster_devices SET in_scope_from = '2026-06-20T00:00:00Z' WHERE device_no = ?"
        await store.write(lambda tx: tx.run(scope, (device.device_no,)))
        calendar = await store.read(read_calendar)
        days = date(2026, 6, 1), date(2026, 6, 30)
        await store.write(lambda tx: add_hold(tx, calendar, *days, "audit", NOON))
        await change(store, "America/New_York")
        assert await rows(store, "SELECT in_scope_from FROM devices") == [("2026-06-20T04:00:00Z",)]
        assert await rows(store, "SELECT starts_at, ends_at FROM muster_holds") == [
            ("2026-05-01T00:00:00Z", "2026-07-01T04:00:00Z")
        ]


async def test_the_zone_of_a_database_of_before_stays(tmp_path: Path) -> None:
    before: list[Migration] = [migration for migration in migrations() if migration.number < 10]
    async with opened_database(await url_in(tmp_path), create=True) as database:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("server.store.migrate.migrations", lambda: before)
            await migrate(database.driver, NOON)

        async def fill(tx: Transaction) -> None:
            keys = [("zone", "Asia/Tokyo"), ("judging 2026-06-09", "x"), ("seq", "7")]
            await tx.insert("muster_meta", ("key", "value"), keys)
            columns = ("day", "starts_at", "ends_at", "zone", "state")
            days = [("2026-06-08", "closed"), ("2026-06-09", "open")]
            bounds = [(day, f"{day}T15:00:00Z", f"{day}T16:00:00Z", "Asia/Tokyo", state) for day, state in days]
            await tx.insert("muster_days", columns, bounds)

        await database.driver.write(fill)
        await migrate(database.driver, NOON)
        assert (await database.driver.read(read_calendar)).zone(date(2026, 6, 9)) == "Asia/Tokyo"
        read = database.driver.read
        assert await read(lambda tx: tx.rows("SELECT day, state, closed_at FROM days ORDER BY day")) == [
            ("2026-06-08", "closed", "2026-06-08T16:00:00Z"),
            ("2026-06-09", "open", None),
        ]
        assert await read(lambda tx: tx.rows("SELECT key FROM muster_meta")) == [("seq",)]
