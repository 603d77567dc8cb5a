"""A database of its own on somebody's Postgres server, for the length of a test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from server.drivers.postgres import PostgresDriver, open_postgres
from server.drivers.postgres_connect import connect

PREFIX = "muster_scratch_"


@asynccontextmanager
async def scratch_postgres(url: str) -> AsyncIterator[PostgresDriver]:
    """Make a database beside the one in ``url``, which is not touched, and drop it in the end.

    Raises ``NotReadyError`` where the role may not make databases.
    """
    parts = urlsplit(url)
    name = PREFIX + secrets.token_hex(8)
    driver = await open_postgres(urlunsplit(parts._replace(path=f"/{name}")), create=True)
    try:
        yield driver
    finally:
        await driver.close()
        connection = await connect(urlunsplit(parts._replace(path="/postgres")))
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await connection.close()
