"""A laptop for tests of the day's evidence: clocks that can sleep, osqueryd's tables in SQLite, and a spool."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from collector.evidence import Evidence, Round
from collector.evidence.occasions import Occasions
from collector.osqueryd import Osquery, OsqueryGoneError, QueryResult
from collector.spool import Line, Spool

ZONE = "Europe/Berlin"


def instant(text: str, zone: str = ZONE) -> int:
    """``2026-03-29 01:30`` in a zone, as unix time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def calendar(first: str, days: int = 14, zone: str = ZONE) -> bytes:
    """The note of a hello with so many days from that date."""
    dates = [date.fromisoformat(first) + timedelta(days=n) for n in range(days + 1)]
    starts = [instant(f"{day} 00:00", zone) for day in dates]
    told = [
        {"day": day.isoformat(), "starts_at": starts[n], "ends_at": starts[n + 1]} for n, day in enumerate(dates[:-1])
    ]
    return json.dumps({"type": "hello", "server_time": starts[0], "calendar": told}).encode()


def query(name: str, sql: str = "SELECT 1 AS one", **more: Any) -> dict[str, Any]:
    return {"name": name, "query": name.partition("@")[0], "sql": sql, "mode": "state", "judged": True} | more


class Osqueryd:
    """osqueryd's tables, what it was asked, and what it suffers from."""

    def __init__(self) -> None:
        self._tables = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._tables.executescript(
            """
            CREATE TABLE osquery_schedule (name TEXT, executions INTEGER, last_executed INTEGER, denylisted INTEGER);
            CREATE TABLE osquery_info (pid INTEGER, start_time INTEGER, version TEXT);
            CREATE TABLE system_info (hostname TEXT, uuid TEXT, hardware_serial TEXT);
            INSERT INTO osquery_info VALUES (100, 5, '5.23.0');
            INSERT INTO system_info VALUES ('laptop', 'UUID-1', 'SERIAL-1');
            """
        )
        self.asked: list[str] = []
        self.gone = False
        self.deadly: set[str] = set()
        self.endless: set[str] = set()

    def do(self, sql: str, *values: object) -> None:
        self._tables.execute(sql, values)

    def __call__(self, seconds: float) -> Osquery:
        return cast(Osquery, self)

    def query(self, sql: str) -> QueryResult:
        if self.gone:
            raise OsqueryGoneError("no socket")
        self.asked.append(sql)
        if sql in self.deadly:
            self.do("UPDATE osquery_info SET pid = pid + 1")
            raise OsqueryGoneError("broken off")
        if sql in self.endless:
            raise OsqueryGoneError("no answer", timed_out=True)
        try:
            found = self._tables.execute(sql)
        except sqlite3.Error as error:
            return QueryResult(1, str(error), [])
        names = [column[0] for column in found.description or ()]
        return QueryResult(0, "", [{n: str(v) for n, v in zip(names, row, strict=True)} for row in found])

    def close(self) -> None:
        pass


class Laptop:
    """The evidence component with everything around it."""

    def __init__(self, path: Path, now: int, queries: Sequence[dict[str, Any]], hello: bytes | None) -> None:
        self.wall, self.monotonic = float(now), 1000.0
        self.marks = (1,)
        self.osqueryd = Osqueryd()
        self.refused: dict[str, str] = {}
        self.turns = 0
        self._path = path
        self.spool = Spool(path, 4 * 2**20, lambda: self.wall)
        self.configure(queries)
        if hello is not None:
            self.spool.keep("hello", hello)
        self.evidence = self._made()

    def _made(self) -> Evidence:
        def wall() -> float:
            return self.wall

        def monotonic() -> float:
            return self.monotonic

        async def pause(seconds: float) -> None:
            self.pass_time(seconds)

        occasions = Occasions(wall, monotonic, lambda: self.marks)
        check: Callable[[str], str | None] = lambda sql: self.refused.get(sql)  # noqa: E731
        return Evidence(
            self.spool,
            self.osqueryd,
            check,
            self,
            clock=wall,
            monotonic=monotonic,
            occasions=occasions,
            pause=pause,
            spread=300.0,
        )

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        assert self.turns == 0, "two statements at once"
        self.turns += 1
        try:
            yield
        finally:
            self.turns -= 1

    def restart(self) -> None:
        """The process ends at once and another begins."""
        self.spool.close()
        self.spool = Spool(self._path, 4 * 2**20, lambda: self.wall)
        self.evidence = self._made()

    def configure(self, queries: Sequence[dict[str, Any]]) -> None:
        self.spool.keep("config", json.dumps({"type": "config", "queries": list(queries)}).encode())

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """The lid is closed: only the wall clock goes on."""
        self.wall += seconds

    async def awake(self, seconds: float) -> list[Round]:
        """Look every 15 seconds, as the component does; what came of it."""
        rounds = []
        until = self.monotonic + seconds
        while self.monotonic < until:
            if (done := await self.evidence.step()) is not None:
                rounds.append(done)
            self.pass_time(15)
        return rounds

    def lines(self) -> list[Line]:
        """What was spooled since the last time."""
        seen: list[Line] = []
        while (batch := self.spool.batch("log", 10**6, 1000)) is not None:
            seen += batch.lines
            self.spool.settle(batch)
        return seen

    def snapshots(self) -> list[str]:
        """The names of the snapshots since the last time."""
        return [line.name for line in self.lines() if line.kind == "snapshot"]
