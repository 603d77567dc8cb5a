"""What devices report of their own schedules: configs they run, counters of their queries, and queries that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.normalize.names import parse_scheduled_name
from server.store.applications import tags_of
from server.store.coverage import DENYLISTED, ERROR
from server.store.driver import Transaction
from server.store.ingest import INFO_QUERY, SCHEDULE_QUERY
from server.store.names import quoted
from server.store.registry import read_tables

NameVersion = tuple[str, str]
"""A query's name, and its version; empty for one that Muster did not ship."""

_EVER = "9999"
_TRUE_BEFORE = "valid_from < ? AND (valid_to IS NULL OR valid_to >= ?)"
_COUNTERS = ("interval", "executions", "wall_time_ms", "user_time", "system_time", "average_memory", "output_size")


@dataclass(frozen=True, slots=True)
class Counters:
    """A row of ``osquery_schedule``: totals since osquery started or first ran this version of the query.

    Times are milliseconds, memory and output bytes. ``None`` is a value that the device did not give.
    """

    denylisted: bool
    interval: int | None
    executions: int | None
    wall_ms: int | None
    user_ms: int | None
    system_ms: int | None
    memory: int | None
    output: int | None

    @property
    def run_seconds(self) -> float | None:
        """What a run takes, of wall or CPU time whichever is more; None before the first."""
        if not self.executions or self.wall_ms is None:
            return None
        return max(self.wall_ms, (self.user_ms or 0) + (self.system_ms or 0)) / 1000 / self.executions


@dataclass(frozen=True, slots=True)
class Failure:
    """The newest stretch of a device and query, in which it fails."""

    device_no: int
    query: str
    version: str
    first_at: str
    last_at: str
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Watched:
    """A device that is in use: in the canary or not, since when it has the config it was served, and when it was heard.

    ``served`` is the application of that config; times are ISO-8601, UTC, and empty for never.
    """

    device_no: int
    device_id: str
    shown: str
    """Its hostname, if no other device has that."""
    platform: str
    osquery_version: str
    tags: frozenset[str]
    enrolled_at: str
    last_seen_at: str
    served: int | None
    served_at: str
    served_hash: str


async def devices_in_use(tx: Transaction) -> list[Watched]:
    """Every enrolled device that is neither retired nor erased."""
    rows = await tx.rows(
        "SELECT d.device_no, d.device_id, d.hostname, d.platform, d.osquery_version, d.tags, d.enrolled_at,"
        " d.last_seen_at, s.number, s.since, s.config_hash FROM muster_devices d"
        " LEFT JOIN muster_served s ON s.device_no = d.device_no"
        " WHERE d.retired_at IS NULL AND d.erased_at IS NULL AND d.enrolled_at <> '' ORDER BY d.hostname, d.device_no"
    )
    hosts = Counter(row[2] for row in rows)
    return [
        Watched(
            device_no=row[0],
            device_id=row[1],
            shown=row[2] if row[2] and hosts[row[2]] == 1 else f"{row[2]} ({row[1]})".strip(),
            platform=row[3],
            osquery_version=row[4],
            tags=tags_of(row[5]),
            enrolled_at=row[6],
            last_seen_at=row[7],
            served=row[8],
            served_at=row[9] or "",
            served_hash=row[10] or "",
        )
        for row in rows
    ]


async def schedules(tx: Transaction, device_nos: Iterable[int]) -> dict[int, dict[NameVersion, Counters]]:
    """By device, what its newest ``osquery_schedule`` says; a device that never sent one is left out."""
    found: dict[int, dict[NameVersion, Counters]] = {}
    for device_no, name, denylisted, *values in await _open_rows(
        tx, SCHEDULE_QUERY, ("name", "denylisted", *_COUNTERS), device_nos
    ):
        scheduled = parse_scheduled_name(str(name or ""))
        counters = Counters(_number(denylisted) == 1, *(_number(value) for value in values))
        found.setdefault(device_no, {})[scheduled.query, scheduled.version or ""] = counters
    return found


async def config_hashes(tx: Transaction, device_nos: Iterable[int]) -> dict[int, str]:
    """By device, the hash of the config that it said last it runs."""
    return {no: str(told) for no, told in await _open_rows(tx, INFO_QUERY, ("config_hash",), device_nos) if told}


async def told_at(tx: Transaction, device_no: int, at: str) -> tuple[str | None, dict[NameVersion, bool] | None]:
    """The hash of the config a device said it runs, as of just before an instant, and what its schedule had then.

    The schedule tells of each query whether it was denylisted. None is what the device had not told.
    """
    info = await _open_rows(tx, INFO_QUERY, ("config_hash",), [device_no], at)
    schedule: dict[NameVersion, bool] = {}
    for _, name, denylisted in await _open_rows(tx, SCHEDULE_QUERY, ("name", "denylisted"), [device_no], at):
        scheduled = parse_scheduled_name(str(name or ""))
        schedule[scheduled.query, scheduled.version or ""] = _number(denylisted) == 1
    return next((str(told) for _, told in info if told), None), schedule or None


async def failures(tx: Transaction, device_nos: Sequence[int], before: str = _EVER) -> list[Failure]:
    """The queries that fail on these devices by their last word, or by that before an instant (ISO-8601, UTC)."""
    found = await tx.each(
        "SELECT c.device_no, c.table_name, c.version, c.first_at, c.last_at, c.status, c.message FROM muster_coverage c"
        " WHERE c.device_no = ? AND c.first_at < ? AND c.status IN ('error', 'denylisted') AND NOT EXISTS (SELECT 1"
        " FROM muster_coverage n WHERE n.device_no = c.device_no AND n.table_name = c.table_name"
        " AND n.first_at > c.first_at AND n.first_at < ?)",
        [(device_no, before, before) for device_no in device_nos],
    )
    queries = {table.name: query for query, table in (await read_tables(tx)).items()}
    return [
        Failure(no, queries[table], version, first_at, last_at, status, message or "")
        for rows in found
        for no, table, version, first_at, last_at, status, message in rows
        if table in queries
    ]


async def failed_before(tx: Transaction, at: Mapping[tuple[int, str], str]) -> set[tuple[int, str]]:
    """Which of these (device, query) failed before an instant already (ISO-8601, UTC): by their last word before it."""
    tables = {query: table.name for query, table in (await read_tables(tx)).items()}
    keys = [key for key in at if key[1] in tables]
    found = await tx.each(
        "SELECT status FROM muster_coverage WHERE device_no = ? AND table_name = ? AND first_at < ?"
        " ORDER BY first_at DESC LIMIT 1",
        [(device_no, tables[query], at[device_no, query]) for device_no, query in keys],
    )
    return {key for key, rows in zip(keys, found, strict=True) if rows and rows[0][0] in (ERROR, DENYLISTED)}


async def last_answers(
    tx: Transaction, device_nos: Sequence[int], queries: Collection[str]
) -> dict[tuple[int, str], str]:
    """When (ISO-8601, UTC) a device answered a query last; without those that never did."""
    tables = {query: table.name for query, table in (await read_tables(tx)).items() if query in queries}
    keys = [(device_no, query) for device_no in device_nos for query in tables]
    found = await tx.each(
        "SELECT MAX(last_at) FROM muster_coverage WHERE device_no = ? AND table_name = ?"
        " AND status IN ('ok', 'incomplete')",
        [(device_no, tables[query]) for device_no, query in keys],
    )
    return {key: rows[0][0] for key, rows in zip(keys, found, strict=True) if rows[0][0] is not None}


async def row_counts(tx: Transaction, queries: Collection[str]) -> dict[str, dict[int, int]]:
    """By query, how many rows are true now on each device; event queries are left out."""
    found = {}
    for query, table in (await read_tables(tx)).items():
        if query in queries and table.mode != "events":
            rows = await tx.rows(
                f"SELECT device_no, COUNT(*) FROM {table.rows_name} WHERE valid_to IS NULL"
                " AND muster_superseded_seq IS NULL GROUP BY device_no"
            )
            found[query] = dict(rows)
    return found


async def _open_rows(
    tx: Transaction, query: str, columns: Sequence[str], device_nos: Iterable[int], at: str | None = None
) -> list[tuple[Any, ...]]:
    """These columns of the rows true now, or just before an instant, the device's number before them.

    Null stands for a column that is not there.
    """
    table = (await read_tables(tx)).get(query)
    if table is None:
        return []
    names = {column.name: quoted(column.sql_name) for column in table.columns}
    wanted = ", ".join(names.get(column, "NULL") for column in columns)
    true, instants = ("valid_to IS NULL", ()) if at is None else (_TRUE_BEFORE, (at, at))
    found = await tx.each(
        f"SELECT device_no, {wanted} FROM {table.rows_name} WHERE device_no = ? AND {true}"
        " AND muster_superseded_seq IS NULL",
        [(device_no, *instants) for device_no in device_nos],
    )
    return [row for rows in found for row in rows]


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
