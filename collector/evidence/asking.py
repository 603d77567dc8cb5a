"""One round of evidence: what is missing today, asked of osqueryd, spooled with the state in one transaction."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collector.evidence.asked import Query, read_queries, read_schedule, without_pack
from collector.evidence.calendar import Calendar, Day, read_calendar
from collector.evidence.lines import MACHINE, Machine, failure, machine_of, snapshot
from collector.evidence.state import NOTE, State, is_of, read_state
from collector.osqueryd import Osquery, OsqueryGoneError
from collector.spool import Line, Spool, SpoolFullError

QUERY_SECONDS = 120.0
"""How long one query may take. osqueryd cannot be told to stop it, so it is not asked again that day."""
ASK_SECONDS = 30.0
"""For osqueryd's own small tables; ``osquery_schedule`` waits for a scheduled query that runs."""
SCHEDULE = "SELECT name, executions, last_executed, denylisted FROM osquery_schedule"
NEW_SECONDS = 90.0
"""For how long after its beginning osqueryd is left to run by itself what its schedule has: that is done first."""
ENDED = "osqueryd ended while it ran; it is not asked again today"

_LOG = logging.getLogger(__name__)

Statement = Callable[[], None]
"""Runs one statement on osqueryd; blocks."""


class Opens(Protocol):
    """What makes a connection to osqueryd that gives up after so many seconds."""

    def __call__(self, seconds: float, /) -> Osquery:
        """Make one; nothing is reached yet."""


class Check(Protocol):
    """The device's policy."""

    def __call__(self, sql: str, /) -> str | None:
        """Why a query of the config is refused; None if it may run."""


@dataclass(slots=True)
class Round:
    """What came of one round, in numbers of queries."""

    taken: int = 0
    failed: int = 0
    refused: int = 0
    """By the device's policy."""
    denylisted: int = 0
    """By osqueryd."""
    barred: int = 0
    """Not asked again today, since osqueryd suffered from it."""
    not_applicable: int = 0
    """Their pack's discovery found nothing."""
    left: int = 0
    """Not come to."""
    problem: str = ""
    """Why it could not go on."""

    @property
    def complete(self) -> bool:
        """Whether nothing is to be tried again."""
        return not self.failed and not self.left and not self.problem

    def __str__(self) -> str:
        words = {
            "taken": self.taken,
            "failed": self.failed,
            "refused by the device's policy": self.refused,
            "denylisted by osqueryd": self.denylisted,
            "not asked again today": self.barred,
            "not applicable": self.not_applicable,
            "left for later": self.left,
        }
        said = ", ".join(f"{number} {what}" for what, number in words.items() if number) or "nothing to take"
        return f"{said}; {self.problem}" if self.problem else said


@dataclass(slots=True)
class Plan:
    """The queries to ask now."""

    day: Day | None = None
    queries: Sequence[Query] = ()
    machine: Machine = field(default_factory=Machine)
    state: State = field(default_factory=State)
    discovered: dict[str, bool] = field(default_factory=dict)
    """Discovery statements of this round that were run, and whether they had rows."""
    denylisted: int = 0
    barred: int = 0
    later: int = 0
    """That osqueryd, which began just now, is about to run by itself."""


class Asking:
    """Its methods block; one thread at a time uses them."""

    def __init__(self, spool: Spool, opens: Opens, check: Check, clock: Callable[[], float]) -> None:
        self._spool = spool
        self._opens = opens
        self._check = check
        self._clock = clock
        self._told: bytes | None = None
        self._calendar: Calendar | None = None

    def today(self) -> Day | None:
        """The fleet's day now; None while no calendar is known."""
        with contextlib.suppress(SpoolFullError):  # then by what was known before
            note = self._spool.get("hello")
            if note != self._told:
                self._told, self._calendar = note, read_calendar(note)
        return self._calendar.day_at(self._clock()) if self._calendar is not None else None

    def plan(self, *, everything: bool) -> Plan:
        """What is missing today, or all of it. Raises OsqueryGoneError, SpoolFullError."""
        day = self.today()
        if day is None:
            return Plan()
        state = read_state(self._spool.get(NOTE))
        queries = read_queries(self._spool.get("config"))
        for name, at in self._spool.observed().items():
            self._see(state, day, without_pack(name), at)
        missing = [one for one in queries if everything or not is_of(day, state.seen.get(one.name))]
        if not missing and state.running is None:
            return Plan(day, (), state=state)
        with contextlib.closing(self._opens(ASK_SECONDS)) as connection:
            machine = machine_of(connection.query(MACHINE).rows)
            schedule = read_schedule(connection.query(SCHEDULE).rows)
        self._interrupted(state, machine)
        for name, at in schedule.ran.items():
            self._see(state, day, name, at)
        wanted = [one for one in missing if everything or not is_of(day, state.seen.get(one.name))]
        allowed = [one for one in wanted if one.name not in schedule.denylisted]
        asked = [one for one in allowed if not is_of(day, state.barred.get(one.name))]
        new = not everything and 0 <= self._clock() - machine.since < NEW_SECONDS
        now = [one for one in asked if not (new and one.name in schedule.scheduled)]
        self._keep(state)
        counts = len(wanted) - len(allowed), len(allowed) - len(asked), len(asked) - len(now)
        return Plan(day, now, machine, state, {}, *counts)

    def statements(self, plan: Plan, query: Query, done: Round) -> Iterator[Statement]:
        """The statements of one query, to be run one after the other: its pack's discovery, then its own."""
        for sql in query.discovery:
            if sql not in plan.discovered:
                yield lambda sql=sql: self._discover(plan, sql)  # type: ignore[misc]
            if not plan.discovered.get(sql):
                done.not_applicable += 1
                return
        yield lambda: self._ask(plan, query, done)

    @staticmethod
    def _see(state: State, day: Day, name: str, at: int) -> None:
        """Of two instants the one of today counts: a clock that was wrong is no reason to forget it."""
        if is_of(day, at) or (at > state.seen.get(name, 0) and not is_of(day, state.seen.get(name))):
            state.seen[name] = at

    def _interrupted(self, state: State, machine: Machine) -> None:
        """This process ended while a query ran; if osqueryd did so too, it may have been the query's doing."""
        if state.running is not None:
            name, process, at = state.running
            state.running = None
            if process != machine.process:
                state.barred[name] = at

    def _discover(self, plan: Plan, sql: str) -> None:
        plan.discovered[sql] = False
        reason = self._check(sql)
        if reason is not None:
            _LOG.info("a pack's discovery is refused: %s", reason)
            return
        with contextlib.closing(self._opens(ASK_SECONDS)) as connection:
            found = connection.query(sql)
        if found.code != 0:
            _LOG.warning("a pack's discovery failed: %s", found.message)
        plan.discovered[sql] = found.code == 0 and bool(found.rows)

    def _ask(self, plan: Plan, query: Query, done: Round) -> None:
        reason = self._check(query.sql)
        at = int(self._clock())
        if reason is not None:
            done.refused += 1
            self._say(plan, query, at, f"refused by the device's policy: {reason}")
            return
        plan.state.running = query.name, plan.machine.process, at
        self._keep(plan.state)
        connection = self._opens(QUERY_SECONDS)
        try:
            found = connection.query(query.sql)
        except OsqueryGoneError as error:
            done.failed += 1
            self._gone(plan, query, at, error)
            raise
        finally:
            connection.close()
        plan.state.running = None
        if found.code != 0:
            done.failed += 1
            self._say(plan, query, at, found.message or f"osqueryd answered with code {found.code}")
            return
        done.taken += 1
        plan.state.seen[query.name] = at
        self._keep(plan.state, snapshot(plan.machine, query.name, at, found.rows))

    def _gone(self, plan: Plan, query: Query, at: int, error: OsqueryGoneError) -> None:
        """osqueryd did not answer: the query is not asked again today, unless it was the connection's fault."""
        plan.state.running = None
        if error.timed_out:
            reason = f"it took longer than {QUERY_SECONDS:g} s; it is not asked again today"
        elif self._process() != plan.machine.process:
            reason = ENDED
        else:
            self._keep(plan.state)
            return
        _LOG.warning("evidence of %s: %s", query.name, reason)
        plan.state.barred[query.name] = at
        self._say(plan, query, at, reason)

    def _process(self) -> str | None:
        try:
            with contextlib.closing(self._opens(5.0)) as connection:
                return machine_of(connection.query(MACHINE).rows).process
        except OsqueryGoneError:
            return None

    def _say(self, plan: Plan, query: Query, at: int, reason: str) -> None:
        """Tell the server, once a day, that there is no evidence and why."""
        said = plan.day is not None and is_of(plan.day, plan.state.said.get(query.name))
        if said:
            self._keep(plan.state)
            return
        plan.state.said[query.name] = at
        self._keep(plan.state, failure(plan.machine, query.name, at, reason))

    def _keep(self, state: State, *lines: Line) -> None:
        self._spool.put(lines, {NOTE: state.dumped(self._clock())})
