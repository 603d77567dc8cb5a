"""``sync``: what waits is sent, the day's evidence taken and the verdicts fetched, now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from collector.openness.sources import Sources, heard_at
from collector.openness.words import count
from collector.spool import SpoolFullError

LOOK_SECONDS = 0.25
_GOING_ON: set[asyncio.Future[str]] = set()
"""The loop keeps no hold of what runs beside."""

log = logging.getLogger(__name__)

Say = Callable[[str], Awaitable[None]]


class Doing(Protocol):
    """What the uplink does when it is told to."""

    async def evidence(self) -> str:
        """Take what is missing of the day's evidence; on return it is spooled. Says in a few words what it did."""
        ...

    def send(self) -> None:
        """Send what waits, without waiting for a failure's sake any longer."""
        ...

    async def verdicts(self) -> bool:
        """Ask the server how the device fares; whether it said anything."""
        ...


@dataclass(slots=True)
class _Watch:
    """What happened up to now."""

    started: float
    wait: float
    left: int = 0
    problem: str = ""

    @property
    def seconds(self) -> float:
        """What is left of the time."""
        return max(0.0, self.started + self.wait - time.monotonic())


async def sync(sources: Sources, doing: Doing, say: Say, wait: float) -> dict[str, Any]:
    """Do it, and say what happened, within ``wait`` seconds; what is not done by then goes on by itself."""
    watch = _Watch(time.monotonic(), wait)
    began = sources.clock()
    await say("taking the evidence of the day")
    evidence = await _evidence(doing, watch)
    await _send(sources, doing, say, watch)
    verdicts = False
    if not watch.problem and watch.seconds:
        await say("asking the server how the device fares")
        verdicts = await _verdicts(doing, watch)
    heard = heard_at(sources)
    return {
        "evidence": evidence,
        "left": watch.left,
        "problem": watch.problem,
        "reached": heard is not None and heard >= began,
        "verdicts": verdicts,
        "posture": await asyncio.to_thread(_posture, sources),
        "seconds": round(time.monotonic() - watch.started, 1),
    }


async def _evidence(doing: Doing, watch: _Watch) -> str:
    """Wait for half of the time at most, for what waits is sent in any case; it goes on if it takes longer."""
    taking = asyncio.ensure_future(doing.evidence())
    _GOING_ON.add(taking)
    taking.add_done_callback(_over)
    done, _ = await asyncio.wait([taking], timeout=watch.seconds / 2)
    if not done:
        return "still being taken"
    return f"could not be taken: {taking.exception()}" if taking.exception() else taking.result()


def _over(taking: asyncio.Future[str]) -> None:
    _GOING_ON.discard(taking)
    if not taking.cancelled() and taking.exception():
        log.error("the evidence asked for could not be taken", exc_info=taking.exception())


async def _send(sources: Sources, doing: Doing, say: Say, watch: _Watch) -> None:
    """Wait until nothing waits any more, a delivery has failed, or the time is over."""
    standing = sources.standing
    told = -1
    if standing is not None:
        standing.delivery_problem = ""  # what failed before is not what fails now
    doing.send()
    while True:
        try:
            stats = await asyncio.to_thread(sources.spool.stats)
        except SpoolFullError as error:
            watch.problem = f"what waits cannot be read: {error}"
            return
        watch.left = stats.lines
        if not watch.left:
            return
        if watch.left != told:
            told = watch.left
            await say(f"{count(told, 'answer')} {'waits' if told == 1 else 'wait'} for the server")
        if standing is not None and (standing.enrolment_problem or standing.delivery_problem):
            watch.problem = standing.enrolment_problem or standing.delivery_problem
            return
        if not watch.seconds:
            return
        await asyncio.sleep(min(LOOK_SECONDS, watch.seconds))


async def _verdicts(doing: Doing, watch: _Watch) -> bool:
    try:
        async with asyncio.timeout(watch.seconds):
            return await doing.verdicts()
    except TimeoutError:
        return False


def _posture(sources: Sources) -> dict[str, int]:
    """How many controls have each status."""
    found: dict[str, int] = {}
    for one in sources.listed("posture", "verdicts"):
        status = str(one.get("status"))
        found[status] = found.get(status, 0) + 1
    return found
