"""A real osqueryd's recorded traffic through a running server: nothing lost, nothing doubled, in its true order.

What should be in the tables is worked out here from the recorded bytes, with no help from the product's code.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.app import opened_database
from server.store.driver import Transaction
from tests.support import recorded
from tests.support.server import Peer, Server, ask, database_of, muster, serving

INVENTORY = "real_host_inventory"
EVENTS = "s3a_logs_event_format_epochs"


@pytest.fixture(scope="module")
def replayed(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that got the whole inventory session once."""
    directory = tmp_path_factory.mktemp("replayed")
    with database_of(kind, directory) as url, serving(directory, database=url) as (server, made):
        Peer(server, made["enroll_secret"]).replay(INVENTORY)
        yield server


@pytest.mark.parametrize("query", ["os_version", "system_info", "users", "deb_packages", "kernel_info"])
def test_a_table_holds_the_newest_snapshot(replayed: Server, query: str) -> None:
    sent = recorded.final_snapshot(INVENTORY, query)
    columns = sorted(sent[0])
    stored = ask(replayed.database, f"SELECT {', '.join(columns)} FROM {query}")
    assert multiset(stored) == multiset([[row[column] for column in columns] for row in sent])


def test_types_are_those_of_the_osquery_schema(replayed: Server) -> None:
    assert types(replayed, "users", "uid", "username") == [["integer", "text"]]
    assert types(replayed, "system_info", "physical_memory") == [["integer"]]
    assert ask(replayed.database, "SELECT physical_memory FROM system_info") == [[25276502016]]


@pytest.mark.parametrize("query", ["users", "os_version", "deb_packages", "no_rows", "kernel_info"])
def test_history_is_the_intervals_of_the_snapshots(replayed: Server, query: str) -> None:
    snapshots = {
        line["unixTime"]: Counter(json.dumps(row, sort_keys=True) for row in line["snapshot"])
        for line in recorded.log_lines(INVENTORY)
        if line["name"] == query
    }
    stored = ask(replayed.database, f"SELECT COUNT(*), COUNT(valid_to) FROM {query}_history")
    assert stored == [list(interval_counts(snapshots))]


@pytest.mark.parametrize(("name", "query"), [(INVENTORY, "mounts"), (INVENTORY, "processes")])
def test_a_differential_ends_in_its_true_state(replayed: Server, name: str, query: str) -> None:
    state, closed = final_state(name, query)
    rows = ask(replayed.database, f"SELECT COUNT(*) FROM {query}")
    assert rows == [[state.total()]]
    assert ask(replayed.database, f"SELECT COUNT(*) FROM {query}_history WHERE valid_to IS NOT NULL") == [[closed]]


def test_status_logs_are_kept(replayed: Server) -> None:
    sent: list[Any] = []
    for request in recorded.requests(INVENTORY):
        if request.endpoint == "log":
            body = json.loads(request.body)
            sent += body["data"] if body["log_type"] == "status" else []
    assert ask(replayed.database, "SELECT COUNT(*) FROM status_logs") == [[len(sent)]]
    failed = ask(replayed.database, "SELECT status, message FROM coverage WHERE query = 'broken'")
    assert failed == [["error", "no such column: no_such_column"]]


def test_nothing_was_set_aside(replayed: Server) -> None:
    assert ask(replayed.database, "SELECT * FROM rejects") == []


def test_the_day_is_judged(replayed: Server) -> None:
    muster("evaluate", "--database", replayed.database, "--day", "2026-11-22")
    verdicts = dict(
        ask(
            replayed.database,
            "SELECT control, status || COALESCE(' ' || reason, '') FROM posture WHERE day = '2026-11-22' ORDER BY 1",
        )
    )
    assert verdicts["release-supported"] == "pass"
    assert verdicts["only-root-has-uid-0"] == "pass"
    assert verdicts["guest-account-off"] == "pass"
    assert verdicts["system-volume-encrypted"] == "no_data never_answered"
    assert verdicts["osquery-current"] == "no_data never_answered"
    # The days after it are the server's, which judges them meanwhile.
    of_the_day = "SELECT * FROM posture WHERE day = '2026-11-22' ORDER BY device_id, control"
    before = ask(replayed.database, of_the_day)
    again = json.loads(muster("evaluate", "--database", replayed.database, "--day", "2026-11-22", "--json").stdout)
    assert {entry["changed"] for entry in again} == {0}
    assert len(before) > 60 and ask(replayed.database, of_the_day) == before


def test_every_session_twice_is_the_same_as_once(tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        peer = Peer(server, made["enroll_secret"])
        dumps = []
        for _ in range(2):
            for name in recorded.names():
                peer.replay(name)
            dumps.append(asyncio.run(dump(server.database)))
        tables = ask(server.database, "SELECT COUNT(DISTINCT query) FROM coverage")
        assert tables[0][0] > 40
        for table in dumps[0]:
            assert dumps[1][table] == dumps[0][table], table


@pytest.mark.parametrize("name", [EVENTS, "s3b_logs_batch_format", "s3c_logs_numerics", "s3e_logs_compressed"])
def test_differentials_of_every_format(tmp_path: Path, empty: str, name: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        Peer(server, made["enroll_secret"]).replay(name)
        for query in ("files", "files_noremoved"):
            state, _ = final_state(name, query)
            stored = ask(server.database, f"SELECT * FROM {query}")
            assert len(stored) == state.total(), query
        assert ask(server.database, "SELECT * FROM rejects") == []


def test_epochs_begin_anew_and_odd_names_survive(tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        Peer(server, made["enroll_secret"]).replay(EVENTS)
        names = {row[0] for row in ask(server.database, "SELECT filename FROM files_history")}
        assert "bad-\ufffd\ufffd.txt" in names
        assert not any("\\x" in name for name in names)
        assert ask(server.database, "SELECT DISTINCT big FROM snap_files_history") == [["9007199254740993"]]
        assert types(server, "snap_files_history", "big") == [["text"]]


def test_numerics_are_numbers(tmp_path: Path, empty: str) -> None:
    with serving(tmp_path, database=empty) as (server, made):
        Peer(server, made["enroll_secret"]).replay("s3c_logs_numerics")
        assert ask(server.database, "SELECT DISTINCT big, a_double FROM snap_files") == [[9007199254740993, 1.5]]
        assert types(server, "snap_files", "big", "a_double") == [["integer", "real"]]


def types(server: Server, table: str, *columns: str) -> list[list[str]]:
    """The types of the values, by SQLite's names."""
    of, names = "typeof", {"bigint": "integer", "double precision": "real"}
    if not server.database.startswith("sqlite"):
        of = "pg_typeof"
    asked = ", ".join(f"CAST({of}({column}) AS TEXT)" for column in columns)
    found = ask(server.database, f"SELECT DISTINCT {asked} FROM {table}")
    return [[names.get(value, value) for value in row] for row in found]


def multiset(rows: list[list[Any]]) -> Counter[tuple[str, ...]]:
    return Counter(tuple("" if value is None else str(value) for value in row) for row in rows)


def interval_counts(snapshots: dict[int, Counter[str]]) -> tuple[int, int]:
    """How many intervals a sequence of bags makes, and how many of them have ended."""
    began = ended = 0
    before: Counter[str] = Counter()
    for at in sorted(snapshots):
        began += (snapshots[at] - before).total()
        ended += (before - snapshots[at]).total()
        before = snapshots[at]
    return began, ended


def final_state(name: str, query: str) -> tuple[Counter[str], int]:
    """The state a differential ends in, and how many intervals it closed on the way."""
    runs: dict[tuple[int, int, int], tuple[list[str], list[str]]] = {}
    for line in recorded.log_lines(name):
        if line["name"] != query:
            continue
        added, removed = runs.setdefault((line["unixTime"], line["epoch"], line["counter"]), ([], []))
        difference = line.get("diffResults") or {line["action"]: [line["columns"]]}
        added += [json.dumps(row, sort_keys=True) for row in difference.get("added", [])]
        removed += [json.dumps(row, sort_keys=True) for row in difference.get("removed", [])]
    state: Counter[str] = Counter()
    closed = 0
    for (_, _, counter), (added, removed) in sorted(runs.items()):
        before = state
        state = Counter() if counter == 0 else state - Counter(removed)
        state = state + Counter(added)
        closed += (before - state).total()
    return state, closed


async def dump(database: str) -> dict[str, list[Any]]:
    """Everything the public tables say, but who was heard of when and which keys there were."""
    found = {}

    async def work(tx: Transaction) -> None:
        found["coverage"] = await tx.rows(
            "SELECT query, first_at, last_at, status, message FROM coverage ORDER BY 1, 2"
        )
        found["devices"] = await tx.rows(
            "SELECT hostname, hardware_uuid, serial, in_scope_from FROM devices ORDER BY 2"
        )
        found["status_logs"] = await tx.rows(
            "SELECT at, severity, filename, line, message FROM status_logs ORDER BY 1, 5"
        )
        found["rejects"] = await tx.rows("SELECT query, reason, sample FROM rejects ORDER BY 1, 2, 3")
        for table in {row[0].replace("/", "_") for row in found["coverage"]}:
            found[table] = sorted(await tx.rows(f'SELECT * FROM "{table}_history"'), key=str)

    async with opened_database(database) as opened:
        await opened.driver.read(work)
    return found
