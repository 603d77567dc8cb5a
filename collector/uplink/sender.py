"""Delivering what is spooled: two lanes side by side, each batch again and again until the server has settled it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any

import orjson

from collector.spool import LANES, LIVE, LOG, Batch, Spool, SpoolFullError
from collector.uplink.backoff import Backoff
from collector.uplink.body import built
from collector.uplink.context import Standing
from collector.uplink.enrol import Enrolment
from collector.uplink.http import REQUEST_SECONDS, Answer, Http, UndeliveredError
from collector.uplink.sent import Sent

PATH = "/api/collector/batch"
SENT_NOTE = "sent"
"""The spool's note of when something was last taken, for whoever asks after a restart: {lane: unix time}."""
SENT_NOTE_SECONDS = 60.0

MOST_BYTES, LEAST_BYTES = 1024 * 1024, 64 * 1024
"""Of lines in a batch. Larger ones would hardly be quicker, and this process is to stay small."""
MOST_LINES = 1000
MANY_BYTES = 256 * 1024
MOST_REQUEST_SECONDS = 600.0
LOOK_SECONDS = {LOG: 5.0, LIVE: 15.0}
"""How often a lane is looked at unasked. Log lines come from another process, answers wake their lane."""
WAIT_SECONDS = (1.0, 3600.0)
"""Bounds of what the server may ask for."""
SPOOL_SECONDS = 10.0
SAY_AGAIN_SECONDS = 3600.0

log = logging.getLogger("uplink.sender")


class Sender:
    """Both lanes."""

    def __init__(
        self, spool: Spool, http: Http, enrolment: Enrolment, standing: Standing, gives_back: Callable[[], None]
    ) -> None:
        """``gives_back`` is called when a lot was sent and nothing is left."""
        self.sent = Sent(spool)
        """When each query's answer was last taken by the server."""
        self._lanes = {lane: Lane(lane, spool, http, enrolment, standing, self.sent, gives_back) for lane in LANES}

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The components; answers first."""
        return self._lanes[LIVE], self._lanes[LOG]

    def wake(self, lane: str) -> None:
        """Something was put into the lane: send it now, unless the server asked for patience."""
        self._lanes[lane].wake()

    def network_is_back(self) -> None:
        """The server was reached: try at once what failed before, unless the server asked for patience."""
        for lane in self._lanes.values():
            lane.network_is_back()


class Lane:
    """One lane's deliveries, in order."""

    def __init__(
        self,
        lane: str,
        spool: Spool,
        http: Http,
        enrolment: Enrolment,
        standing: Standing,
        sent: Sent,
        gives_back: Callable[[], None],
    ) -> None:
        self.name = f"lane {lane}"
        self._lane = lane
        self._spool = spool
        self._sent = sent
        self._http = http
        self._enrolment = enrolment
        self._standing = standing
        self._gives_back = gives_back
        self._sent_bytes = 0
        self._backoff = Backoff()
        self._woken = asyncio.Event()
        self._back = asyncio.Event()
        self._not_before = 0.0
        self._most_bytes = MOST_BYTES
        self._seconds = REQUEST_SECONDS
        self._noted_at = -math.inf
        self._said: tuple[str, float] = ("", 0.0)

    def wake(self) -> None:
        """Look into the spool now."""
        self._woken.set()

    def network_is_back(self) -> None:
        """Wait for a failure's sake no longer."""
        self._backoff.reset()
        self._back.set()

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        while True:
            key = await self._enrolment.node_key()
            await self._patience()
            self._woken.clear()
            try:
                batch = await asyncio.to_thread(self._spool.batch, self._lane, self._most_bytes, MOST_LINES)
                if batch is None:
                    if self._sent_bytes > MANY_BYTES:
                        self._sent_bytes = 0
                        self._gives_back()
                    await _either(self._woken, LOOK_SECONDS[self._lane])
                else:
                    self._sent_bytes += sum(len(line.text) for line in batch.lines)
                    await self._deliver(batch, key)
                    del batch
            except SpoolFullError as error:
                self._say(f"the spool cannot be used: {error}")
                await asyncio.sleep(SPOOL_SECONDS)

    async def _deliver(self, batch: Batch, key: str) -> None:
        """Send a batch once and do as the answer says."""
        self._back.clear()
        body = await asyncio.to_thread(self._body, batch)
        try:
            answer = await self._http.post(PATH, body, key=key, compressed=True, seconds=self._seconds)
        except UndeliveredError as error:
            if (
                error.timed_out
            ):  # a batch stays as it is, since it may have arrived; it is given longer, later ones less
                self._most_bytes = max(LEAST_BYTES, self._most_bytes // 2)
                self._seconds = min(MOST_REQUEST_SECONDS, 2 * self._seconds)
            await self._failed(str(error))
            return
        await self._answered(batch, key, answer)

    def _body(self, batch: Batch) -> bytes:
        return built(batch, self._spool.stats(beyond=batch) if self._lane == LOG else None)

    async def _answered(self, batch: Batch, key: str, answer: Answer) -> None:
        value, status = answer.value, answer.status
        said = value.get("error")
        if status == 200 and value.get("taken") == batch.through:
            await self._taken(batch, key)
        elif value.get("node_invalid") is True:
            self._enrolment.invalid(key)
        elif status == 409 and value.get("diverged") is True:
            log.warning("lane %s: the server counts otherwise; the lines are numbered anew", self._lane)
            await asyncio.to_thread(self._spool.diverge, batch)
        elif status == 413 or (status == 400 and isinstance(said, str)):
            await self._refused(batch, f"{status} {said}" if isinstance(said, str) else str(status))
        elif status in (429, 503) and (seconds := _asked_for(value, answer)) is not None:
            self._wait_for_server(seconds, said)
        else:
            await self._failed(f"the server answered {status}{f': {said[:200]}' if isinstance(said, str) else ''}")

    async def _taken(self, batch: Batch, key: str) -> None:
        await asyncio.to_thread(self._spool.settle, batch)
        if self._lane == LOG:
            await asyncio.to_thread(self._sent.taken, batch)
        self._enrolment.served(key)
        self._backoff.reset()
        self._most_bytes = min(MOST_BYTES, 2 * self._most_bytes)
        self._seconds = REQUEST_SECONDS
        now = time.time()
        self._standing.delivered_at[self._lane] = self._standing.heard_at = now
        if self._standing.delivery_problem:
            self._standing.delivery_problem, self._said = "", ("", 0.0)
            log.info("lane %s: batches arrive again", self._lane)
        log.debug("lane %s: %d line(s) taken, through %d", self._lane, len(batch.lines), batch.through)
        if not -SENT_NOTE_SECONDS < now - self._noted_at < SENT_NOTE_SECONDS:
            self._noted_at = now
            await asyncio.to_thread(self._spool.keep, f"{SENT_NOTE}_{self._lane}", orjson.dumps(int(now)))

    async def _refused(self, batch: Batch, reason: str) -> None:
        """The server will never take it as it is."""
        log.warning("lane %s: a batch of %d line(s) was refused: %s", self._lane, len(batch.lines), reason[:200])
        self._standing.heard_at = time.time()
        await asyncio.to_thread(self._spool.split, batch, reason[:200])

    def _wait_for_server(self, seconds: float, said: Any) -> None:
        """As long as it asked, and up to a tenth more, so that a fleet does not come back as one."""
        least, most = WAIT_SECONDS
        wait = max(least, min(most, seconds)) * random.uniform(1.0, 1.1)
        self._not_before = time.monotonic() + wait
        self._standing.heard_at = time.time()
        why = f": {said[:200]}" if isinstance(said, str) else ""
        log.info("lane %s: the server asks to wait %.0f s%s", self._lane, wait, why)

    async def _failed(self, problem: str) -> None:
        """The batch has not arrived, as far as is known; the same one is sent again after a while."""
        self._standing.delivery_problem = problem
        self._say(f"what waits cannot be delivered: {problem}")
        await _either(self._back, self._backoff.failed())

    async def _patience(self) -> None:
        """Wait out what the server asked for, whoever is in a hurry."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))

    def _say(self, problem: str) -> None:
        """Log it, the same thing once an hour."""
        said, at = self._said
        now = time.monotonic()
        if problem != said or now - at >= SAY_AGAIN_SECONDS:
            self._said = (problem, now)
            log.warning("lane %s: %s", self._lane, problem)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _asked_for(value: dict[str, Any], answer: Answer) -> float | None:
    """For how long the server wants to be left alone; None if it does not say."""
    seconds = value.get("retry_after", answer.retry_after)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    return float(seconds)
