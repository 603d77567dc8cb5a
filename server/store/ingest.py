"""Storing bodies of devices: answers, status lines, and what could not be stored."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from server.normalize.answers import Answer, answers_of
from server.normalize.calendar import Calendar
from server.normalize.names import parse_scheduled_name, scheduled_name
from server.normalize.rows import digest_of
from server.normalize.text import clean_text
from server.normalize.times import DAY, iso, unix
from server.store import devices, rejects
from server.store.answers import Place, apply_events, apply_gap, apply_run, apply_snapshot
from server.store.asked import keep
from server.store.batches import Fate, weigh
from server.store.calendar import read_calendar
from server.store.cohorts import Cohorts
from server.store.collectors import note_backlogs
from server.store.coverage import DENYLISTED, ERROR, VERSION_OF_THE_ANSWER_BEFORE, Instant
from server.store.dating import DatedLines, date_bodies
from server.store.deliveries import Delivery, Ingested
from server.store.driver import Transaction
from server.store.gaps import keep_gaps, queries_by_runs
from server.store.news import Learned
from server.store.registry import Registry, TooManyError
from server.store.rejects import SAMPLE_CHARS
from server.store.scope import note_earlier_scopes
from server.store.succession import Arrival, follow
from server.wire.messages import BadLine, Gap, StatusLine

log = logging.getLogger(__name__)

SCHEDULE_QUERY = "osquery_schedule"
INFO_QUERY = "osquery_info"
STOPPED = "osquery stopped the query at its watchdog's limits and does not run it for a day"

_QUERY_FAILED = re.compile(r"Error executing scheduled query (?P<name>.+?): (?P<message>.*)", re.DOTALL)


@dataclass(slots=True)
class _Load:
    """A body made ready: its answers as they happened, its status lines, and what is to become of it all."""

    device: devices.Device
    answers: list[Answer]
    statuses: list[StatusLine]
    gaps: list[Gap]
    earliest: int | None
    done: Ingested


def _next_of_each(waiting: dict[tuple[int, str], deque[tuple[_Load, Answer]]]) -> list[tuple[_Load, Answer]]:
    """Take the first answer of each line; a line that is empty then goes."""
    taken = []
    for key, answers in list(waiting.items()):
        taken.append(answers.popleft())
        if not answers:
            del waiting[key]
    return taken


def _bad_line(answer: Answer, reason: str) -> BadLine:
    sample = str([*answer.added, *answer.removed][:5])[:SAMPLE_CHARS]
    return BadLine(reason=reason, sample=sample, name=answer.query)


class Ingest:
    """Applies bodies inside transactions that the store opens."""

    def __init__(
        self,
        registry: Registry,
        cohorts: Cohorts,
        max_age_days: int,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._cohorts = cohorts
        self._max_age = max_age_days * DAY
        self._calendar = Calendar()
        self._asked = (0.0, 0.0)
        self._clock = clock

    async def store(self, tx: Transaction, deliveries: Sequence[Delivery], *, singly: bool = False) -> list[Ingested]:
        """Store what can be stored of the bodies, and put the rest among the rejects.

        Together they take few statements, and what cannot be stored for a reason nobody thought of fails them all;
        ``singly`` applies each answer behind a savepoint of its own, so that such an answer costs only itself. Of a
        collector's batch that was stored before, or has diverged, nothing is stored.
        """
        now = self._clock()
        fates = await weigh(tx, [(one.device.device_no, one.batch) for one in deliveries], now)
        new = [one for one, fate in zip(deliveries, fates, strict=True) if fate is Fate.NEW]
        stored = iter(await self._store(tx, new, now, singly=singly) if new else ())
        return [next(stored) if fate is Fate.NEW else Ingested(fate=fate) for fate in fates]

    async def _store(
        self, tx: Transaction, deliveries: Sequence[Delivery], now: float, *, singly: bool
    ) -> list[Ingested]:
        dated = await self._date(tx, deliveries, now)
        loads = [self._load(*pair, singly=singly) for pair in zip(deliveries, dated, strict=True)]
        learned = Learned(await self._days(tx, now))
        losers = [load for load in loads if load.gaps]
        for load in losers:
            await keep_gaps(tx, load.device.device_no, load.gaps, now)
        if singly:
            await self._apply_singly(tx, loads, now, learned)
        else:
            await self._apply_together(tx, loads, now, learned)
        for load in losers:
            await self._doubt(tx, load, learned)
        for load in loads:
            await self._keep_statuses(tx, load.device, load.statuses, now, learned)
            load.done.statuses = len(load.statuses)
            await self.reject(tx, load.device, load.done.rejected)
        for delivery in deliveries:
            if delivery.settled:
                await self._settle(tx, delivery, now, learned)
        await learned.note(tx)
        oldest: dict[int, int] = {}
        for load in loads:
            if load.earliest is not None:
                number = load.device.device_no
                oldest[number] = min(oldest.get(number, load.earliest), load.earliest)
        await note_earlier_scopes(tx, self._calendar, oldest, now, self._cohorts.grace_days)
        await devices.heard(tx, [(load.device.device_no, load.earliest) for load in loads], now)
        backlogs = [(one.device.device_no, one.backlog) for one in deliveries if one.backlog is not None]
        if backlogs:
            await note_backlogs(tx, backlogs, now)
        return [load.done for load in loads]

    async def _days(self, tx: Transaction, now: float) -> Calendar:
        """The fleet's days. Another zone comes tomorrow at the earliest, so that it is enough to ask once a day."""
        since, until = self._asked
        if not since <= now < until:
            self._calendar = await read_calendar(tx)
            self._asked = (now, unix(self._calendar.day(self._calendar.today(now)).ends_at))
        return self._calendar

    async def _date(self, tx: Transaction, deliveries: Sequence[Delivery], now: float) -> list[DatedLines]:
        bodies = [(one.device.device_no, one.body) for one in deliveries if not one.settled]
        dated = iter(await date_bodies(tx, bodies, now, self._max_age))
        return [DatedLines(one.body.results) if one.settled else next(dated) for one in deliveries]

    async def _settle(self, tx: Transaction, delivery: Delivery, now: float, learned: Learned) -> None:
        """Note what became of questions, and of those that failed that they did."""
        for one in delivery.settled:
            if one.status and one.answered_at:
                message = one.message or ""
                instant = Instant(
                    at=one.answered_at, status=one.status, message=message, fingerprint=digest_of(message.encode())
                )
                name = scheduled_name(one.question.query, one.question.version)
                await self._note(tx, delivery.device.device_no, name, instant, now, learned)
        await keep(tx, delivery.device.device_no, delivery.settled)

    def _load(self, delivery: Delivery, dated: DatedLines, *, singly: bool) -> _Load:
        done = Ingested(rejected=[*delivery.body.bad, *dated.bad], doubtful=dated.doubtful)
        times = [line.unix_time for line in dated.results] + [line.unix_time for line in dated.statuses]
        platform = delivery.device.platform
        cohort = self._cohorts.of(delivery.device)
        answers = cohort.minimiser.answers(answers_of(dated.results, platform), platform)
        for answer in answers:
            # An answer without a version is told by its rows.
            by_rows = answer.version is None and answer.query in cohort.shipped
            if answer.unread and (singly or answer.query == SCHEDULE_QUERY or by_rows):
                cohort.minimiser.read(answer, platform)
        statuses = cohort.minimiser.statuses(dated.statuses)
        done.gaps, done.lost = len(dated.gaps), sum(gap.lines or 0 for gap in dated.gaps)
        return _Load(delivery.device, answers, statuses, dated.gaps, min(times, default=None), done)

    async def _apply_together(self, tx: Transaction, loads: Sequence[_Load], now: float, learned: Learned) -> None:
        """Apply the answers in rounds: in each, at most one of a device to a query, in the order they happened."""
        waiting: dict[tuple[int, str], deque[tuple[_Load, Answer]]] = {}
        for load in loads:
            for answer in load.answers:
                waiting.setdefault((load.device.device_no, answer.query), deque()).append((load, answer))
        while waiting:
            await self._apply_round(tx, _next_of_each(waiting), now, learned)

    async def _apply_round(
        self, tx: Transaction, round_of: Sequence[tuple[_Load, Answer]], now: float, learned: Learned
    ) -> None:
        whose: dict[int, _Load] = {}
        arrivals: list[Arrival] = []
        for load, answer in round_of:
            arrival = await self._arrival(tx, load, answer, now, learned)
            if arrival:
                arrivals.append(arrival)
                whose[id(arrival)] = load

        async def read(arrival: Arrival) -> bool:
            return not arrival.answer.unread or await self._read(tx, arrival, whose, now)

        for arrival in await follow(tx, arrivals, read):
            if id(arrival) in whose and await read(arrival):
                self._note_outcome(whose.pop(id(arrival)), await self._apply(tx, arrival))
        for load in whose.values():
            load.done.answers += 1
        for arrival in arrivals:
            await self._note_denylisted(tx, arrival, now)
        for load, answer in round_of:
            await self._note_osquery(tx, load.device, answer)

    async def _apply_singly(self, tx: Transaction, loads: Sequence[_Load], now: float, learned: Learned) -> None:
        async def one(load: _Load, answer: Answer) -> None:
            arrival = await self._arrival(tx, load, answer, now, learned)
            if arrival:
                self._note_outcome(load, await self._apply(tx, arrival))
                await self._note_denylisted(tx, arrival, now)
                await self._note_osquery(tx, load.device, answer)

        for load in loads:
            for answer in load.answers:
                before = (load.done.answers, len(load.done.rejected))
                error = await tx.attempt(one(load, answer))
                if isinstance(error, Exception):
                    # A defect of ours or of the data must not hold up all that the device says from now on.
                    log.error("an answer to %s was set aside", answer.query, exc_info=error)
                    self._registry.forget()
                    load.done.answers = before[0]
                    del load.done.rejected[before[1] :]
                    load.done.rejected.append(_bad_line(answer, f"it could not be stored ({type(error).__name__})"))

    def _note_outcome(self, load: _Load, rejected: BadLine | None) -> None:
        if rejected:
            load.done.rejected.append(rejected)
        else:
            load.done.answers += 1

    async def _arrival(
        self, tx: Transaction, load: _Load, answer: Answer, now: float, learned: Learned
    ) -> Arrival | None:
        """The answer with its place; None where it has none, which is then noted."""
        try:
            # The table of what is unread has a place for it, or there is none: it is widened when it is read.
            known = await self._registry.find(tx, answer.query) if answer.unread else None
            table = known or await self._registry.table_for(tx, answer.query, [*answer.added, *answer.removed], now)
        except TooManyError as error:
            load.done.rejected.append(_bad_line(answer, str(error)))
            return None
        place = Place(load.device.device_no, table, self._cohorts.gap(answer.query), learned)
        return Arrival(place, answer, self._version(load.device, answer))

    async def _read(self, tx: Transaction, arrival: Arrival, whose: dict[int, _Load], now: float) -> bool:
        """Read an answer that says something new, and widen its table for it; False if it has no place there."""
        load, answer = whose[id(arrival)], arrival.answer
        self._cohorts.of(load.device).minimiser.read(answer, load.device.platform)
        try:
            table = await self._registry.table_for(tx, answer.query, answer.added, now)
        except TooManyError as error:
            load.done.rejected.append(_bad_line(answer, str(error)))
            del whose[id(arrival)]
            return False
        arrival.place = replace(arrival.place, table=table)
        return True

    async def _apply(self, tx: Transaction, arrival: Arrival) -> BadLine | None:
        """Apply an answer wherever in time it falls; returns what had to be set aside for it."""
        place, answer, version = arrival.place, arrival.answer, arrival.version
        if place.table.mode == "events":
            await apply_events(tx, place, answer, version)
        elif answer.snapshot:
            loser = await apply_snapshot(tx, place, answer, version)
            if loser:
                reason = f"another answer of {arrival.at} is kept"
                return BadLine(reason=reason, sample=f"fingerprint {loser}", name=answer.query)
        else:
            too_late = await apply_run(tx, place, answer, version)
            if too_late:
                return _bad_line(answer, too_late)
        return None

    def _version(self, device: devices.Device, answer: Answer) -> str:
        """The version of the query an answer is to; empty for one that is not known to be ours.

        A foreign osqueryd may run a query under a shipped one's name. It counts as the shipped one if its rows have
        every column that one gives; an answer without rows says nothing of its columns, so it is judged by the one
        before it, whichever that turns out to be.
        """
        if answer.version is not None:
            return answer.version
        shipped = self._cohorts.of(device).shipped.get(answer.query)
        current = shipped.versions.get(device.platform) if shipped else None
        if shipped is None or current is None:
            return ""
        rows = [*answer.added, *answer.removed]
        if not rows:
            return VERSION_OF_THE_ANSWER_BEFORE
        needed = shipped.needed[device.platform]
        return current if all(row.keys() >= needed for row in rows) else ""

    async def _note_denylisted(self, tx: Transaction, arrival: Arrival, now: float) -> None:
        """osquery_schedule names the queries that osquery refuses to run; that is the only place it says so."""
        if arrival.answer.query != SCHEDULE_QUERY:
            return
        for row in arrival.answer.added:
            if str(row.get("denylisted")) == "1" and isinstance(row.get("name"), str):
                instant = Instant(at=arrival.at, status=DENYLISTED, basis="schedule", message=STOPPED)
                await self._note(tx, arrival.place.device_no, row["name"], instant, now, arrival.place.learned)

    async def _note_osquery(self, tx: Transaction, device: devices.Device, answer: Answer) -> None:
        """An osquery that was brought up to date does not enrol again: osquery_info is where it says so."""
        if answer.query != INFO_QUERY or answer.unread or not answer.added:
            return
        told = answer.added[0].get("version")
        if isinstance(told, str) and told and told != device.osquery_version:
            await devices.note_osquery(tx, device.device_no, clean_text(told)[:255], iso(answer.unix_time))

    async def _doubt(self, tx: Transaction, load: _Load, learned: Learned) -> None:
        """Doubt what rests on the lines that a device lost."""
        for gap in load.gaps:
            for query in await queries_by_runs(tx, load.device.device_no, gap):
                table = await self._registry.find(tx, query)
                if table is not None:
                    place = Place(load.device.device_no, table, self._cohorts.gap(query), learned)
                    await apply_gap(tx, place, iso(gap.first_at), iso(gap.last_at))

    async def _keep_statuses(
        self, tx: Transaction, device: devices.Device, lines: Sequence[StatusLine], now: float, learned: Learned
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
                message = clean_text(failed["message"])[:SAMPLE_CHARS]
                instant = Instant(at=at, status=ERROR, message=message, fingerprint=digest_of(message.encode()))
                await self._note(tx, device.device_no, failed["name"], instant, now, learned)
        if rows:
            await tx.many(
                "INSERT INTO muster_status_logs (device_no, at, digest, ordinal, severity, filename, line, message,"
                " version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                rows,
            )

    async def _note(
        self, tx: Transaction, device_no: int, scheduled: str, instant: Instant, now: float, learned: Learned
    ) -> None:
        """Note how a query fared that gave no answer."""
        name = parse_scheduled_name(clean_text(scheduled))
        try:
            table = await self._registry.table_for(tx, name.query, (), now)
        except TooManyError:
            return  # the status line itself is kept
        if name.version:
            instant.version = name.version
        place = Place(device_no, table, self._cohorts.gap(name.query), learned)
        await place.note(tx, instant, await place.moment(tx, instant.at))

    async def reject(self, tx: Transaction, device: devices.Device, lines: Sequence[BadLine]) -> None:
        """Keep lines that could not be stored, each once and up to a cap per device."""
        minimiser = self._cohorts.of(device).minimiser
        kept = [minimiser.bad(line, device.platform) for line in lines]
        await rejects.keep(tx, device.device_no, kept, self._clock())
