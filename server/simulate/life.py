"""One device living in real time: its schedule, its log periods, its questions and its nights."""

from __future__ import annotations

import asyncio
import heapq
import time

from server.simulate.agent import Agent, EnrollmentError
from server.simulate.lines import RESULT, STATUS
from server.simulate.options import FleetOptions
from server.simulate.presence import awake_at
from server.simulate.transport import pause

NAP = 60.0
"""Seconds after which a sleeping device looks at the clock again."""


class Life:
    """A device's main loop. Intervals of queries are divided by the speed; all others are as the config says."""

    def __init__(self, agent: Agent, options: FleetOptions, stop: asyncio.Event) -> None:
        self._agent = agent
        self._options = options
        self._stop = stop
        self._due: list[tuple[float, int, str]] = []
        self._number = 0

    async def go(self, until: float | None) -> None:
        """Live until an instant, or until told to stop."""
        self._wake(time.time())
        while not self._stop.is_set() and (until is None or time.time() < until):
            now = time.time()
            if not self._awake(now):
                await pause(NAP if until is None else min(NAP, until - now), self._stop)
                self._wake(time.time())
                continue
            due, _, what = self._due[0]
            if due > now:
                await pause(due - now if until is None else min(due, until) - now, self._stop)
                continue
            heapq.heappop(self._due)
            try:
                await self._do(what, now)
            except EnrollmentError:
                return
        if not self._stop.is_set():
            await self._last_words()

    def _awake(self, now: float) -> bool:
        return self._options.never_sleep or awake_at(self._agent.runner.device, self._options.span, now)

    def _wake(self, now: float) -> None:
        """Everything begins anew: queries at start soon, the others some time within their interval."""
        dice, self._due = self._agent.runner.device.dice, []
        config, settings = self._agent.runner.config, self._agent.settings
        for number, query in enumerate(config.queries if config else ()):
            interval = query.interval / self._options.speed
            share = dice.share("splay", query.name)
            spread = min(interval, 20.0) if query.at_start else interval
            self._plan(now + share * spread, f"query {number}")
        for kind in (RESULT, STATUS):
            self._plan(now + dice.share("log", kind) * settings.logger_tls_period, f"log {kind}")
        self._plan(now + dice.share("questions") * settings.distributed_interval, "questions")
        self._plan(now + dice.share("config") * settings.config_refresh, "config")

    def _plan(self, at: float, what: str) -> None:
        self._number += 1
        heapq.heappush(self._due, (at, self._number, what))

    async def _do(self, what: str, now: float) -> None:
        agent, (kind, _, rest) = self._agent, what.partition(" ")
        if kind == "query":
            config = agent.runner.config
            if config and int(rest) < len(config.queries):
                query = config.queries[int(rest)]
                agent.runner.run(query, int(now))
                self._plan(now + query.interval / self._options.speed, what)
        elif kind == "log":
            await agent.flush(rest, now)
            self._plan(now + agent.backoff(rest), what)
        elif kind == "questions":
            await agent.answer_questions(now)
            self._plan(now + agent.settings.distributed_interval, what)
        else:
            await self._refresh(now)

    async def _refresh(self, now: float) -> None:
        """A new schedule begins like a waking."""
        before = self._agent.runner.config
        await self._agent.refresh_config(now)
        after = self._agent.runner.config
        if before and after and before.queries != after.queries:
            self._wake(now)
        else:
            self._plan(now + self._agent.settings.config_refresh, "config")

    async def _last_words(self) -> None:
        """Send what was written before the end."""
        for kind in (RESULT, STATUS):
            await self._agent.flush(kind, time.time())
