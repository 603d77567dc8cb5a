"""The lease of the leader: one holder, whoever asks; taken over when it has ended, or was given up."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from server.api.keys import Presence
from server.normalize.times import iso, unix
from server.store.driver import DatabaseUnavailableError, Work
from server.store.lease import LEADER, LEASE_SECONDS, Lease, database_time, lease
from server.store.store import Store
from server.worker import Worker
from tests.support.stores import open_store, rows


async def end(store: Store) -> None:
    """Let the lease have ended, as if its holder had died some time ago."""
    await store.write(
        lambda tx: tx.run("UPDATE muster_leases SET acquired_at = ?, expires_at = ?", (iso(0), iso(LEASE_SECONDS)))
    )


async def test_one_holds_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = Lease("x", store.write), Lease("x", store.write)
        assert await first.renew()
        assert not await second.renew()
        assert not await first.renew(), "it has not become ours just now"
        assert (first.held, second.held) == (True, False)
        await second.give_up()
        assert not await second.renew(), "nobody gives up what is another's"
        await first.give_up()
        assert not first.held
        assert await second.renew()


async def test_leases_of_other_names_are_others(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = Lease("x", store.write), Lease("y", store.write)
        assert await first.renew()
        assert await second.renew()


async def test_what_has_ended_is_taken_over_and_its_holder_learns_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = Lease("x", store.write), Lease("x", store.write)
        await first.renew()
        await end(store)
        assert await second.renew()
        assert not await first.renew()
        assert first.lost and not first.held
        assert not second.lost
        await first.give_up()
        held = await store.read(lambda tx: lease(tx, "x"))
        assert held is not None and held.holder == second.holder


async def test_its_time_is_the_databases(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=lambda: 1_000_000.0) as store:
        await Lease("x", store.write).renew()
        now = await store.read(database_time)
        held = await store.read(lambda tx: lease(tx, "x"))
        assert held is not None
        assert now - 20 < unix(held.acquired_at) <= now
        assert unix(held.expires_at) - unix(held.acquired_at) == LEASE_SECONDS


async def test_a_holder_that_cannot_renew_leads_no_longer(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        away = False

        async def write(work: Work[object]) -> object:
            if away:
                raise DatabaseUnavailableError("gone")
            return await store.write(work)

        now = 1000.0
        ours = Lease("x", write, lambda: now)
        assert await ours.renew()
        away = True
        now += LEASE_SECONDS / 3
        assert not await ours.renew()
        assert ours.held, "there is time left"
        now += 2 * LEASE_SECONDS / 3 - 1
        assert ours.lost, "it stops before the lease ends"
        away = False
        assert await ours.renew(), "nobody took it meanwhile"


async def test_only_the_leader_judges(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        one, other = Worker(store, Presence()), Worker(store, Presence())
        await one.start()
        today = "SELECT COUNT(*) FROM days"
        assert await rows(store, today) == [(1,)]
        await store.write(lambda tx: tx.run("DELETE FROM muster_days"))
        await other.start()
        assert await rows(store, today) == [(0,)], "another leads"
        await one.stop()
        assert await store.read(lambda tx: lease(tx, LEADER)) is None
        await other.lead()
        held = await store.read(lambda tx: lease(tx, LEADER))
        assert held is not None
        await other.stop()
        assert await store.read(lambda tx: lease(tx, LEADER)) is None


async def test_a_job_that_the_end_of_the_server_breaks_off_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    under_way, broken_off = asyncio.Event(), asyncio.Event()

    class Slow(Worker):
        async def look_at_packs(self) -> None:
            under_way.set()
            try:
                await asyncio.Event().wait()
            finally:
                broken_off.set()

    monkeypatch.setattr("server.worker.LOOK_SECONDS", 0.05)
    async with open_store(tmp_path) as store:
        worker = Slow(store, Presence())
        await worker.start()
        await under_way.wait()
        with caplog.at_level(logging.ERROR):
            await worker.stop()
            await broken_off.wait()
            await asyncio.sleep(0)  # the scheduler hears of it a step later
        assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
