"""Questions put to devices: taken when a device calls or has a channel open, settled by its answer, or given up.

osquery may lose an answer, tell it late or twice, and refuses for a day what ran when it was killed. So a question is
sent again after growing pauses, a few times; an answer counts for the sending it names, and for a while only, for what
it tells is dated by its arrival; and what may have killed osquery's worker is not sent again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from server.catalog.asked import Asked
from server.normalize.calendar import Day
from server.normalize.questions import QuestionId
from server.normalize.times import iso, unix
from server.store.coverage import DENYLISTED, INCOMPLETE, OK
from server.store.driver import Transaction
from server.store.meta import keep_value, value_of
from server.wire.messages import NO_COST, Cost

GUARANTEE, BY_PERSON = "guarantee", "asked"
"""Why something is asked: the day's answer was missing, or a person wants to know."""
OSQUERY, COLLECTOR = "osquery", "collector"
"""How a question is sent: in the answer to distributed/read, or to a collector, which answers one by one."""
ANSWERED, FAILED, REFUSED, STOPPED = "answered", "failed", "refused", "stopped"
UNANSWERED, NOT_PICKED_UP, NOT_NEEDED, WITHDRAWN = "unanswered", "not_picked_up", "not_needed", "withdrawn"
"""What became of a question, beside ``DENYLISTED``. ``refused``: the device's own policy forbids it. ``stopped``:
osquery told all that it was asked with it, and it is suspected to have ended osquery's worker."""
SUSPECTED = "the device answered what it was asked with this and not this: it may have ended osquery's worker"

PAUSES = (900, 3600, 4 * 3600, 900)
"""Seconds after each sending until the next; after the last one it is given up."""
ANSWER_SECONDS = 900
"""How old a sending may be for its answer to count: osquery keeps what it could not deliver, for hours if need be."""
PERSON_SECONDS = 86_400
"""How long what a person asked waits for the device to call."""
A_READ = 10
"""Questions of one answer to distributed/read: osquery runs them one after the other, and tells them all at once."""
AT_ONCE = {OSQUERY: A_READ, COLLECTOR: 100}
_WITHDRAWN = "questions_withdrawn"
"""The key of what changes whenever a question that may be with a device is withdrawn."""


@dataclass(frozen=True, slots=True)
class Question:
    """An open question as it stands; times are ISO-8601, UTC."""

    table: str
    query: str
    asked_at: str
    version: str
    day: str
    why: str
    sent: int
    sent_at: str | None
    via: str | None
    answered_at: str | None

    @property
    def id(self) -> QuestionId:
        """The id under which it was sent last."""
        return QuestionId(self.query, self.version, unix(self.asked_at), self.sent)


@dataclass(frozen=True, slots=True)
class Settled:
    """What an answer, or the lack of one, makes of a question.

    It stays open, to be asked again ``ask_at``, where ``outcome`` is None. ``status`` is that of coverage where the
    query failed.
    """

    question: Question
    outcome: str | None
    message: str | None = None
    answered_at: str | None = None
    ask_at: str | None = None
    status: str = ""
    cost: Cost = NO_COST


_OPEN = """
SELECT a.table_name, q.query, a.asked_at, a.version, a.day, a.why, a.sent, a.sent_at, a.via, a.answered_at
  FROM muster_asked a JOIN muster_queries q ON q.table_name = a.table_name
 WHERE a.device_no = ? AND a.outcome IS NULL
"""


async def waiting(tx: Transaction, after: str, until: str) -> set[int]:
    """The devices with a question to be sent from an instant in this span on (ISO-8601, UTC; ``after`` excluded)."""
    found = await tx.rows(
        "SELECT DISTINCT device_no FROM muster_asked WHERE outcome IS NULL AND ask_at > ? AND ask_at <= ?",
        (after, until),
    )
    return {row[0] for row in found}


async def take(
    tx: Transaction, asked: Mapping[int, Mapping[str, Asked]], today: Day, now: float, via: str
) -> tuple[dict[int, dict[str, str]], set[int]]:
    """The questions to send to devices (numbers) now, by id, noted as sent; and those that more are left for.

    ``asked`` is what the devices' configs ask: what they do not ask, in this version, is withdrawn, and so is what a
    device has answered meanwhile by its schedule.
    """
    numbers = sorted(asked)
    found = await tx.each(
        f"{_OPEN} AND a.ask_at <= ? ORDER BY a.ask_at, q.query, a.asked_at LIMIT {AT_ONCE[via]}",
        [(number, iso(now)) for number in numbers],
    )
    open_now = [(number, Question(*row)) for number, rows in zip(numbers, found, strict=True) for row in rows]
    words = await last_words(tx, [(number, question.table) for number, question in open_now])
    sent: dict[int, dict[str, str]] = {}
    settled: list[tuple[int, Settled]] = []
    send_again = []
    for (number, question), word in zip(open_now, words, strict=True):
        wanted = asked[number].get(question.query)
        outcome = _needless(question, wanted, word, today, now)
        if outcome or wanted is None:
            settled.append((number, Settled(question, outcome)))
            continue
        sent.setdefault(number, {})[replace(question, sent=question.sent + 1).id.text] = wanted.sql
        key = (number, question.table, question.asked_at)
        send_again.append((iso(now + PAUSES[question.sent]), iso(now), via, *key))
    await _keep(tx, settled)
    if any(one.outcome == WITHDRAWN and one.question.sent for _, one in settled):
        await note_withdrawn(tx)
    await tx.many(
        "UPDATE muster_asked SET ask_at = ?, sent_at = ?, via = ?, sent = sent + 1"
        " WHERE device_no = ? AND table_name = ? AND asked_at = ?",
        send_again,
    )
    return sent, {number for number, rows in zip(numbers, found, strict=True) if len(rows) == AT_ONCE[via]}


async def lost(tx: Transaction, device_no: int, queued: Collection[str], now: float) -> list[Question]:
    """Questions sent to a device's collector a while ago at most that it neither has (``queued``) nor has answered."""
    found = [Question(*row) for row in await tx.rows(f"{_OPEN} AND a.via = ?", (device_no, COLLECTOR))]
    return [one for one in found if _awaited(one) and not _too_late(one, now) and one.id.text not in queued]


async def note_withdrawn(tx: Transaction) -> None:
    """Note that a question which may be with a device is to be answered no more."""
    await keep_value(tx, _WITHDRAWN, str(await tx.seq()))


async def withdrawn_version(tx: Transaction) -> str:
    """What changes whenever a question that may be with a device is withdrawn."""
    return await value_of(tx, _WITHDRAWN) or ""


async def unawaited(tx: Transaction, ids: Sequence[tuple[int, QuestionId]]) -> list[bool]:
    """Which of these questions to devices (numbers) are no more to be answered under these ids."""
    keys = [(device_no, one.query, iso(one.asked), one.version) for device_no, one in ids]
    found = await tx.each(f"{_OPEN} AND q.query = ? AND a.asked_at = ? AND a.version = ?", keys)
    questions = [Question(*rows[0]) if rows else None for rows in found]
    return [
        question is None or question.sent != one.attempt or not _awaited(question)
        for (_, one), question in zip(ids, questions, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class LastWord:
    """The newest stretch of a device and query; ``version`` is that of the query."""

    last_at: str
    status: str
    version: str


async def last_words(tx: Transaction, keys: Sequence[tuple[int, str]]) -> list[LastWord | None]:
    """The newest word of each device (number) on a query (table), in their order."""
    found = await tx.each(
        "SELECT last_at, status, version FROM muster_coverage WHERE device_no = ? AND table_name = ?"
        " ORDER BY first_at DESC LIMIT 1",
        keys,
    )
    return [LastWord(*rows[0]) if rows else None for rows in found]


def _needless(question: Question, asked: Asked | None, word: LastWord | None, today: Day, now: float) -> str | None:
    """What becomes of a question that is not to be sent."""
    if asked is None or asked.version != question.version:
        return WITHDRAWN
    if question.sent >= len(PAUSES):
        return _given_up(question)
    if word is not None and word.status == DENYLISTED and word.version == question.version:
        return DENYLISTED
    if question.why != GUARANTEE:
        return None if unix(question.asked_at) > now - PERSON_SECONDS else _given_up(question)
    if question.day != today.day:
        return _given_up(question)
    told = word is not None and word.status in (OK, INCOMPLETE) and word.version == question.version
    return NOT_NEEDED if told and word and word.last_at >= today.starts_at else None


def _given_up(question: Question) -> str:
    if not question.sent:
        return NOT_PICKED_UP
    return FAILED if question.answered_at else UNANSWERED


async def expected(
    tx: Transaction, device_no: int, ids: Sequence[QuestionId], now: float
) -> dict[QuestionId, Question]:
    """Of these ids the questions that were put to the device so, a while ago at most, and are still to be answered."""
    keys = [(device_no, one.query, iso(one.asked), one.version) for one in ids]
    found = await tx.each(f"{_OPEN} AND q.query = ? AND a.asked_at = ? AND a.version = ?", keys)
    known = {}
    for one, rows in zip(ids, found, strict=True):
        question = Question(*rows[0]) if rows else None
        if question and question.sent == one.attempt and _awaited(question) and not _too_late(question, now):
            known[one] = question
    return known


def _awaited(question: Question) -> bool:
    """Whether its last sending has not been answered."""
    return question.sent_at is not None and (question.answered_at is None or question.answered_at < question.sent_at)


def _too_late(question: Question, now: float) -> bool:
    return question.sent_at is None or unix(question.sent_at) < now - ANSWER_SECONDS


async def suspects(tx: Transaction, device_no: int, answered: Sequence[Question]) -> list[Settled]:
    """Questions that may have ended osquery's worker, by what came of those they were sent with.

    osquery runs what it was sent by one answer in the order of the ids, and tells it all at once. If its worker is
    killed it goes on after what was running, of which it never tells; what had run before is lost too. A collector
    answers one by one, and says itself what ended osquery: its answers accuse none.
    """
    answered = [question for question in answered if question.via == OSQUERY]
    if not answered:
        return []
    found = [Question(*row) for row in await tx.rows(f"{_OPEN} AND a.via = ?", (device_no, OSQUERY))]
    told = {question.id.text for question in answered}
    stopped = []
    for sent_at in sorted({question.sent_at for question in answered if question.sent_at}):
        first = min(question.id.text for question in answered if question.sent_at == sent_at)
        before = [one for one in found if one.sent_at == sent_at and _awaited(one) and one.id.text < first]
        missing = max((one for one in before if one.id.text not in told), key=lambda one: one.id.text, default=None)
        if missing:
            stopped.append(Settled(missing, STOPPED, SUSPECTED))
    return stopped


async def keep(tx: Transaction, device_no: int, settled: Sequence[Settled]) -> None:
    """Note what became of questions; one that is settled already stays as it is."""
    await _keep(tx, [(device_no, one) for one in settled])


_TOLD = ("answered_at", "ask_at")
_COSTS = ("wall_time_ms", "user_time", "system_time", "memory")
_KEEP = ", ".join(
    [f"{name} = COALESCE(CAST(? AS TEXT), {name})" for name in _TOLD]
    + [f"{name} = COALESCE(CAST(? AS BIGINT), {name})" for name in _COSTS]
)


async def _keep(tx: Transaction, settled: Sequence[tuple[int, Settled]]) -> None:
    await tx.many(
        f"UPDATE muster_asked SET outcome = ?, message = ?, {_KEEP}"
        " WHERE device_no = ? AND table_name = ? AND asked_at = ? AND outcome IS NULL",
        [
            (
                *(one.outcome, one.message, one.answered_at, one.ask_at),
                *(one.cost.wall_time_ms, one.cost.user_time, one.cost.system_time, one.cost.memory),
                *(device_no, one.question.table, one.question.asked_at),
            )
            for device_no, one in settled
        ],
    )


async def put(
    tx: Transaction, questions: Sequence[tuple[int, str, str]], why: str, by: str, day: str, now: float
) -> None:
    """Ask devices (numbers) for queries (tables) of these versions from now on."""
    at = iso(now)
    await tx.many(
        "INSERT INTO muster_asked (device_no, table_name, version, asked_at, day, why, asked_by, ask_at, sent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (device_no, table_name, asked_at) DO NOTHING",
        [(*question, at, day, why, by, at) for question in questions],
    )


_OVER = (
    "outcome IS NULL AND ((why = 'guarantee' AND day < ?) OR (why = 'asked' AND asked_at < ?) OR (sent >= ?"
    " AND ask_at <= ?))"
)


async def over(tx: Transaction, today: str, now: float) -> bool:
    """Whether there are questions for ``give_up``."""
    return await tx.row(f"SELECT 1 FROM muster_asked WHERE {_OVER} LIMIT 1", _over(today, now)) is not None


async def give_up(tx: Transaction, today: str, now: float) -> None:
    """Settle what was asked for a day that is over, by a person too long ago, or often enough."""
    given_up = await tx.run(
        "UPDATE muster_asked SET outcome = CASE WHEN sent = 0 THEN 'not_picked_up' WHEN answered_at IS NULL"
        f" THEN 'unanswered' ELSE 'failed' END WHERE {_OVER}",
        _over(today, now),
    )
    if given_up:
        await note_withdrawn(tx)


def _over(today: str, now: float) -> tuple[object, ...]:
    return today, iso(now - PERSON_SECONDS), len(PAUSES), iso(now)
