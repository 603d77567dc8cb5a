"""A lane's waits and sizes: what a timeout, a network that is back and new lines do to them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.settings import Settings
from collector.spool import Line, Spool
from collector.uplink import sender as senders
from collector.uplink.context import Standing
from collector.uplink.enrol import Enrolment
from collector.uplink.http import REQUEST_SECONDS, Answer, Http, UndeliveredError
from collector.uplink.sender import Sender


class Way(Http):
    """What is sent goes nowhere; ``answer`` says what came of it, or raises."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], Answer]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self._answer = answer
        self.came = asyncio.Event()

    async def post(self, path: str, body: bytes, *, seconds: float = 0, **_: Any) -> Answer:
        self.sent.append(json.loads(gzip.decompress(body)))
        self.seconds.append(seconds)
        self.came.set()
        return self._answer(len(self.sent), self.sent[-1])

    async def until(self, count: int) -> None:
        """Wait until so many were sent."""
        async with asyncio.timeout(20):
            while len(self.sent) < count:
                self.came.clear()
                await self.came.wait()


def taken(_: int, body: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps({"taken": body["batch"]["through"]}).encode())


@asynccontextmanager
async def sending(directory: Path, way: Way) -> AsyncIterator[tuple[Spool, Sender]]:
    """Both lanes of a device that is enrolled."""
    settings, standing = Settings(state_dir=directory), Standing()
    settings.node_key_path.write_text("key-0\n")
    spool = Spool(settings.spool_path, 2**26)
    enrolment = Enrolment(settings, way, standing, lambda seconds: pytest.fail("osqueryd is not asked"))
    sender = Sender(spool, way, enrolment, standing, lambda: None)
    tasks = [asyncio.create_task(lane.run()) for lane in sender.lanes]
    try:
        yield spool, sender
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        spool.close()


def lines(count: int, size: int = 2) -> list[Line]:
    return [Line("result", "users", 1, b'"%s"' % (b"x" * (size - 2))) for _ in range(count)]


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.uplink.backoff.Backoff.failed", lambda _: 0.0)


@pytest.mark.usefixtures("no_waits")
async def test_after_timeouts_a_batch_is_given_longer_and_later_ones_are_smaller(tmp_path: Path) -> None:
    def slow(count: int, body: dict[str, Any]) -> Answer:
        if count <= 5:
            raise UndeliveredError("no answer", timed_out=True)
        return taken(count, body)

    way = Way(slow)
    spool = Spool(tmp_path / "spool.db", 2**26)
    spool.put(lines(40, 100_000))
    spool.close()
    async with sending(tmp_path, way):
        await way.until(8)
    assert way.seconds[:6] == [REQUEST_SECONDS * factor for factor in (1, 2, 4)] + [600, 600, 600]
    assert way.seconds[6:8] == [REQUEST_SECONDS] * 2
    assert len({body["batch"]["id"] for body in way.sent[:6]}) == 1
    sizes = [len(body["data"]) for body in way.sent]
    assert sizes[0] == 10
    assert sizes[6] == 1
    assert sizes[7] > sizes[6]


async def test_a_network_that_is_back_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.uplink.backoff.Backoff.failed", lambda _: 3600.0)
    failed = asyncio.Event()

    def away(count: int, body: dict[str, Any]) -> Answer:
        if count == 1:
            failed.set()
            raise UndeliveredError("away")
        return taken(count, body)

    way = Way(away)
    async with sending(tmp_path, way) as (spool, sender):
        spool.put(lines(1))
        sender.wake("log")
        await failed.wait()
        await asyncio.sleep(0)
        sender.network_is_back()
        await way.until(2)


async def test_lines_that_come_while_it_looks_are_sent_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "LOOK_SECONDS", {"log": 3600.0, "live": 3600.0})
    way = Way(taken)
    async with sending(tmp_path, way) as (spool, sender):
        for count in range(1, 6):
            spool.put([Line("answer", "q", 1, b"{}")])
            sender.wake("live")
            await way.until(count)
    assert [len(body["answers"]) for body in way.sent] == [1] * 5
