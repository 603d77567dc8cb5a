"""Answers arriving over HTTP: new rows, and snapshots that say again what is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from server.normalize.names import scheduled_name
from server.normalize.rows import bag_of, typed_row
from server.normalize.times import iso
from server.store.store import Store
from server.store.tables import QueryTable
from tests.bench.bare_rows import bare_rows
from tests.bench.bodies import PREFIX, accounts, log_body, request
from tests.bench.measure import Aim, Line, Sample, paired
from tests.bench.places import Place, enrolled, fresh
from tests.bench.scale import Scale
from tests.bench.servers import bare_serving, muster_serving

QUERY = "users"
ROWS_NEW, ROWS_SAME = 50, 200
CONNECTIONS = 64
"""As many as may share a commit. A large fleet has more requests under way than that."""


def new_rows(kind: str, scale: Scale) -> Iterator[Line]:
    """First answers of ``ROWS_NEW`` rows, each from a device of its own, against the same rows written bare."""
    bodies, rounds = scale.of(1000), scale.rounds
    with fresh(kind) as place:
        keys = enrolled(place, bodies * (rounds + 1))
        table, name = place.with_store(_table), place.with_store(_scheduled)
        now = int(time.time())
        with closing(bare_rows(place, table)) as bare, muster_serving(place.url) as server:
            commits = _Commits(place, table)

            def value(turn: int) -> Sample:
                share = keys[(turn + 1) * bodies : (turn + 2) * bodies]
                requests = [
                    request(f"{PREFIX}log", log_body(key, name, now, accounts(number, ROWS_NEW)))
                    for number, key in enumerate(share)
                ]
                taken = server.load(requests, b"{}", CONNECTIONS, units=ROWS_NEW)
                commits.note(bodies)
                return taken

            def limit(turn: int) -> Sample:
                rows = [
                    row
                    for number in range(bodies)
                    for row in _ready(table, (turn + 1) * bodies + number, accounts(number, ROWS_NEW), now)
                ]
                size = max(1, round(commits.bodies_a_commit)) * ROWS_NEW
                return bare.write([rows[start : start + size] for start in range(0, len(rows), size)])

            taken = paired(rounds, value, limit)
    facts = {"bodies": bodies, "rows_a_body": ROWS_NEW, "bodies_a_commit": round(commits.bodies_a_commit, 1)}
    yield Line(
        name="new result rows through HTTP",
        database=kind,
        value=taken.value,
        unit="rows/s",
        limit=taken.limit,
        ratio=taken.ratio,
        aim=Aim(at_least=0.40),
        facts={**facts, "connections": CONNECTIONS, **taken.facts()},
    )


def unchanged_snapshots(kind: str, scale: Scale) -> Iterator[Line]:
    """Snapshots of ``ROWS_SAME`` rows that are what their device said before, against a handler that only parses."""
    count, rounds = scale.of(1500), scale.rounds
    with fresh(kind) as place, bare_serving(place.directory) as bare:
        keys = enrolled(place, scale.of(200))
        table, name = place.with_store(_table), place.with_store(_scheduled)
        now = int(time.time()) - 60 * (rounds + 3) * (count // len(keys) + 1)
        rows = [accounts(number, ROWS_SAME) for number in range(len(keys))]

        def requests(path: str, start: int, many: int) -> list[bytes]:
            """Every device in turn, a minute after the last time it spoke."""
            return [
                request(path, log_body(keys[n % len(keys)], name, now + n // len(keys) * 60, rows[n % len(keys)]))
                for n in range(start, start + many)
            ]

        def written() -> list[Any]:
            """How many rows there are, and the last commit that touched any."""
            return place.ask(
                f"SELECT COUNT(*), MAX(opened_seq), MAX(closed_seq), MAX(muster_superseded_seq) FROM {table.rows_name}"
            )

        with muster_serving(place.url) as server:
            server.load(requests(f"{PREFIX}log", 0, len(keys)), b"{}", CONNECTIONS)
            before = written()
            taken = paired(
                rounds,
                lambda turn: server.load(
                    requests(f"{PREFIX}log", len(keys) + (turn + 1) * count, count), b"{}", CONNECTIONS
                ),
                lambda turn: bare.load(requests("/parsed", len(keys) + (turn + 1) * count, count), b"{}", CONNECTIONS),
            )
            after = written()
    assert before[0] == len(keys) * ROWS_SAME, "the first snapshots were not stored"
    facts = {"bodies": count, "rows_a_body": ROWS_SAME, "connections": CONNECTIONS, "no_row_written": after == before}
    yield Line(
        name="unchanged snapshots through HTTP",
        database=kind,
        value=taken.value,
        unit="bodies/s",
        limit=taken.limit,
        ratio=taken.ratio,
        aim=Aim(at_least=0.50),
        facts={**facts, **taken.facts()},
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


def _ready(table: QueryTable, device_no: int, rows: list[dict[str, str]], now: int) -> list[tuple[Any, ...]]:
    """A device's rows as the store writes them."""
    typed = [typed_row(row, table.columns) for row in rows]
    return [
        (device_no, digest, ordinal, iso(now), None, now, None, None, *row.values)
        for (digest, ordinal), row in bag_of(typed).items()
    ]
