"""osqueryd's scheduler on one device: running queries, and writing what came of them as log lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from server.normalize.questions import parse_question
from server.simulate.answers import Answer, AnswerBook
from server.simulate.areas.system import booted_at
from server.simulate.device import Device
from server.simulate.ledger import ANSWERED, DENIED, FAILED, Ledger, Word
from server.simulate.lines import RESULT, STATUS, Buffer, difference_line, snapshot_line, status_line
from server.simulate.presence import DAY, HOUR, Span
from server.simulate.schedule import Config, ScheduledQuery, read_config
from server.simulate.state import State
from server.simulate.timeline import state_day, state_of

SCHEDULE_QUERY = "osquery_schedule"
SEVERITY_ERROR = 2
DENYLISTED = "distributed query is denylisted"
LONG_AGO = 120
"""Days before the span: longer than any deadline."""

Row = Mapping[str, str]


class Runner:
    """One device with its facts, config and buffer. Instants given to it are true; those it writes are its clock's."""

    def __init__(self, device: Device, span: Span, book: AnswerBook) -> None:
        self.device = device
        self.buffer = Buffer()
        self.ledger = Ledger()
        self.config: Config | None = None
        self._span = span
        self._book = book
        self._instance = device.dice.uuid("instance")
        self._decorations = b"{}"
        self._facts: dict[str, Any] = {}
        self._facts_of: tuple[object, ...] = ()
        self._booted_at = 0
        self._states: dict[int, State] = {}
        self._before: dict[str, tuple[int, list[Row]]] = {}

    def state(self, now: float) -> State:
        """The facts at an instant."""
        day = state_day(self.device, now)
        state = self._states.get(day)
        if state is None:
            state = self._states[day] = state_of(self.device, self._span, day)
        return state

    def configure(self, raw: bytes, now: float) -> None:
        """Take a config as served; raises ``ValueError`` for one that cannot be read."""
        self._facts_of = ()
        self.config = read_config(raw, lambda sql: bool(self.ask(sql, now).rows), self.state(now).missing)
        self._facts_of = ()
        self._decorations = self._decorate(self.config, now)

    def ask(self, sql: str, now: float) -> Answer:
        """Run a statement at an instant."""
        return self._book.answer(self.device.platform, sql, self._aspects(now) | self._clock(int(now)))

    def answer(self, question: str, sql: str, now: float) -> Answer:
        """Answer a distributed query. osquery refuses, by its text, what it has denylisted, under whatever id."""
        asked = parse_question(question)
        if asked is None:
            return self.ask(sql, now)
        at, state = int(now), self.state(now)
        if asked.query in state.denied:
            self.ledger.note(asked.query, Word(at, DENIED, state))
            return Answer((), b"[]", DENYLISTED)
        answer = self._book.answer(self.device.platform, sql, self._aspects(now) | self._clock(at // DAY * DAY))
        self.ledger.note(asked.query, Word(at, FAILED if answer.failure is not None else ANSWERED, state))
        return answer

    def run_all(self, now: int, *, keep: bool = True) -> None:
        """Run the whole schedule from an instant on, a second a query; ``keep`` False only remembers that it ran."""
        for second, query in enumerate(self.config.queries if self.config else ()):
            self.run(query, now + second, keep=keep)

    def run(self, query: ScheduledQuery, now: int, *, keep: bool = True) -> None:
        """Run one scheduled query: a result line, or a status line where it fails, or nothing if it is denylisted."""
        state, at = self.state(now), now + self.device.skew
        if query.query in state.denied:
            return
        # To the second is too fine for what is asked every hour: it would be a new answer each time.
        answer = self._book.answer(self.device.platform, query.sql, self._aspects(now) | self._clock(now // DAY * DAY))
        if answer.failure is not None:
            self.ledger.note(query.query, Word(at, FAILED, state))
            message = f"Error executing scheduled query {query.name}: {answer.failure}"
            if keep:
                self.buffer.add(STATUS, at, status_line(self.host, at, SEVERITY_ERROR, message, state.agent))
            return
        self.ledger.note(query.query, Word(at, ANSWERED, state))
        if query.query == SCHEDULE_QUERY:
            for denied in state.denied:
                self.ledger.note(denied, Word(at, DENIED, state))
        if keep:
            self._keep(query, at, answer)

    @property
    def host(self) -> str:
        """osquery's host identifier."""
        return self.device.hostname

    def _keep(self, query: ScheduledQuery, at: int, answer: Answer) -> None:
        if query.snapshot:
            line: bytes | None = snapshot_line(query.name, self.host, at, answer.json, self._decorations)
        else:
            line = self._difference(query, at, answer.rows)
        if line and self.config and len(line) > self.config.settings.logger_tls_max_linesize:
            most = self.config.settings.logger_tls_max_linesize
            message = f"Linesize exceeds TLS logger maximum: {most}"
            self.buffer.add(STATUS, at, status_line(self.host, at, 1, message, self.state(at).agent))
        elif line:
            self.buffer.add(RESULT, at, line)

    def _difference(self, query: ScheduledQuery, at: int, rows: Sequence[Row]) -> bytes | None:
        """What changed since the last run; nothing to say where nothing did. The first run tells all."""
        counter, before = self._before.get(query.name, (-1, []))
        added, removed = _minus(rows, before), _minus(before, rows)
        if counter >= 0 and not added and not removed:
            return None
        self._before[query.name] = (counter + 1, list(rows))
        if counter >= 0 and not added and not query.removed:
            return None
        shown = removed if query.removed else []
        return difference_line(query.name, self.host, at, counter + 1, added, shown, self._decorations)

    def _decorate(self, config: Config, now: float) -> bytes:
        found: dict[str, str] = {}
        for sql in config.decorators:
            for row in self.ask(sql, now).rows[:1]:
                found |= row
        return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)

    def _aspects(self, now: float) -> dict[str, Any]:
        """The facts by name; worked out again when they change or an hour is over."""
        state, hour = self.state(now), int(now) // HOUR
        if self._facts_of != (state, hour):
            day = int(now) // DAY
            self._facts_of = (state, hour)
            self._facts = state.aspects() | {
                "hour": hour,
                "day": day,
                "week": day // 7 * 7,
                "long_ago": self._span.first - LONG_AGO,
                "started_at": day * DAY,
                "instance_id": self._instance,
                "config_hash": self.config.config_hash if self.config else "",
                "schedule": self.config.facts() if self.config else (),
            }
            self._booted_at = booted_at(state, self._facts["week"], self._facts["long_ago"])
        return self._facts

    def _clock(self, now: int) -> dict[str, int]:
        """The facts of the second."""
        return {"clock": now + self.device.skew, "uptime": now - self._booted_at}


def _minus(rows: Sequence[Row], without: Sequence[Row]) -> list[Row]:
    left = Counter(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in without)
    found = []
    for row in rows:
        key = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        if left[key]:
            left[key] -= 1
        else:
            found.append(row)
    return found
