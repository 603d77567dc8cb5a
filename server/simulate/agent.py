"""osqueryd's conversation with its server: enrolment, config, logs with their retries, distributed queries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import orjson

from server.simulate.bodies import answers, enrollment
from server.simulate.lines import RESULT, STATUS, Line
from server.simulate.measure import Measure
from server.simulate.runner import Runner
from server.simulate.schedule import Settings
from server.simulate.transport import DeliveryError, NodeInvalidError, Transport, pause

ENROLL_ATTEMPTS = 12
ENROLL_WAIT_MOST = 600.0
ATTEMPTS = 3
LOST_EVERY = 3


class EnrollmentError(Exception):
    """The device could not enrol in any of its attempts."""


class Agent:
    """One device that speaks to a server.

    ``pace`` multiplies every wait between attempts (tests use less than 1); ``stop`` ends waiting. A device that
    ``loses_answers`` does not hear every third answer to its logs, and sends the same lines again.
    """

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        measure: Measure,
        secret: str,
        stop: asyncio.Event,
        *,
        pace: float = 1.0,
    ) -> None:
        self.runner = runner
        self.node_key = ""
        self.loses_answers = runner.device.part == "lost_answers"
        self.failures = {RESULT: 0, STATUS: 0}
        self._transport = transport
        self._measure = measure
        self._secret = secret
        self._stop = stop
        self.pace = pace
        self._posts = 0
        self._enrolling = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """osquery's options as served, or its own defaults until then."""
        return self.runner.config.settings if self.runner.config else Settings()

    async def enroll(self, now: float) -> None:
        """Get a node key; waits 1, 4, 9 … seconds between attempts. Raises ``EnrollmentError`` after the last one."""
        async with self._enrolling:
            if self.node_key:
                return
            body = enrollment(self.runner, self._secret, now)
            for attempt in range(1, ENROLL_ATTEMPTS + 1):
                with contextlib.suppress(DeliveryError):
                    answer = orjson.loads(await self._transport.post("enroll", body, version=self._version(now)))
                    key = answer.get("node_key") if isinstance(answer, dict) else None
                    if isinstance(key, str) and key:
                        self.node_key = key
                        return
                if not await self._wait(min(float(attempt**2), ENROLL_WAIT_MOST)):
                    break
            raise EnrollmentError(f"{self.runner.host} could not enrol")

    async def refresh_config(self, now: float) -> bool:
        """Ask for the config, up to three times; False if the old one stays."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                body = orjson.dumps({"node_key": self.node_key})
                raw = await self._post("config", body, now)
                self.runner.configure(raw, now)
                return True
            except NodeInvalidError:
                await self._enroll_again(now)
            except (DeliveryError, ValueError):
                pass
            if attempt < ATTEMPTS and not await self._wait(float(attempt**2)):
                break
        return False

    async def flush(self, kind: str, now: float) -> bool:
        """Send what waits of a kind, at most one POST. False if it stays, to come again with what is newer."""
        lines = self.runner.buffer.batch(kind, self.settings.logger_tls_max_lines)
        if not lines:
            return True
        try:
            await self._send(kind, lines, now)
        except NodeInvalidError:
            await self._enroll_again(now)
            return False
        except DeliveryError:
            self.failures[kind] += 1
            return False
        self.failures[kind] = 0
        self.runner.buffer.delivered(kind, lines)
        self._measure.lines += len(lines)
        return True

    def backoff(self, kind: str) -> float:
        """Seconds until the next attempt to send a kind: the period, times the square of the failures in a row."""
        period, most = self.settings.logger_tls_period, self.settings.logger_tls_backoff_max
        failures = self.failures[kind]
        return float(min(period * failures**2, most) if failures and most else period)

    async def drain(self, now: float) -> bool:
        """Send everything that waits, POST after POST; False if told to stop before."""
        while len(self.runner.buffer):
            if self._stop.is_set():
                return False
            for kind in (RESULT, STATUS):
                if not await self.flush(kind, now) and not await self._wait(self.backoff(kind)):
                    return False
        return True

    async def answer_questions(self, now: float) -> int:
        """Ask for distributed queries and answer them; returns how many there were."""
        try:
            asked = orjson.loads(await self._post("distributed/read", orjson.dumps({"node_key": self.node_key}), now))
        except NodeInvalidError:
            await self._enroll_again(now)
            return 0
        except DeliveryError:
            return 0
        queries = asked.get("queries") if isinstance(asked, dict) else None
        if not isinstance(queries, dict) or not queries:
            return 0
        body = answers(self.runner, self.node_key, queries, asked.get("discovery") or {}, now)
        for attempt in range(1, ATTEMPTS + 1):
            with contextlib.suppress(DeliveryError):
                await self._post("distributed/write", body, now)
                break
            if not await self._wait(float(attempt**2)):
                break
        return len(queries)

    async def _send(self, kind: str, lines: Sequence[Line], now: float) -> None:
        head = orjson.dumps({"node_key": self.node_key, "log_type": kind})
        body = head[:-1] + b',"data":[' + b",".join(line.json for line in lines) + b"]}"
        compress = self.settings.logger_tls_compress
        await self._post("log", body, now, compress=compress)
        self._posts += 1
        if self.loses_answers and self._posts % LOST_EVERY == 1:
            # The server has stored the lines and its answer is lost on the way: osquery sends the same body at once,
            # and takes a second loss for a failure, after which the lines come again with newer ones.
            self._measure.repeated += 2 * len(lines)
            await self._post("log", body, now, compress=compress)
            raise DeliveryError("the answer was lost")

    async def _post(self, endpoint: str, body: bytes, now: float, *, compress: bool = False) -> bytes:
        if not self.node_key:
            raise NodeInvalidError("there is no node key")
        version = self._version(now)
        return await self._transport.post(endpoint, body, version=version, node_key=self.node_key, compress=compress)

    async def _enroll_again(self, now: float) -> None:
        """The key is thrown away at once; what waits in the buffer comes again with the new one."""
        self.node_key = ""
        await self.enroll(now)

    def _version(self, now: float) -> str:
        return self.runner.state(now).agent

    async def _wait(self, seconds: float) -> bool:
        return await pause(seconds * self.pace, self._stop)
