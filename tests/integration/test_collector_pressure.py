"""A server that is pressed, or whose database is away, tells collectors when to come again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from server.api.collector import BATCHES_A_DEVICE, RETRY_SECONDS, RETRY_SPREAD
from server.api.gate import Gate
from server.api.keys import GATE
from server.app import web_app
from server.drivers.sqlite_ask import SqliteAsker
from server.store.access import add_enroll_secret
from server.store.driver import DatabaseUnavailableError
from server.store.store import Store
from tests.contract.test_identity import facts
from tests.contract.test_store import T0
from tests.support.collector_peer import new_id
from tests.support.server import snapshot_line
from tests.support.stores import open_store, rows

Post = Callable[..., Any]


@asynccontextmanager
async def pressed(directory: Path, gate: Gate | None = None) -> AsyncIterator[tuple[Store, Post]]:
    """A store behind its application, and what sends a batch (of one line, in a spool of its own) as one collector."""
    async with open_store(directory) as store:
        app = web_app(store, SqliteAsker(directory / "t.db"))
        if gate is not None:
            app[GATE] = gate
        secret = await store.write(lambda tx: add_enroll_secret(tx, "s", store.clock()))
        keys = [await store.enroll(secret, facts(name, name), "x", "0.1.0") for name in ("ann", "bob")]
        async with TestClient(TestServer(app)) as client:

            async def post(device: int = 0) -> tuple[int, dict[str, Any]]:
                mark = {"id": new_id(), "spool": new_id(), "lane": "log", "after": 0, "through": 1}
                body = {"batch": mark, "data": [snapshot_line("folks", T0, [{"who": "ann"}])]}
                headers = {"Authorization": f"NodeKey {keys[device]}"}
                async with client.post("/api/collector/batch", data=json.dumps(body), headers=headers) as answer:
                    return answer.status, await answer.json()

            yield store, post


def comes_again(answer: dict[str, Any]) -> bool:
    return bool(answer["error"]) and RETRY_SECONDS <= answer["retry_after"] < RETRY_SECONDS + RETRY_SPREAD


async def test_a_full_gate(tmp_path: Path) -> None:
    gate = Gate(capacity=10, seconds=0.0)
    async with pressed(tmp_path, gate) as (store, post):
        async with gate.place(10):
            status, answer = await post()
            assert status == 503 and comes_again(answer)
        assert await post() == (200, {"taken": 1})
        assert store.taken.batches == 1


async def test_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pressed(tmp_path) as (store, post):

        async def away(*_: Any) -> None:
            raise DatabaseUnavailableError("postgresql://ann:secret@host/muster is away")

        with monkeypatch.context() as patched:
            patched.setattr(store, "take", away)
            status, answer = await post()
        assert status == 503 and comes_again(answer)
        assert "secret" not in answer["error"]
        assert await post() == (200, {"taken": 1})


async def test_one_device_with_many_batches_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pressed(tmp_path) as (store, post):
        whole, go, begun = store.take, asyncio.Event(), asyncio.Semaphore(0)

        async def late(*given: Any) -> Any:
            begun.release()
            await go.wait()
            return await whole(*given)

        monkeypatch.setattr(store, "take", late)
        under_way = [asyncio.create_task(post()) for _ in range(BATCHES_A_DEVICE)]
        for _ in under_way:
            await begun.acquire()
        status, answer = await post()
        assert status == 429 and comes_again(answer)
        other = asyncio.create_task(post(1))
        await begun.acquire()  # another device is not held up by it
        go.set()
        assert await asyncio.gather(*under_way, other) == [(200, {"taken": 1})] * (BATCHES_A_DEVICE + 1)
        assert await post() == (200, {"taken": 1})


async def test_a_defect_of_ours_is_an_object_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pressed(tmp_path) as (store, post):

        async def broken(*_: Any) -> None:
            raise ZeroDivisionError("of something secret")

        with monkeypatch.context() as patched:
            patched.setattr(store, "take", broken)
            assert await post() == (500, {"error": "internal error"})
        assert await post() == (200, {"taken": 1})
        assert await rows(store, "SELECT COUNT(*) FROM folks") == [(1,)]
