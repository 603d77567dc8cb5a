"""Single values that the database keeps of itself, each under a key."""

from __future__ import annotations

from server.store.driver import Transaction


async def value_of(tx: Transaction, key: str) -> str | None:
    """The value of a key; None if it has none."""
    found = await tx.row("SELECT value FROM muster_meta WHERE key = ?", (key,))
    return None if found is None else str(found[0])


async def keep_value(tx: Transaction, key: str, value: str) -> None:
    """Give a key this value, whatever it had."""
    await tx.run(
        "INSERT INTO muster_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
