"""The control socket: anybody may ask it, nobody can keep it or osqueryd busy."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.openness import control as controls
from collector.openness.control import Control
from collector.openness.peer import peer_uid
from collector.openness.protocol import ControlError, NotRunningError, ask
from collector.openness.sources import Sources
from collector.spool import Line, Spool
from tests.support.owner import Osqueryd, Standing, device


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Those of a device that is well."""
    with device() as sources:
        yield sources


class Doing:
    """Does nothing, or what a test says."""

    def __init__(self, send: Callable[[], None] = lambda: None, evidence: Awaitable[str] | None = None) -> None:
        self.send = send
        self._evidence = evidence

    async def evidence(self) -> str:
        return await self._evidence if self._evidence else "nothing was missing"

    async def verdicts(self) -> bool:
        return True


@asynccontextmanager
async def listening(
    sources: Sources,
    doing: Doing | None = None,
    uid: int | Callable[[], int] | None = 1000,
    there: Callable[[Path], bool] = Path.exists,
) -> AsyncIterator[Callable[[dict[str, Any]], Any]]:
    """The control socket, and a way to ask it."""
    component = Control(sources, doing or Doing(), peer=lambda connection: uid() if callable(uid) else uid)
    task = asyncio.create_task(component.run())
    path = sources.settings.control_socket
    while not there(path):
        await asyncio.sleep(0)
        assert not task.done(), task.result()

    async def asked(request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ask, path, request)

    try:
        yield asked
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_anybody_may_ask_by_the_socket(sources: Sources) -> None:
    async with listening(sources) as asked:
        assert sources.settings.control_socket.stat().st_mode & 0o777 == 0o666
        assert (await asked({"do": "status"}))["server"] == "https://muster.example.org"
        assert "queries" in await asked({"do": "disclose"})
    assert not sources.settings.control_socket.exists()
    with pytest.raises(NotRunningError):
        ask(sources.settings.control_socket, {"do": "status"})


async def test_a_socket_left_behind_gives_way(sources: Sources) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sources.settings.control_socket))
    with pytest.raises(NotRunningError):
        ask(sources.settings.control_socket, {"do": "status"})
    sources.settings.control_socket.unlink()
    sources.settings.control_socket.touch()
    async with listening(sources, there=Path.is_socket) as asked:
        assert await asked({"do": "status"})


async def test_no_socket_is_made_where_others_may_put_files(sources: Sources) -> None:
    folder = sources.settings.control_socket.parent
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="others may put files into"):
        await Control(sources, Doing()).run()
    folder.chmod(0o1777)
    async with listening(sources) as asked:
        assert await asked({"do": "status"})


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "reboot"}, "there are status, disclose, sync"),
        ({}, "a request is one line"),
        ({"do": "sync", "wait": 1e9}, "wait is a number of seconds"),
        ({"do": "sync", "wait": True}, "wait is a number of seconds"),
        ({"do": ["status"]}, "there are status, disclose, sync"),
        ({"do": "status", "x": "y" * 10_000}, "broke off"),
    ],
    ids=["unknown", "empty", "long", "true", "list", "large"],
)
async def test_what_is_no_request_is_refused(sources: Sources, request_: dict[str, Any], said: str) -> None:
    async with listening(sources) as asked:
        with pytest.raises(ControlError, match=said):
            await asked(request_)
        assert await asked({"do": "status"})


async def test_others_than_root_may_sync_once_a_minute(sources: Sources) -> None:
    async with listening(sources) as asked:
        await asked({"do": "sync", "wait": 1})
        with pytest.raises(ControlError, match="asked for a moment ago; again in"):
            await asked({"do": "sync", "wait": 1})
    async with listening(sources, uid=0) as asked:
        await asked({"do": "sync", "wait": 1})
        await asked({"do": "sync", "wait": 1})


async def test_a_sync_says_what_came_of_it(sources: Sources) -> None:
    spool = sources.spool
    assert isinstance(spool, Spool)
    spool.put([Line("snapshot", "a", 1, b"{}")])

    def send() -> None:
        batch = spool.batch("log", 1 << 20, 100)
        assert batch is not None
        spool.settle(batch)

    async with listening(sources, Doing(send), uid=0) as asked:
        found = await asked({"do": "sync", "wait": 5})
        assert (found["left"], found["problem"], found["verdicts"]) == (0, "", True)
        spool.put([Line("snapshot", "a", 1, b"{}")])
        standing = sources.standing
        assert isinstance(standing, Standing)

    def fail() -> None:
        standing.delivery_problem = "the server cannot be reached"

    async with listening(sources, Doing(fail), uid=0) as asked:
        found = await asked({"do": "sync", "wait": 5})
        assert (found["left"], found["problem"]) == (1, "the server cannot be reached")


async def test_evidence_that_takes_long_goes_on_and_what_fails_is_told(sources: Sources) -> None:
    taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with listening(sources, Doing(evidence=taken), uid=0) as asked:
        assert (await asked({"do": "sync", "wait": 0.1}))["evidence"] == "still being taken"
        assert not taken.done()
        taken.set_exception(ZeroDivisionError("by zero"))
        assert (await asked({"do": "sync", "wait": 5}))["evidence"] == "could not be taken: by zero"


async def test_nobody_keeps_osqueryd_busy_by_asking(sources: Sources) -> None:
    osqueryd = sources.osquery
    assert isinstance(osqueryd, Osqueryd)
    async with listening(sources) as asked:
        await asyncio.gather(*(asked({"do": "status"}) for _ in range(5)))
    assert osqueryd.asked == 2


async def test_those_who_say_nothing_are_let_go(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "REQUEST_SECONDS", 0.05)
    async with listening(sources) as asked:
        silent = [
            await asyncio.open_unix_connection(str(sources.settings.control_socket))
            for _ in range(controls.MOST_CONNECTIONS)
        ]
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert await asked({"do": "status"})


async def test_too_many_at_once_are_told_so(sources: Sources) -> None:
    async with listening(sources) as asked:
        held = [
            await asyncio.open_unix_connection(str(sources.settings.control_socket))
            for _ in range(controls.MOST_CONNECTIONS)
        ]
        with pytest.raises(ControlError, match="too many ask at once"):
            await asked({"do": "status"})
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_one_user_does_not_keep_others_out(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "MOST_OF_ALL", controls.MOST_CONNECTIONS + 1)
    uid = 1000
    async with listening(sources, uid=lambda: uid) as asked:
        path = str(sources.settings.control_socket)
        held = [await asyncio.open_unix_connection(path) for _ in range(controls.MOST_CONNECTIONS)]
        with pytest.raises(ControlError, match="too many ask at once"):
            await asked({"do": "status"})
        uid = 1001
        assert await asked({"do": "status"})
        held.append(await asyncio.open_unix_connection(path))
        await asyncio.sleep(0)
        uid = 1002
        with pytest.raises(ControlError, match="too many ask at once"):
            await asked({"do": "status"})
        uid = 0
        assert await asked({"do": "status"})
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_a_failure_is_told_and_the_next_is_answered(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(sources: Sources) -> dict[str, Any]:
        raise ZeroDivisionError

    async with listening(sources) as asked:
        with monkeypatch.context() as patched:
            patched.setattr(controls, "status", fails)
            with pytest.raises(ControlError, match="its log says how"):
                await asked({"do": "status"})
        assert await asked({"do": "status"})


def test_the_kernel_says_who_asks() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
    with socket.socket(socket.AF_INET) as other:
        assert peer_uid(other) in (None, os.getuid(), 2**32 - 1, -1)
