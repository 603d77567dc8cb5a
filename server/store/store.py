"""The store: what the rest of Muster may ask of the database, each method one transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from server.catalog.catalog import Catalog
from server.catalog.schema import PLATFORMS
from server.normalize.answers import Answer, answers_of
from server.normalize.devices import DeviceFacts
from server.normalize.names import parse_scheduled_name
from server.normalize.rows import Column, digest_of
from server.normalize.text import clean_text
from server.normalize.times import iso
from server.store import access, devices
from server.store.answers import Place, apply_events, apply_run, apply_snapshot
from server.store.coverage import DENYLISTED, ERROR, Instant, gap_for, note
from server.store.driver import Driver, Transaction, Work
from server.store.names import column_name
from server.store.registry import Registry, TooManyError
from server.store.tables import QueryTable
from server.wire.messages import BadLine, LogBody, ResultLine, StatusLine

Result = TypeVar("Result")

DAY = 86_400
FUTURE_SECONDS = 3600
"""A clock this far ahead of ours is wrong, and what it dates cannot be put on a day."""
REJECTS_A_DEVICE = 1000
SAMPLE_CHARS = 1000
SCHEDULE_QUERY = "osquery_schedule"

_QUERY_FAILED = re.compile(r"Error executing scheduled query (?P<name>\S+): (?P<message>.*)", re.DOTALL)


@dataclass(slots=True)
class Ingested:
    """What became of a body."""

    answers: int = 0
    statuses: int = 0
    rejected: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ShippedQuery:
    """What the store knows of a query in the catalog: its table's shape, and its version and columns per platform."""

    mode: str
    columns: tuple[Column, ...]
    versions: Mapping[str, str]
    needed: Mapping[str, frozenset[str]]
    gap: int


class Store:
    """An opened, migrated database together with the catalog whose queries it keeps."""

    def __init__(
        self,
        driver: Driver,
        catalog: Catalog,
        *,
        max_age_days: int = 90,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.driver = driver
        self.catalog = catalog
        self.clock = clock
        self._max_age = max_age_days * DAY
        self._shipped = shipped_queries(catalog)
        self._registry = Registry({name: (q.mode, q.columns) for name, q in self._shipped.items()})
        self._generation = driver.generation
        self._keys: dict[str, devices.Device] = {}
        self.ingested = 0
        """How many bodies were stored since the store was opened."""
        self._keys_until = 0.0

    async def write(self, work: Work[Result]) -> Result:
        """Run ``work`` in a transaction and return when it is durable."""
        return await self.driver.write(self._fresh(work))

    async def read(self, work: Work[Result]) -> Result:
        """Run ``work`` on one consistent view."""
        return await self.driver.read(work)

    def _fresh(self, work: Work[Result]) -> Work[Result]:
        async def run(tx: Transaction) -> Result:
            if self._generation != self.driver.generation:
                self._generation = self.driver.generation
                self._registry.forget()
            try:
                return await work(tx)
            except BaseException:
                self._registry.forget()  # it may know of tables that are undone now
                raise

        return run

    async def ship(self) -> None:
        """Make the tables of the catalog's queries and record the versions served from now on."""

        async def work(tx: Transaction) -> None:
            await self._registry.ship(tx, self.clock())
            await tx.many(
                "INSERT INTO muster_query_versions (query, version, platforms, mode, sql, columns, first_served_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (query, version) DO NOTHING",
                [
                    (
                        query.name,
                        query.version,
                        ",".join(query.platforms),
                        query.mode,
                        query.sql,
                        orjson.dumps([[c.name, c.kind, c.volatile] for c in query.columns]).decode(),
                        iso(self.clock()),
                    )
                    for query in {q.version: q for q in self.catalog.queries.values()}.values()
                ],
            )

        await self.write(work)

    async def tables(self, tx: Transaction) -> dict[str, QueryTable]:
        """Every query's table, as of this transaction."""
        return await Registry({}).all(tx)

    # -- devices -----------------------------------------------------------------------------------------------

    async def enroll(self, secret: str, facts: DeviceFacts, host_identifier: str) -> str | None:
        """Enrol a device and return its node key; None where the secret is wrong."""

        async def work(tx: Transaction) -> str | None:
            if not await access.may_enroll(tx, secret):
                return None
            return await devices.enroll(tx, facts, clean_text(host_identifier), self.clock())

        self._keys.clear()
        node_key = await self.write(work)
        self._keys.clear()
        return node_key

    async def device_of(self, node_key: str) -> devices.Device | None:
        """Whose node key it is. Known keys are remembered for two seconds, so a revocation takes that long."""
        if not node_key:
            return None
        now = time.monotonic()
        if now > self._keys_until:
            self._keys.clear()
            self._keys_until = now + 2.0
        device = self._keys.get(node_key)
        if device is None:
            device = await self.read(lambda tx: devices.device_of_key(tx, node_key))
            if device is not None:
                self._keys[node_key] = device
        return device

    async def heard(self, device_nos: Iterable[int]) -> None:
        """Note that these devices were heard of just now."""
        at = iso(self.clock())
        numbers = sorted(device_nos)

        async def work(tx: Transaction) -> None:
            for device_no in numbers:
                await devices.heard(tx, device_no, at)

        if numbers:
            await self.write(work)

    # -- ingest ------------------------------------------------------------------------------------------------

    async def ingest(self, device: devices.Device, body: LogBody) -> Ingested:
        """Store a body of a device's log lines. Returns when it is durable; the same body again changes nothing.

        What cannot be stored becomes rows of ``rejects`` and never costs the lines beside it.
        """
        done = await self.write(lambda tx: self._ingest(tx, device, body))
        self.ingested += 1
        return done

    async def reject(self, device: devices.Device, lines: Sequence[BadLine]) -> None:
        """Keep what a device sent and nobody could read."""
        await self.write(lambda tx: self._reject(tx, device, lines))

    async def _ingest(self, tx: Transaction, device: devices.Device, body: LogBody) -> Ingested:
        now = self.clock()
        done = Ingested(rejected=list(body.bad))
        lines = self._datable(body.results, done, now)
        statuses = self._datable(body.statuses, done, now)
        for answer in answers_of(lines):
            reason = await self._apply(tx, device, answer, now)
            if reason:
                sample = orjson.dumps([*answer.added, *answer.removed][:5], default=str)[:SAMPLE_CHARS]
                done.rejected.append(
                    BadLine(reason=reason, sample=sample.decode("utf-8", "replace"), name=answer.query)
                )
            else:
                done.answers += 1
        await self._keep_statuses(tx, device, statuses, now)
        done.statuses = len(statuses)
        await self._reject(tx, device, done.rejected)
        times = [line.unix_time for line in lines] + [line.unix_time for line in statuses]
        await devices.heard(tx, device.device_no, iso(now), iso(min(times)) if times else None)
        return done

    def _datable(self, lines: Sequence[Any], done: Ingested, now: float) -> list[Any]:
        """The lines whose time can be believed; the others are rejected with the reason."""
        kept = []
        for line in lines:
            if now - self._max_age <= line.unix_time <= now + FUTURE_SECONDS:
                kept.append(line)
                continue
            if line.unix_time > now:
                reason = f"unixTime {line.unix_time} is in the future"
            else:
                reason = f"unixTime {line.unix_time} is older than {self._max_age // DAY} days"
            name = line.name if isinstance(line, ResultLine) else ""
            sample = str(line.added[:3]) if isinstance(line, ResultLine) else line.message
            done.rejected.append(BadLine(reason=reason, sample=sample[:SAMPLE_CHARS], name=name))
        return kept

    async def _apply(self, tx: Transaction, device: devices.Device, answer: Answer, now: float) -> str | None:
        """Apply one answer; returns why it was not kept, where it was not."""
        try:
            table = await self._registry.table_for(tx, answer.query, [*answer.added, *answer.removed], now)
        except TooManyError as error:
            return str(error)
        version = await self._version(tx, device, table, answer)
        place = Place(device.device_no, table, self._gap(answer.query))
        if table.mode == "events":
            await apply_events(tx, place, answer, version)
        elif answer.snapshot:
            reason = await apply_snapshot(tx, place, answer, version)
            if reason:
                return reason
        else:
            await apply_run(tx, place, answer, version)
        if answer.query == SCHEDULE_QUERY:
            await self._note_denylisted(tx, device, answer, now)
        return None

    async def _version(self, tx: Transaction, device: devices.Device, table: QueryTable, answer: Answer) -> str:
        """The version of the query an answer is to; empty for one that is not known to be ours.

        A foreign osqueryd may run a query under a shipped one's name. It counts as the shipped one if its rows have
        every column that one gives; an answer without rows says nothing of its columns and goes by the one before.
        """
        if answer.version is not None:
            return answer.version
        shipped = self._shipped.get(answer.query)
        current = shipped.versions.get(device.platform) if shipped else None
        if shipped is None or current is None:
            return ""
        rows = [*answer.added, *answer.removed]
        if rows:
            needed = shipped.needed[device.platform]
            return current if all(row.keys() >= needed for row in rows) else ""
        before = await tx.row(
            "SELECT version FROM muster_instants WHERE device_no = ? AND table_name = ? AND at <= ?"
            " AND status IN ('ok', 'incomplete') ORDER BY at DESC LIMIT 1",
            (device.device_no, table.name, iso(answer.unix_time)),
        )
        return str(before[0]) if before else ""

    async def _note_denylisted(self, tx: Transaction, device: devices.Device, answer: Answer, now: float) -> None:
        """osquery_schedule names the queries that osquery refuses to run; that is the only place it says so."""
        for row in answer.added:
            if str(row.get("denylisted")) == "1" and isinstance(row.get("name"), str):
                instant = Instant(
                    at=iso(answer.unix_time),
                    status=DENYLISTED,
                    basis="schedule",
                    message="osquery stopped the query at its watchdog's limits and does not run it for a day",
                )
                await self._note(tx, device, row["name"], instant, now)

    async def _keep_statuses(
        self, tx: Transaction, device: devices.Device, lines: Sequence[StatusLine], now: float
    ) -> None:
        seen: dict[tuple[str, str], int] = {}
        rows = []
        for line in lines:
            at = iso(line.unix_time)
            values = (line.severity, clean_text(line.filename), line.line, clean_text(line.message), line.version)
            digest = digest_of(repr(values).encode("utf-8", "replace"))
            ordinal = seen.get((at, digest), 0)
            seen[at, digest] = ordinal + 1
            rows.append((device.device_no, at, digest, ordinal, *values))
            failed = _QUERY_FAILED.fullmatch(line.message)
            if failed:
                message = clean_text(failed["message"])[:SAMPLE_CHARS]
                await self._note(tx, device, failed["name"], Instant(at=at, status=ERROR, message=message), now)
        if rows:
            await tx.many(
                "INSERT INTO muster_status_logs (device_no, at, digest, ordinal, severity, filename, line, message,"
                " version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                rows,
            )

    async def _note(
        self, tx: Transaction, device: devices.Device, scheduled: str, instant: Instant, now: float
    ) -> None:
        """Note how a query fared that gave no answer."""
        name = parse_scheduled_name(clean_text(scheduled))
        try:
            table = await self._registry.table_for(tx, name.query, (), now)
        except TooManyError:
            return  # the status line itself is kept
        if name.version:
            instant.version = name.version
        await note(tx, device.device_no, table.name, instant, self._gap(name.query))

    async def _reject(self, tx: Transaction, device: devices.Device, lines: Sequence[BadLine]) -> None:
        if not lines:
            return
        count = await tx.row("SELECT COUNT(*) FROM muster_rejects WHERE device_no = ?", (device.device_no,))
        room = max(0, REJECTS_A_DEVICE - (count[0] if count else 0))
        rows = {}
        for line in lines:
            values = tuple(clean_text(part)[:SAMPLE_CHARS] for part in (line.name, line.reason, line.sample))
            digest = digest_of(repr(values).encode("utf-8", "replace"))
            rows[digest] = (device.device_no, digest, iso(self.clock()), *values)
        await tx.many(
            "INSERT INTO muster_rejects (device_no, digest, rejected_at, query, reason, sample)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            list(rows.values())[:room],
        )

    def _gap(self, query: str) -> int:
        shipped = self._shipped.get(query)
        return shipped.gap if shipped else gap_for(None)


def shipped_queries(catalog: Catalog) -> dict[str, ShippedQuery]:
    """The catalog's queries by name. A table has the columns of all platforms, in the order they are first given."""
    intervals: dict[str, int] = {}
    for platform in PLATFORMS:
        for name, places in catalog.scheduled(platform).items():
            intervals[name] = max(intervals.get(name, 0), *(interval for _, interval in places))
    shipped: dict[str, ShippedQuery] = {}
    for name in {name for name, _ in catalog.queries}:
        variants = {where: query for (other, where), query in catalog.queries.items() if other == name}
        columns: dict[str, Column] = {}
        taken: set[str] = set()
        for query in variants.values():
            for column in query.columns:
                if column.name not in columns:
                    sql_name = column_name(column.name, taken)
                    taken.add(sql_name)
                    columns[column.name] = Column(column.name, sql_name, column.kind, column.volatile)
        shipped[name] = ShippedQuery(
            mode=next(iter(variants.values())).mode,
            columns=tuple(columns.values()),
            versions={where: query.version for where, query in variants.items()},
            needed={where: frozenset(c.name for c in query.columns) for where, query in variants.items()},
            gap=gap_for(intervals.get(name)),
        )
    return shipped
