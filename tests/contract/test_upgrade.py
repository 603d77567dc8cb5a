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
