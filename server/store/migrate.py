"""Numbered SQL files, the one source of the schema: checksummed, each in one transaction with its record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from server.normalize.times import iso
from server.store.driver import Driver, NotReadyError, Transaction

_FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_RECORD = """
CREATE TABLE IF NOT EXISTS muster_migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at TEXT NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Checksum of the file's text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """The statements of the file; none of ours holds a semicolon within."""
        text = re.sub(r"--[^\n]*", "", self.sql)
        return (part.strip() for part in text.split(";") if part.strip())


def migrations() -> list[Migration]:
    """Every migration of this version, in order."""
    found = []
    for entry in resources.files("server.store").joinpath("migrations").iterdir():
        named = _FILE_NAME.fullmatch(entry.name)
        if named:
            found.append(Migration(int(named["number"]), named["name"], entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def pending(driver: Driver) -> list[Migration]:
    """The migrations this database lacks; changes nothing.

    Raises ``NotReadyError`` for a database that a newer version made, or whose applied files were edited since.
    """
    return await driver.read(_pending)


async def migrate(driver: Driver, now: float) -> list[Migration]:
    """Apply what is pending, all of it or nothing, and return it."""

    async def work(tx: Transaction) -> list[Migration]:
        await tx.run(_RECORD)
        todo = await _pending(tx)
        for migration in todo:
            for statement in migration.statements():
                await tx.run(statement)
            await tx.run(
                "INSERT INTO muster_migrations (number, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, migration.sha256, iso(now)),
            )
        return todo

    return await driver.write(work)


async def require_current(driver: Driver) -> None:
    """Raise ``NotReadyError`` unless the database is at this version's schema."""
    await driver.read(check_current)


async def check_current(tx: Transaction) -> None:
    """As ``require_current``, within a transaction."""
    todo = await _pending(tx)
    if todo:
        what = "has no Muster schema yet" if todo[0].number == 1 else f"lacks {len(todo)} migration(s)"
        command = "muster init" if todo[0].number == 1 else "muster migrate"
        raise NotReadyError(f"The database {what}: run '{command}' with the same --database first.")


async def _pending(tx: Transaction) -> list[Migration]:
    known = {migration.number: migration for migration in migrations()}
    applied = await _applied(tx)
    for number, name, checksum in applied:
        if number not in known:
            raise NotReadyError(
                f"The database has migration {number:04} ({name}), which this version of Muster does not know: "
                "use the newer version that made it."
            )
        if known[number].sha256 != checksum:
            raise NotReadyError(f"Migration {number:04} ({name}) was edited after this database applied it.")
    done = {number for number, _, _ in applied}
    return [migration for number, migration in sorted(known.items()) if number not in done]


async def _applied(tx: Transaction) -> list[tuple[int, str, str]]:
    if not await tx.table_exists("muster_migrations"):
        return []
    return [
        (number, name, checksum)
        for number, name, checksum in await tx.rows("SELECT number, name, sha256 FROM muster_migrations ORDER BY 1")
    ]
