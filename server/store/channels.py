"""What collectors say of themselves over their channels, and what the database has of interest to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store.collectors import VERSION_CHARS, note_backlogs
from server.store.driver import Transaction
from server.store.served import GONE_SECONDS
from server.wire.collector_messages import Hello
from server.wire.messages import Backlog


@dataclass(frozen=True, slots=True)
class Said:
    """What is kept of a collector's hello, and whether it has a channel open."""

    version: str
    serves_config: bool
    policy: str
    connected: bool

    @classmethod
    def of(cls, hello: Hello, *, connected: bool) -> Said:
        """What of a hello is kept."""
        version = clean_text(hello.collector).strip()[:VERSION_CHARS]
        return cls(version, hello.serves_config, clean_text(hello.policy), connected)


async def note_said(
    tx: Transaction,
    said: Mapping[int, Said],
    backlogs: Sequence[tuple[int, Backlog]],
    server: str,
    now: float,
) -> None:
    """Write down what collectors of devices (numbers) said to a server.

    One that has its channel at another server by now is not said to have lost it.
    """
    await tx.many(
        "UPDATE muster_collectors SET version = CASE WHEN CAST(? AS TEXT) = '' THEN version ELSE CAST(? AS TEXT) END,"
        " last_seen_at = ?, serves_config = ?, policy = ?, connected = ?, server = ?"
        " WHERE device_no = ? AND (CAST(? AS BIGINT) = 1 OR server IS NULL OR server = ?)",
        [
            (
                *(one.version, one.version, iso(now), int(one.serves_config), one.policy, int(one.connected), server),
                *(device_no, int(one.connected), server),
            )
            for device_no, one in sorted(said.items())
        ],
    )
    if backlogs:
        await note_backlogs(tx, backlogs, now)


async def forget_channels(tx: Transaction, ended: str, now: float) -> None:
    """Note that the channels of servers that have ended without saying so are closed, and of one that has ``ended``."""
    await tx.run(
        "UPDATE muster_collectors SET connected = 0, server = NULL WHERE connected = 1 AND (server = ? OR server NOT IN"
        " (SELECT s.server FROM muster_servers s WHERE s.seen_at >= ?))",
        (ended, iso(now - GONE_SECONDS)),
    )


async def note_verdicts(tx: Transaction, where: str, parameters: Sequence[object]) -> None:
    """Note that the verdicts of devices with a collector have changed; ``where`` names devices of muster_collectors."""
    await tx.run(f"UPDATE muster_collectors SET verdicts_seq = ? WHERE {where}", (await tx.seq(), *parameters))


async def verdicts_changed(tx: Transaction, after: int | None) -> list[tuple[int, int]]:
    """The devices with a collector (numbers) whose verdicts changed after a commit sequence, with that of the change.

    Without ``after`` it is one of those that changed last.
    """
    if after is None:
        last = "SELECT device_no, verdicts_seq FROM muster_collectors ORDER BY verdicts_seq DESC LIMIT 1"
        found = await tx.rows(last)
    else:
        found = await tx.rows("SELECT device_no, verdicts_seq FROM muster_collectors WHERE verdicts_seq > ?", (after,))
    return [(number, seq) for number, seq in found]


async def any_collector(tx: Transaction) -> bool:
    """Whether any device has a collector."""
    return await tx.row("SELECT 1 FROM muster_collectors LIMIT 1") is not None
