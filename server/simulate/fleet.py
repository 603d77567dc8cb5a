"""Many devices in one process: enrolling them, delivering their history, and letting them live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise

from server.catalog.catalog import Catalog
from server.simulate.agent import Agent, EnrollmentError
from server.simulate.answers import AnswerBook
from server.simulate.device import make_device
from server.simulate.life import Life
from server.simulate.measure import Measure
from server.simulate.options import FleetOptions
from server.simulate.presence import DAY, Span, rounds
from server.simulate.runner import Runner
from server.simulate.transport import Transport
from server.simulate.truth import JUDGED, Exempted, Expected, Judge

AT_ONCE = 24
"""Devices that enrol, or deliver their history, at the same time."""
HISTORY_PACE = 0.05
"""Waits between attempts while history is delivered, as a share of osquery's own."""

Progress = Callable[[str, int, int], None]
"""Told of a phase (enrol, history), how many devices are through it, and of how many."""


class Fleet:
    """The devices of one process over one connection pool; ``stop`` ends everything soon."""

    def __init__(self, options: FleetOptions, catalog: Catalog, stop: asyncio.Event, progress: Progress | None = None):
        self.options = options
        self.measure = Measure()
        self._catalog = catalog
        self._stop = stop
        self.progress: Progress = progress or (lambda _phase, _done, _of: None)
        self._transport = Transport(options.url, self.measure, each_connection=options.each_connection)
        book = AnswerBook(catalog.schema)
        self.agents = [self._agent(index, book) for index in range(options.first, options.first + options.count)]

    def _agent(self, index: int, book: AnswerBook) -> Agent:
        runner = Runner(make_device(self.options.seed, index), self.options.span, book)
        agent = Agent(runner, self._transport, self.measure, self.options.secret, self._stop)
        agent.node_key = self.options.node_keys.get(runner.host, "")
        return agent

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def node_keys(self) -> dict[str, str]:
        """The keys the devices have, by host name."""
        return {agent.runner.host: agent.node_key for agent in self.agents if agent.node_key}

    async def join(self) -> None:
        """Enrol every device and fetch its config."""

        async def one(agent: Agent) -> None:
            try:
                if not agent.node_key:
                    await agent.enroll(self.options.horizon)
                await agent.refresh_config(self.options.horizon)
            except EnrollmentError:
                self.measure.errors["not enrolled"] += 1

        await self._each("enrol", one)

    async def deliver_history(self) -> None:
        """Bring every device's buffer what happened until the horizon, and send it as a backlog."""

        async def one(agent: Agent) -> None:
            if agent.runner.config is None:
                return
            agent.pace = HISTORY_PACE
            for now in self._rounds(agent):
                agent.runner.run_all(now, keep=now > self.options.delivered_until)
            await agent.drain(self.options.horizon)
            agent.pace = 1.0

        # Who was away from the network for a week comes back when the others have delivered.
        self.agents.sort(key=lambda agent: agent.runner.device.part == "offline")
        await self._each("history", one)

    def _rounds(self, agent: Agent) -> Iterator[int]:
        """The instants at which a device ran its schedule, as far as a whole round lies before the horizon."""
        config, span = agent.runner.config, self.options.span
        seconds = len(config.queries) if config else 0
        for day in range(span.first, int(self.options.horizon) // DAY + 1):
            for now in rounds(agent.runner.device, span, day):
                if now + seconds <= self.options.horizon:
                    yield now

    async def live(self, seconds: float | None) -> None:
        """Let every device live for so many seconds, or until told to stop."""
        until = time.time() + seconds if seconds is not None else None
        lives = [Life(agent, self.options, self._stop).go(until) for agent in self.agents if agent.runner.config]
        await asyncio.gather(*lives)

    def truth(
        self, last: int, exempted: tuple[Exempted, ...] = (), controls: Collection[str] = JUDGED
    ) -> Iterator[Expected]:
        """The expected verdicts on some controls from the span's first day to ``last``."""
        judge = Judge(self._catalog, self.options.company, self.options.span.first, last, exempted)
        for agent in self.agents:
            yield from judge.expected(agent.runner.device, agent.runner.ledger, controls)

    async def _each(self, phase: str, work: Callable[[Agent], Awaitable[None]]) -> None:
        """Do something for every device, a few at once."""
        waiting, done, of = iter(self.agents), 0, len(self.agents)

        async def worker() -> None:
            nonlocal done
            for agent in waiting:
                if self._stop.is_set():
                    return
                await work(agent)
                done += 1
                self.progress(phase, done, of)

        await asyncio.gather(*(worker() for _ in range(min(AT_ONCE, of))))


def shares(count: int, processes: int) -> list[tuple[int, int]]:
    """Devices in even parts: the first index and the count of each."""
    edges = [count * at // processes for at in range(processes + 1)]
    return [(low, high - low) for low, high in pairwise(edges) if high > low]


def span_of(days: int, now: float) -> Span:
    """The ``days`` whole UTC days before the one it is now; 30 where there is no history."""
    today = int(now) // DAY
    return Span(today - (days or 30), days or 30)


def sorted_truth(found: Iterable[Expected]) -> Sequence[Expected]:
    """By device, control and day."""
    return sorted(found, key=lambda entry: (entry.device, entry.control, entry.day))
