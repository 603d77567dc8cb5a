"""Answers arriving over HTTP: new rows, and snapshots that say again what is known."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from server.normalize.names import scheduled_name
from server.normalize.rows import bag_of, typed_row
from server.normalize.times import iso
from server.store.store import Store
from server.store.tables import QueryTable
from tests.bench.bodies import PREFIX, accounts, log_body, request
from tests.bench.client import Load, send
from tests.bench.measure import Aim, Line, paired
from tests.bench.places import Place, enrolled, fresh
from tests.bench.scale import Scale
from tests.bench.servers import bare_serving, muster_serving

QUERY = "users"
ROWS_NEW, ROWS_SAME = 50, 200
CONNECTIONS = 64
"""As many as may share a commit on SQLite; a real fleet has more requests under way than that."""


def new_rows(kind: str, scale: Scale) -> Iterator[Line]:
    """First answers of ``ROWS_NEW`` rows, each from a device of its own, against the same rows written bare."""
    bodies = scale.of(1500)
    rounds = scale.rounds
    with fresh(kind) as place:
        keys = enrolled(place, bodies * (rounds + 1))
        table, name = place.with_store(_table), place.with_store(_scheduled)
        now = int(time.time())
        with muster_serving(place.url) as server:
            commits = _Commits(place, table)
            bare = BareRows(place, table)

            def value(turn: int) -> float:
                share = keys[(turn + 1) * bodies : (turn + 2) * bodies]
                requests = [
                    request(f"{PREFIX}log", log_body(key, name, now, accounts(number, ROWS_NEW)))
                    for number, key in enumerate(share)
                ]
                sent = send(Load(port=server.port, requests=requests, answer=b"{}", connections=CONNECTIONS))
                commits.note(bodies)
                return sent.rate * ROWS_NEW

            def limit(turn: int) -> float:
                return bare.write(turn + 1, bodies, now, commits.bodies_a_commit)

            taken = paired(rounds, value, limit)
            bare.close()
    yield Line(
        name="new rows through HTTP",
        database=kind,
        value=taken.value,
        unit="rows/s",
        limit=taken.limit,
        ratio=taken.ratio,
        aim=Aim(at_least=0.40),
        facts={
            "spread": taken.spread,
            "rounds": rounds,
            "bodies": bodies,
            "rows_a_body": ROWS_NEW,
            "rows_a_commit": round(commits.bodies_a_commit * ROWS_NEW),
            "connections": CONNECTIONS,
        },
    )


def unchanged_snapshots(kind: str, scale: Scale) -> Iterator[Line]:
    """Snapshots of ``ROWS_SAME`` rows that are what their device said before, against a handler that only parses."""
    count, rounds = scale.of(2000), scale.rounds
    with fresh(kind) as place, bare_serving(place.directory) as bare_port:
        keys = enrolled(place, scale.of(200))
        table, name = place.with_store(_table), place.with_store(_scheduled)
        now = int(time.time()) - 60 * (rounds + 3) * count // len(keys)
        rows = [accounts(number, ROWS_SAME) for number in range(len(keys))]

        def bodies(start: int, many: int) -> list[bytes]:
            """Every device in turn, a minute after the last time it spoke."""
            return [
                log_body(keys[n % len(keys)], name, now + n // len(keys) * 60, rows[n % len(keys)])
                for n in range(start, start + many)
            ]

        with muster_serving(place.url) as server:
            said = len(keys)
            first = [request(f"{PREFIX}log", body) for body in bodies(0, said)]
            send(Load(port=server.port, requests=first, answer=b"{}", connections=CONNECTIONS))
            before = place.ask(f"SELECT COUNT(*), MAX(opened_seq) FROM {table.rows_name}")

            def value(turn: int) -> float:
                requests = [request(f"{PREFIX}log", body) for body in bodies(said + (turn + 1) * count, count)]
                return send(Load(port=server.port, requests=requests, answer=b"{}", connections=CONNECTIONS)).rate

            def limit(turn: int) -> float:
                requests = [request("/parsed", body) for body in bodies(said + (turn + 1) * count, count)]
                return send(Load(port=bare_port, requests=requests, answer=b"{}", connections=CONNECTIONS)).rate

            taken = paired(rounds, value, limit)
            after = place.ask(f"SELECT COUNT(*), MAX(opened_seq) FROM {table.rows_name}")
    assert before[0] == said * ROWS_SAME, "the first snapshots were not stored"
    yield Line(
        name="unchanged snapshots through HTTP",
        database=kind,
        value=taken.value,
        unit="bodies/s",
        limit=taken.limit,
        ratio=taken.ratio,
        aim=Aim(at_least=0.50),
        facts={
            "spread": taken.spread,
            "rounds": rounds,
            "bodies": count,
            "rows_a_body": ROWS_SAME,
            "connections": CONNECTIONS,
            "result_rows_written": 0 if after == before else after[0] - before[0] or "some were rewritten",
        },
    )


async def _table(store: Store) -> QueryTable:
    return (await store.read(store.tables))[QUERY]


async def _scheduled(store: Store) -> str:
    return scheduled_name(QUERY, store.catalog.queries[QUERY, "linux"].version)


class _Commits:
    """How many bodies shared a commit: each transaction has a sequence of its own, which its rows carry."""

    def __init__(self, place: Place, table: QueryTable) -> None:
        self._place = place
        self._sql = f"SELECT COUNT(DISTINCT opened_seq) FROM {table.rows_name}"
        self._before = 0
        self.bodies_a_commit = 1.0

    def note(self, bodies: int) -> None:
        """Count the commits of the bodies just sent."""
        (now,) = self._place.ask(self._sql)
        self.bodies_a_commit = bodies / max(1, now - self._before)
        self._before = now


class BareRows:
    """The same rows into the same table with its indexes, by one connection with the server's durability."""

    def __init__(self, place: Place, table: QueryTable) -> None:
        self._table = table
        self._connection = sqlite3.connect(place.directory / "bare.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -65536"):
            self._connection.execute(statement)
        for statement in table.create():
            if "VIEW" not in statement:
                self._connection.execute(statement)

    def write(self, turn: int, bodies: int, now: int, bodies_a_commit: float) -> float:
        """Write the rows of a turn, as many a commit as the server did; returns rows a second."""
        rows = [
            row for device in range(bodies) for row in _ready(self._table, turn * bodies + device, device, now)
        ]
        size = max(1, round(bodies_a_commit)) * ROWS_NEW
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        began = time.perf_counter()
        for group in groups:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(self._table.insert, group)
            self._connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _ready(table: QueryTable, device_no: int, device: int, now: int) -> Sequence[tuple[Any, ...]]:
    """A device's rows as the store writes them."""
    typed = [typed_row(row, table.columns) for row in accounts(device, ROWS_NEW)]
    return [
        (device_no, bagged.row.digest, bagged.ordinal, iso(now), None, now, None, None, *bagged.row.values)
        for bagged in bag_of(typed)
    ]
