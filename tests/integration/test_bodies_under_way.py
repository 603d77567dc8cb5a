"""Whoever announces much and sends little, or packs much into little, keeps nobody else out."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from server.api.gate import Gate
from server.api.keys import ARRIVING, GATE, STORE
from server.app import web_app
from server.drivers.sqlite_ask import SqliteAsker
from server.store.access import add_enroll_secret
from server.wire.limits import ENDPOINTS
from tests.contract.test_identity import facts
from tests.contract.test_store import T0
from tests.support.collector_peer import new_id
from tests.support.server import snapshot_line
from tests.support.stores import open_store

LOG, BATCH = "/api/osquery/log", "/api/collector/batch"


@asynccontextmanager
async def served(directory: Path, **gates: Gate) -> AsyncIterator[tuple[Any, str]]:
    """A client of an application, and the key of a collector."""
    async with open_store(directory) as store:
        secret = await store.write(lambda tx: add_enroll_secret(tx, "s", store.clock()))
        key = await store.enroll(secret, facts("ann", "ann"), "x", "0.1.0")
        app = web_app(store, SqliteAsker(directory / "t.db"))
        app[GATE], app[ARRIVING] = gates.get("gate", Gate(seconds=0.2)), gates.get("arriving", Gate(seconds=0.2))
        server = TestServer(app)
        await server.start_server(auto_decompress=False)  # as it is served: what is packed is unpacked by us
        async with TestClient(server) as client:
            yield client, str(key)


def batch(**more: Any) -> bytes:
    mark = {"id": new_id(), "spool": new_id(), "lane": "log", "after": 0, "through": 1}
    line = snapshot_line("folks", T0, [{"who": "ann"}])
    return json.dumps({"batch": mark, "data": [line], **more}).encode()


async def taken(client: Any, key: str, body: bytes, **headers: str) -> tuple[int, Any]:
    async with client.post(BATCH, data=BytesIO(body), headers={"Authorization": f"NodeKey {key}", **headers}) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("path", [LOG, BATCH])
@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_a_body_that_is_announced_and_does_not_come(tmp_path: Path, path: str, how: str) -> None:
    async with served(tmp_path) as (client, key):
        size = f"Content-Length: {ENDPOINTS['log'].body}" if how == "length" else "Transfer-Encoding: chunked"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: NodeKey {key}\r\n{size}\r\n\r\n"
        sent = "1\r\n{\r\n" if how == "chunked" else "{"
        writers = [(await asyncio.open_connection("127.0.0.1", client.port))[1] for _ in range(3)]
        for writer in writers:
            writer.write((head + sent).encode())
            await writer.drain()
        for _ in range(3):
            assert await taken(client, key, batch()) == (200, {"taken": 1})
        for writer in writers:
            writer.close()


async def test_a_packed_body_takes_the_place_of_what_is_in_it(tmp_path: Path) -> None:
    gate = Gate(capacity=3_000_000, seconds=0.0)
    async with served(tmp_path, gate=gate) as (client, key):
        packed = gzip.compress(batch(padding=" " * 2_000_000))
        async with gate.place(1_500_000):
            status, answer = await taken(client, key, packed, **{"Content-Encoding": "gzip"})
            assert status == 503 and answer["retry_after"]
            lying = packed[:-4] + bytes(4)
            status, answer = await taken(client, key, lying, **{"Content-Encoding": "gzip"})
            assert (status, answer["error"][:19]) == (400, "body inflates past ")
        assert await taken(client, key, packed, **{"Content-Encoding": "gzip"}) == (200, {"taken": 1})
        await gate.enter(3_000_000)


async def test_what_comes_has_to_have_a_place_as_it_comes(tmp_path: Path) -> None:
    arriving = Gate(capacity=1_000_000, seconds=0.0)
    async with served(tmp_path, arriving=arriving) as (client, key):
        large = batch(padding=" " * 2_000_000)
        status, answer = await taken(client, key, batch(padding=" " * 800_000))
        assert (status, answer) == (200, {"taken": 1})
        async with arriving.place(900_000):
            assert (await taken(client, key, large))[0] == 503
            assert (await taken(client, key, batch(padding=" " * 100_000)))[0] == 200
        await arriving.enter(1_000_000)


async def test_a_body_larger_than_the_gates_takes_all_of_them(tmp_path: Path) -> None:
    arriving, gate = Gate(capacity=1_000_000, seconds=0.2), Gate(capacity=1_000_000, seconds=0.2)
    async with served(tmp_path, arriving=arriving, gate=gate) as (client, key):
        assert await taken(client, key, batch(padding=" " * 3_000_000)) == (200, {"taken": 1})
        await arriving.enter(1_000_000)
        await gate.enter(1_000_000)


async def test_what_a_stranger_sends_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (client, key):

        def read(*_: Any) -> None:
            raise AssertionError("it was read")

        monkeypatch.setattr("server.api.osquery.parse_log", read)
        for said in ('{"node_key": "nobody", ', "{"):
            body = f'{said}"data": [{{"node_key": "who"}}, "{"x" * 100_000}"]'.encode()
            for headers in ({}, {"Authorization": "NodeKey nobody"}, {"Authorization": f"NodeKey {key}"}):
                async with client.post(LOG, data=body, headers=headers) as answer:
                    assert (answer.status, await answer.json()) == (401, {"node_invalid": True})


async def test_what_a_stranger_answers_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (client, _):

        def read(*_: Any) -> None:
            raise AssertionError("it was read")

        monkeypatch.setattr("server.api.osquery.parse_object", read)
        rows = [{"x": "y" * 1000}] * 100
        body = json.dumps({"node_key": "nobody", "queries": {"q": rows}, "statuses": {"q": 0}}).encode()
        async with client.post("/api/osquery/distributed/write", data=body) as answer:
            assert (answer.status, await answer.json()) == (401, {"node_invalid": True})


async def test_a_large_body_of_a_known_device_is_read(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, _):
        store = client.app[STORE]
        secret = await store.write(lambda tx: add_enroll_secret(tx, "t", store.clock()))
        osquery = await store.enroll(secret, facts("ann", "ann"), "x")
        line = snapshot_line("folks", T0, [{"who": "x" * 1000, "n": str(n)} for n in range(1500)])
        for node_key, headers in ((osquery, {}), ("", {"Authorization": f"NodeKey {osquery}"})):
            body = {"log_type": "result", "data": [line], **({"node_key": node_key} if node_key else {})}
            async with client.post(LOG, data=BytesIO(json.dumps(body).encode()), headers=headers) as answer:
                assert (answer.status, await answer.json()) == (200, {})
