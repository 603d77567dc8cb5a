"""A database of an earlier version, with the tables of users' queries in it, becomes one of this."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.app import opened_database
from server.normalize.times import unix
from server.store.driver import Transaction
from server.store.migrate import Migration, migrate, migrations
from server.store.registry import Registry
from tests.support.stores import url_in

NOON = float(unix("2026-06-10T10:00:00Z"))
_DAY = ("day", "starts_at", "ends_at", "zone", "state")
_NEWS = "SELECT kind, subject, device_no, first_day, last_day FROM muster_news"


async def test_days_that_are_open_are_judged_again(tmp_path: Path) -> None:
    """What was granted or came just before was to be judged by the version before, which had no news."""
    before = [migration for migration in migrations() if migration.number < 10]
    for folder, days, news in (
        ("none", [], []),
        ("closed", [("2026-06-09", "closed")], []),
        (
            "open",
            [("2026-06-08", "open"), ("2026-06-09", "closed"), ("2026-06-10", "open")],
            [("device", "", 0, "2026-06-08", "9999-12-31")],
        ),
    ):
        (tmp_path / folder).mkdir()
        async with opened_database(await url_in(tmp_path / folder), create=True) as database:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("server.store.migrate.migrations", lambda: before)
                await migrate(database.driver, NOON)
            bounds = ("2026-06-08T00:00:00Z", "2026-06-09T00:00:00Z", "UTC")
            stored = [(day, *bounds, state) for day, state in days]
            await database.driver.write(lambda tx, stored=stored: tx.insert("muster_days", _DAY, stored))  # type: ignore[misc]
            await migrate(database.driver, NOON)
            assert await database.driver.read(lambda tx: tx.rows(_NEWS)) == news


async def test_queries_keep_names_that_nothing_had_reserved(tmp_path: Path) -> None:
    before: list[Migration] = [migration for migration in migrations() if migration.number < 10]
    names = ["asked", "exemption_devices", "alerts", "failures", "rates", "news", "zones"]
    async with opened_database(await url_in(tmp_path), create=True) as database:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("server.store.migrate.migrations", lambda: before)
            await migrate(database.driver, NOON)

        async def ask(tx: Transaction) -> None:
            registry = Registry({})
            for name in names:
                assert (await registry.table_for(tx, name, [{"answer": "yes"}], NOON)).name == name

        await database.driver.write(ask)
        await migrate(database.driver, NOON)
        tables = await database.driver.read(lambda tx: Registry({}).all(tx))
        assert {name: tables[name].name for name in names} == {name: name for name in names}
        for name in names:
            assert await database.driver.read(lambda tx, name=name: tx.rows(f"SELECT answer FROM {name}")) == []  # type: ignore[misc]
