"""Storing one body of a device: answers, status lines, and what could not be stored."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.normalize.answers import Answer, answers_of
from server.normalize.names import parse_scheduled_name
from server.normalize.rows import digest_of
from server.normalize.text import clean_text
from server.normalize.times import iso, unix
from server.store import devices
from server.store.answers import Place, apply_events, apply_run, apply_snapshot
from server.store.coverage import DENYLISTED, ERROR, VERSION_OF_THE_ANSWER_BEFORE, Instant, gap_for
from server.store.driver import Transaction
from server.store.registry import Registry, TooManyError
from server.store.shipped import ShippedQuery
from server.wire.messages import BadLine, LogBody, ResultLine, StatusLine

log = logging.getLogger(__name__)

DAY = 86_400
FUTURE_SECONDS = 3600
"""A clock this far ahead of ours is wrong, and what it dates cannot be put on a day."""
REJECTS_A_DEVICE = 1000
SAMPLE_CHARS = 1000
SCHEDULE_QUERY = "osquery_schedule"

_QUERY_FAILED = re.compile(r"Error executing scheduled query (?P<name>.+?): (?P<message>.*)", re.DOTALL)


@dataclass(slots=True)
class Ingested:
    """What became of a body."""

    answers: int = 0
    statuses: int = 0
    rejected: list[BadLine] = field(default_factory=list)


def _bad_line(answer: Answer, reason: str) -> BadLine:
    sample = str([*answer.added, *answer.removed][:5])[:SAMPLE_CHARS]
    return BadLine(reason=reason, sample=sample, name=answer.query)


class Ingest:
    """Applies bodies inside transactions that the store opens."""

    def __init__(
        self,
        registry: Registry,
        shipped: Mapping[str, ShippedQuery],
        max_age_days: int,
        fresh_days: int,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._shipped = shipped
        self._max_age = max_age_days * DAY
        self._counted_days = fresh_days - 1
        self._clock = clock

    async def store(self, tx: Transaction, device: devices.Device, body: LogBody) -> Ingested:
        """Store what can be stored of a body, and put the rest among the rejects."""
        now = self._clock()
        done = Ingested(rejected=list(body.bad))
        lines = self._datable(body.results, done, now)
        statuses = self._datable(body.statuses, done, now)
        news: set[str] = set()
        for answer in answers_of(lines, device.platform):
            bad = await tx.attempt(self._apply(tx, device, answer, now, news))
            if isinstance(bad, Exception):
                # A defect of ours or of the data must not hold up all that the device says from now on.
                log.error("an answer to %s was set aside", answer.query, exc_info=bad)
                self._registry.forget()
                bad = _bad_line(answer, f"it could not be stored ({type(bad).__name__})")
            if bad:
                done.rejected.append(bad)
            else:
                done.answers += 1
        await self._keep_statuses(tx, device, statuses, now, news)
        done.statuses = len(statuses)
        await self.reject(tx, device, done.rejected)
        await self._reopen_days(tx, news)
        if news:
            await tx.seq()  # so that whoever waits for news can see that there was some
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

    async def _apply(
        self, tx: Transaction, device: devices.Device, answer: Answer, now: float, news: set[str]
    ) -> BadLine | None:
        """Apply one answer; returns what had to be set aside for it."""
        try:
            table = await self._registry.table_for(tx, answer.query, [*answer.added, *answer.removed], now)
        except TooManyError as error:
            return _bad_line(answer, str(error))
        version = self._version(device, answer)
        place = Place(device.device_no, table, self._gap(answer.query), news)
        if table.mode == "events":
            await apply_events(tx, place, answer, version)
        elif answer.snapshot:
            loser = await apply_snapshot(tx, place, answer, version)
            if loser:
                reason = f"another answer of {iso(answer.unix_time)} is kept"
                return BadLine(reason=reason, sample=f"fingerprint {loser}", name=answer.query)
        else:
            await apply_run(tx, place, answer, version)
        if answer.query == SCHEDULE_QUERY:
            await self._note_denylisted(tx, device, answer, now, news)
        return None

    def _version(self, device: devices.Device, answer: Answer) -> str:
        """The version of the query an answer is to; empty for one that is not known to be ours.

        A foreign osqueryd may run a query under a shipped one's name. It counts as the shipped one if its rows have
        every column that one gives; an answer without rows says nothing of its columns, so it is judged by the one
        before it, whichever that turns out to be.
        """
        if answer.version is not None:
            return answer.version
        shipped = self._shipped.get(answer.query)
        current = shipped.versions.get(device.platform) if shipped else None
        if shipped is None or current is None:
            return ""
        rows = [*answer.added, *answer.removed]
        if not rows:
            return VERSION_OF_THE_ANSWER_BEFORE
        needed = shipped.needed[device.platform]
        return current if all(row.keys() >= needed for row in rows) else ""

    async def _note_denylisted(
        self, tx: Transaction, device: devices.Device, answer: Answer, now: float, news: set[str]
    ) -> None:
        """osquery_schedule names the queries that osquery refuses to run; that is the only place it says so."""
        for row in answer.added:
            if str(row.get("denylisted")) == "1" and isinstance(row.get("name"), str):
                instant = Instant(
                    at=iso(answer.unix_time),
                    status=DENYLISTED,
                    basis="schedule",
                    message="osquery stopped the query at its watchdog's limits and does not run it for a day",
                )
                await self._note(tx, device, row["name"], instant, now, news)

    async def _keep_statuses(
        self, tx: Transaction, device: devices.Device, lines: Sequence[StatusLine], now: float, news: set[str]
    ) -> None:
        seen: dict[tuple[str, str], int] = {}
        rows = []
        for line in lines:
            at = iso(line.unix_time)
            values = (
                line.severity,
                clean_text(line.filename),
                line.line,
                clean_text(line.message),
                clean_text(line.version),
            )
            digest = digest_of(repr(values).encode("utf-8", "replace"))
            ordinal = seen.get((at, digest), 0)
            seen[at, digest] = ordinal + 1
            rows.append((device.device_no, at, digest, ordinal, *values))
            failed = _QUERY_FAILED.fullmatch(line.message)
            if failed:
                instant = Instant(at=at, status=ERROR, message=clean_text(failed["message"])[:SAMPLE_CHARS])
                await self._note(tx, device, failed["name"], instant, now, news)
        if rows:
            await tx.many(
                "INSERT INTO muster_status_logs (device_no, at, digest, ordinal, severity, filename, line, message,"
                " version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                rows,
            )

    async def _note(
        self, tx: Transaction, device: devices.Device, scheduled: str, instant: Instant, now: float, news: set[str]
    ) -> None:
        """Note how a query fared that gave no answer."""
        name = parse_scheduled_name(clean_text(scheduled))
        try:
            table = await self._registry.table_for(tx, name.query, (), now)
        except TooManyError:
            return  # the status line itself is kept
        if name.version:
            instant.version = name.version
        place = Place(device.device_no, table, self._gap(name.query), news)
        await place.note(tx, instant, await place.moment(tx, instant.at))

    async def reject(self, tx: Transaction, device: devices.Device, lines: Sequence[BadLine]) -> None:
        """Keep lines that could not be stored, each once and up to a cap per device."""
        if not lines:
            return
        count = await tx.row("SELECT COUNT(*) FROM muster_rejects WHERE device_no = ?", (device.device_no,))
        room = max(0, REJECTS_A_DEVICE - (count[0] if count else 0))
        rows = {}
        for line in lines:
            values = tuple(clean_text(part)[:SAMPLE_CHARS] for part in (line.name, line.reason, line.sample))
            digest = digest_of(repr(values).encode("utf-8", "replace"))
            rows[digest] = (device.device_no, digest, iso(self._clock()), *values)
        await tx.many(
            "INSERT INTO muster_rejects (device_no, digest, rejected_at, query, reason, sample)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            list(rows.values())[:room],
        )

    async def _reopen_days(self, tx: Transaction, news: set[str]) -> None:
        """Open the closed days whose verdicts the news may change; the worker judges them again and closes them."""
        if not news:
            return
        days = await tx.rows(
            "SELECT day, starts_at, ends_at FROM muster_days WHERE state = 'closed' AND ends_at > ?", (min(news),)
        )
        for day, starts_at, ends_at in days:
            counts_from = iso(unix(starts_at) - self._counted_days * DAY)
            if any(counts_from <= at < ends_at for at in news):
                await tx.run("UPDATE muster_days SET state = 'open' WHERE day = ?", (day,))

    def _gap(self, query: str) -> int:
        shipped = self._shipped.get(query)
        return shipped.gap if shipped else gap_for(None)
