"""Bodies and work that share a transaction, and what is left when something goes wrong on the way."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.store import intake
from server.store.deliveries import Delivery, Ingested
from server.store.driver import DatabaseUnavailableError, TableBusyError, Transaction, Work
from server.store.intake import Intake
from server.wire.log import parse_log
from server.wire.messages import LogBody
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows

T0 = 1_790_000_000


def body_of(*lines: dict[str, Any]) -> LogBody:
    return parse_log(json.dumps({"node_key": "k", "log_type": "result", "data": list(lines)}).encode())


class _Row(dict[str, Any]):
    """A row that can be watched."""


async def test_of_two_answers_in_one_round_the_second_may_bring_a_new_column(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        first, second = await add_device(store, "a"), await add_device(store, "b")
        await store.ingest(first, body_of(snapshot_line("folks", T0, [{"who": "ann"}])))
        await asyncio.gather(
            store.ingest(first, body_of(snapshot_line("folks", T0 + 60, [{"who": "eve"}]))),
            store.ingest(second, body_of(snapshot_line("folks", T0 + 60, [{"who": "bob", "shell": "/bin/sh"}]))),
        )
        assert await rows(store, "SELECT hostname, who, shell FROM folks ORDER BY 1") == [
            ("a", "eve", None),
            ("b", "bob", "/bin/sh"),
        ]


async def test_work_that_gives_up_within_an_attempt_leaves_nothing_in_its_groups_commit(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:

        async def put(tx: Transaction, key: str) -> None:
            await tx.run("INSERT INTO muster_meta (key, value) VALUES (?, 'here')", (key,))

        async def busy(tx: Transaction) -> None:
            await put(tx, "inner")
            raise TableBusyError("held")

        async def gives_up(tx: Transaction) -> None:
            await put(tx, "outer")
            failed = await tx.attempt(busy(tx))
            assert isinstance(failed, Exception)
            raise failed

        done = await asyncio.gather(
            store.write(lambda tx: put(tx, "one")),
            store.write(gives_up),
            store.write(lambda tx: put(tx, "two")),
            return_exceptions=True,
        )
        assert isinstance(done[1], TableBusyError)
        found = await rows(store, "SELECT key FROM muster_meta WHERE value = 'here' ORDER BY key")
        assert found == [("one",), ("two",)]


async def test_a_round_that_fails_before_it_begins_fails_those_who_wait_and_the_next_is_served(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        broken = True

        async def write(work: Work[list[Ingested]]) -> list[Ingested]:
            if broken:
                raise ValueError("this database is none")
            return await store.write(work)

        line = Intake(write, store._ingest)
        delivery = Delivery(device, body_of(snapshot_line("folks", T0, [{"who": "ann"}])))
        with pytest.raises(ValueError, match="none"):
            await asyncio.wait_for(line.put(delivery), 5)
        broken = False
        assert (await asyncio.wait_for(line.put(delivery), 5)).answers == 1


async def test_a_body_is_not_held_once_nobody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.05)
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        stuck = asyncio.Event()

        async def write(work: Work[list[Ingested]]) -> list[Ingested]:
            await stuck.wait()
            return await store.write(work)

        line = Intake(write, store._ingest)
        body = body_of(snapshot_line("folks", T0, []))
        row = _Row(who="ann")
        body.results[0] = replace(body.results[0], added=[row])
        held = weakref.ref(row)
        done = await asyncio.gather(line.put(Delivery(device, body)), return_exceptions=True)
        assert isinstance(done[0], DatabaseUnavailableError)
        del body, row, done  # an error, too, holds what its frames held
        await asyncio.sleep(0)
        gc.collect()
        assert held() is None
        stuck.set()
