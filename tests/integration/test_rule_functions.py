"""The functions of the rules on Postgres: made as a server opens the database, and made anew where they are others."""

from __future__ import annotations

import asyncio

from server.drivers.postgres import open_postgres
from tests.support import postgres

COMPARED = "SELECT muster_version_compare('1.10', '1.9')"


async def test_functions_are_there_and_mended_by_servers_that_open_at_once() -> None:
    url = await postgres.new_database()
    try:
        for body in ("SELECT CAST(7 AS bigint)", "SELECT CAST(8 AS bigint)"):
            for driver in await asyncio.gather(*(open_postgres(url) for _ in range(3))):
                await driver.close()
            assert [tuple(row) for row in await postgres.run(COMPARED, url)] == [(1,)]
            changed = "CREATE OR REPLACE FUNCTION muster_version_compare(a text, b text) RETURNS bigint LANGUAGE sql"
            await postgres.run(f"{changed} AS '{body}'", url)
            assert [tuple(row) for row in await postgres.run(COMPARED, url)] != [(1,)]
    finally:
        await postgres.drop_database(url)
