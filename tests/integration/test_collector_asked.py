"""A question from a person at the server to the rows in its tables: real server, real uplink, stand-in osqueryd."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.core.running import Core, core
from tests.support.live import noted_running
from tests.support.osqueryd import needs_osqueryd, osqueryd
from tests.support.server import Server, ask, muster_here, serving
from tests.support.uplink import Uplink, uplink

HOST = "stand-in"
CONTROL, QUERY = "only-root-has-uid-0", "users"


@pytest.fixture(scope="module")
def shared() -> Iterator[Core]:
    with core() as running:
        running.await_ready()
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as (running, made):
        (tmp_path / "enroll_secret").write_text(made["enroll_secret"])
        yield running


async def command(server: Server, *arguments: str) -> Any:
    done = await asyncio.to_thread(muster_here, *arguments, "--json", "--database", server.database, check=False)
    return json.loads(done.stdout)


async def ask_it(server: Server) -> None:
    await command(server, "device", "ask", HOST, "--control", CONTROL, "--by", "eve")


async def outcome(server: Server, seconds: float = 20) -> tuple[list[Any], float]:
    """What came of the question asked last, when there is something; and after how many seconds."""
    begun = time.monotonic()
    statement = "SELECT outcome, via, message, wall_time_ms FROM posture_asked ORDER BY asked_at DESC"
    while True:
        found = await asyncio.to_thread(ask, server.database, statement)
        if found and found[0][0] != "waiting" and found[0][0] is not None:
            return found[0], time.monotonic() - begun
        assert time.monotonic() - begun < seconds, found
        await asyncio.sleep(0.02)


@asynccontextmanager
async def device(server: Server, folder: Path, running: Core, **settings: str) -> AsyncIterator[Uplink]:
    """An uplink that has said hello."""
    at = settings.pop("address", f"http://127.0.0.1:{server.port}")
    async with uplink(folder, at, running.socket, **settings) as made:
        await made.until(lambda: made.spool.get("config"))
        yield made


async def test_asked_and_answered(server: Server, tmp_path: Path, shared: Core) -> None:
    async with device(server, tmp_path, shared):
        await ask_it(server)
        (what, via, _message, wall), seconds = await outcome(server)
        assert (what, via) == ("answered", "collector")
        assert wall is not None and wall < 1000
        assert seconds < 5
        users = await asyncio.to_thread(ask, server.database, "SELECT username FROM users ORDER BY username")
        assert users == [["ada"], ["root"]]
        told = await asyncio.to_thread(
            ask, server.database, "SELECT hostname, serves_config, policy FROM posture_collectors"
        )
        assert told == [[HOST, 0, ""]]


async def test_what_the_device_refuses_is_told_as_refused(server: Server, tmp_path: Path, shared: Core) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('deny_tables = ["users"]\n')
    rules.chmod(0o600)
    if os.getuid() != 0:
        pytest.skip("the policy belongs to root")
    async with device(server, tmp_path, shared, policy_file=str(rules)):
        await ask_it(server)
        (what, via, message, _wall), _seconds = await outcome(server)
        assert (what, via) == ("refused", "collector")
        assert "users" in message
    assert await asyncio.to_thread(ask, server.database, "SELECT COUNT(*) FROM users") == [[0]]


async def test_a_server_that_was_away_asks_again(tmp_path: Path, shared: Core) -> None:
    database = f"sqlite:///{tmp_path}/t.db"
    begun = await asyncio.to_thread(muster_here, "init", "--database", database, "--json")
    (tmp_path / "enroll_secret").write_text(json.loads(begun.stdout)["enroll_secret"])
    server = await asyncio.to_thread(Server, database)
    try:
        async with relayed(server) as (address, between), device(server, tmp_path, shared, address=address):
            await asyncio.to_thread(server.kill)
            server = await asyncio.to_thread(Server, database)
            between["port"] = server.port
            await ask_it(server)
            (what, via, _message, _wall), _seconds = await outcome(server, 40)
            assert (what, via) == ("answered", "collector")
    finally:
        await asyncio.to_thread(server.stop)


async def test_where_a_proxy_refuses_websockets_the_question_comes_by_a_poll(
    server: Server, tmp_path: Path, shared: Core
) -> None:
    async with relayed(server) as (address, between):
        between["refuse"] = 403
        async with device(server, tmp_path, shared, address=address):
            await ask_it(server)
            (what, via, _message, _wall), _seconds = await outcome(server, 60)
            assert (what, via) == ("answered", "collector")
            assert between["polls"] >= 2


async def test_an_uplink_killed_while_it_runs_says_so_and_runs_the_rest(
    server: Server, tmp_path: Path, shared: Core
) -> None:
    async with device(server, tmp_path, shared) as made:
        shared.do("slow", contains="FROM users", seconds=30)
        try:
            await ask_it(server)
            await made.until(lambda: noted_running(made.spool) is not None)
            made.kill()
        finally:
            shared.do("slow", contains="FROM users", seconds=0)
        made.start()
        (what, via, message, _wall), _seconds = await outcome(server)
        assert (what, via) == ("failed", "collector")
        assert "interrupted" in message


@needs_osqueryd
async def test_a_real_osqueryd_is_asked_and_answers(server: Server, tmp_path: Path) -> None:
    with osqueryd() as socket:
        async with uplink(tmp_path, f"http://127.0.0.1:{server.port}", socket) as made:
            await made.until(lambda: made.spool.get("config"))
            (name,) = (await asyncio.to_thread(ask, server.database, "SELECT hostname FROM devices"))[0]
            await command(server, "device", "ask", name, "--control", CONTROL, "--by", "eve")
            (what, via, _message, wall), seconds = await outcome(server)
            assert (what, via) == ("answered", "collector")
            assert wall is not None and seconds < 5
            roots = await asyncio.to_thread(ask, server.database, "SELECT username FROM users WHERE uid = 0")
            assert roots == [["root"]]


@asynccontextmanager
async def relayed(server: Server) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A proxy before the server: requests go through, websockets do, too, unless it is told to refuse them."""
    state: dict[str, Any] = {"port": server.port, "refuse": 0, "polls": 0}

    async def handle(request: web.Request) -> web.StreamResponse:
        target = f"http://127.0.0.1:{state['port']}{request.path}"
        kept = {
            name: request.headers[name] for name in ("Authorization", "Content-Encoding") if name in request.headers
        }
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if state["refuse"]:
                return web.Response(status=state["refuse"])
            return await _both_ways(session, target, kept, request)
        state["polls"] += request.path.endswith("/poll")
        async with session.post(target, data=await request.read(), headers=kept) as answer:
            body = (await answer.read()).replace(b'"poll_seconds":30', b'"poll_seconds":2')  # nobody wants to wait
            return web.Response(status=answer.status, body=body, content_type="application/json")

    async with aiohttp.ClientSession() as session:
        application = web.Application(client_max_size=2**27)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, auto_decompress=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", state
        finally:
            await runner.cleanup()


async def _both_ways(
    session: aiohttp.ClientSession, target: str, headers: dict[str, str], request: web.Request
) -> web.StreamResponse:
    near = web.WebSocketResponse()
    async with session.ws_connect(target, headers=headers, max_msg_size=2**26) as far:
        await near.prepare(request)

        async def forth() -> None:
            async for message in near:
                await far.send_str(message.data)

        forward = asyncio.create_task(forth())
        async for message in far:
            await near.send_str(message.data)
        forward.cancel()
        await asyncio.gather(forward, return_exceptions=True)
    await near.close()
    return near
