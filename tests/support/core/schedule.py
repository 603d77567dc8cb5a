"""The scheduler: second by second, and what it missed while a logger held it up comes at once."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.support.core.config import Scheduled
from tests.support.core.lines import About, Remembered, differential_lines, snapshot_event_lines, snapshot_line

if TYPE_CHECKING:
    from tests.support.core.daemon import Daemon

RELAY_EVERY = 3
"""Seconds between statuses handed over."""


@dataclass
class Ran:
    """What osquery_schedule says of a query."""

    executions: int = 0
    last_executed: int = 0
    wall_time_ms: int = 0
    last_wall_time_ms: int = 0
    output_size: int = 0


class Schedule:
    """Runs the queries of the config and hands their lines to the loggers."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ran: dict[str, Ran] = {}
        self._remembered: dict[str, Remembered] = {}
        self._asleep_until = 0.0
        self.denylisted: set[str] = set()
        database = daemon.flags.path("database_path")
        self._kept = database / "differentials.json" if database else None
        if self._kept and self._kept.exists():
            kept = json.loads(self._kept.read_text(encoding="utf-8"))
            self._remembered = {name: Remembered(**values) for name, values in kept.items()}

    def start(self) -> None:
        threading.Thread(target=self._go_on, daemon=True, name="schedule").start()

    def sleep(self, seconds: float) -> None:
        """Stand still, as a laptop whose lid is shut: what falls into it is not made up for."""
        self._asleep_until = time.monotonic() + seconds

    def _go_on(self) -> None:
        tick = self._daemon.flags.tick
        second, due = int(time.time()), time.monotonic()
        while True:
            due += tick
            time.sleep(max(0.0, due - time.monotonic()))
            second += 1
            if time.monotonic() < self._asleep_until:
                due = time.monotonic()
                continue
            for query in list(self._daemon.config.schedule.values()):
                if second % query.interval == 0:
                    self.run(query)
            if second % RELAY_EVERY == 0:
                self._daemon.loggers.relay()

    def run(self, query: Scheduled) -> list[str]:
        """Run one query; the lines that came of it, handed over already."""
        if query.name in self.denylisted:
            return []
        began = time.monotonic()
        answer = self._daemon.answer(query.sql)
        took = round((time.monotonic() - began) * 1000)
        if answer.code != 0:
            said = f"Error executing scheduled query {query.name}: {answer.message}"
            self._daemon.say(2, "scheduler.cpp", 128, said)
            return []
        ran = self._ran.setdefault(query.name, Ran())
        ran.executions += 1
        ran.last_executed = int(time.time())
        ran.wall_time_ms += took
        ran.last_wall_time_ms = took
        lines = self._lines(query, answer.rows)
        ran.output_size += sum(map(len, lines))
        self._daemon.loggers.log(query.name, [{"snapshot" if query.snapshot else "string": line} for line in lines])
        return lines

    def _lines(self, query: Scheduled, rows: list[dict[str, str]]) -> list[str]:
        daemon = self._daemon
        epoch = int(daemon.option("schedule_epoch", "0"))
        about = About(query.name, daemon.host, int(time.time()), epoch, daemon.decorations())
        if query.snapshot:
            if daemon.option("logger_snapshot_event_type", "false") == "true":
                return snapshot_event_lines(about, rows)
            return [snapshot_line(about, rows)]
        before = self._remembered.get(query.name, Remembered())
        if before.epoch == -1:
            daemon.say(0, "query.cpp", 119, f"Storing initial results for new scheduled query: {query.name}")
        by_event = daemon.option("logger_event_type", "true") == "true"
        lines, after = differential_lines(about, before, rows, by_event=by_event)
        # As osqueryd: what is remembered is written before anything is logged, so a lost line never comes again.
        self._remembered[query.name] = after
        self._keep()
        return lines

    def _keep(self) -> None:
        if self._kept is None:
            return
        self._kept.parent.mkdir(exist_ok=True)
        new = self._kept.with_suffix(".new")
        new.write_text(json.dumps({name: asdict(one) for name, one in self._remembered.items()}), encoding="utf-8")
        new.replace(self._kept)

    def rows(self) -> list[dict[str, Any]]:
        """The table osquery_schedule."""
        return [
            {
                "name": query.name,
                "query": query.sql,
                "interval": query.interval,
                "denylisted": int(query.name in self.denylisted),
                "user_time": 0,
                "system_time": 0,
                "average_memory": 0,
                **asdict(self._ran.get(query.name, Ran())),
            }
            for query in self._daemon.config.schedule.values()
        ]
