"""What a device should answer, and what of it comes: expected against observed, query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from server.catalog.asked import Asked
from server.catalog.config import Config
from server.normalize.times import iso
from server.store.coverage import DENYLISTED, ERROR, gap_for
from server.store.driver import Driver, StoreError, Transaction
from server.store.in_force import InForce
from server.store.observed import Counters, NameVersion, Watched, config_hashes, devices_in_use, last_answers, schedules
from server.store.registry import read_tables

ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Expected:
    """A query that a device should run. ``state`` is ``answers``, or what is missing.

    Times are ISO-8601, UTC: ``since`` when it is expected, ``last_answer`` that to any version of it.
    """

    query: str
    version: str
    packs: tuple[str, ...]
    interval: int
    since: str
    last_answer: str | None
    executions: int | None
    run_seconds: float | None
    cost_seconds: float
    denylisted: bool
    state: str


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device against what is in force for it: the application of its packs, and the config that it runs."""

    device_id: str
    hostname: str
    platform: str
    application: int
    canary: bool
    served: int | None
    served_at: str
    last_seen_at: str
    config: str
    """``proven``, ``other`` than expected, or ``not told``."""
    schedule_at: str | None
    """When it told last what it is scheduled to run."""
    queries: list[Expected]


@dataclass(frozen=True, slots=True)
class _Word:
    """The newest word on a query, and the newest answer to the version that is asked."""

    status: str = ""
    version: str = ""
    message: str = ""
    answered_at: str = ""


async def device_status(driver: Driver, in_force: InForce, named: str, now: float) -> DeviceStatus:
    """One device, by hostname or id. Raises ``StoreError`` if there is none, or more than one of that hostname."""
    fleet = await driver.read(devices_in_use)
    one = await driver.read(partial(_named, named=named, fleet=fleet))
    part = in_force.canary if in_force.canary and one.device_no in in_force.canary.members else in_force.base
    config = part.configs.of(one)
    nos = [one.device_no]
    told = (await driver.read(partial(config_hashes, device_nos=nos))).get(one.device_no)
    counters = (await driver.read(partial(schedules, device_nos=nos))).get(one.device_no, {})
    answers = await driver.read(partial(last_answers, device_nos=nos, queries=[*config.asked, "osquery_schedule"]))
    schedule_at = answers.get((one.device_no, "osquery_schedule"))
    words = await driver.read(partial(_words, device_no=one.device_no, config=config))
    first = await driver.read(_first_served)
    told_since = one.served == part.number and bool(counters) and (schedule_at or "") >= one.served_at
    return DeviceStatus(
        one.device_id,
        one.shown,
        one.platform,
        part.number,
        part is in_force.canary,
        one.served,
        one.served_at,
        one.last_seen_at,
        "not told" if told is None else "proven" if told == config.hash else "other",
        schedule_at,
        [
            _expected(
                asked, counters.get((name, asked.version)), words.get(name, _Word()),
                answers.get((one.device_no, name)), max(first.get((name, asked.version), ""), one.enrolled_at),
                told_since=told_since, now=now,
            )
            for name, asked in sorted(config.asked.items())
        ],
    )  # fmt: skip


async def _named(tx: Transaction, named: str, fleet: list[Watched]) -> Watched:
    found = await tx.rows("SELECT device_no FROM muster_devices WHERE hostname = ? OR device_id = ?", (named, named))
    nos = {row[0] for row in found}
    known = [one for one in fleet if one.device_no in nos]
    if not known:
        raise StoreError(f"There is no device {named!r} in use: 'muster device list' shows them.")
    if len(known) > 1:
        ids = ", ".join(one.device_id for one in known)
        raise StoreError(f"{len(known)} devices have the hostname {named!r}: give one of their ids, {ids}.")
    return known[0]


async def _words(tx: Transaction, device_no: int, config: Config) -> Mapping[str, _Word]:
    """By query, its newest word on the device."""
    queries = {table.name: query for query, table in (await read_tables(tx)).items()}
    found: dict[str, _Word] = {}
    answered: dict[str, str] = {}
    for table, last_at, status, version, message in await tx.rows(
        "SELECT table_name, last_at, status, version, message FROM muster_coverage WHERE device_no = ?"
        " ORDER BY first_at",
        (device_no,),
    ):
        query = queries.get(table, "")
        asked = config.asked.get(query)
        if asked is None:
            continue
        if status not in (ERROR, DENYLISTED) and version == asked.version:
            answered[query] = last_at
        found[query] = _Word(status, version, message or "", answered.get(query, ""))
    return found


async def _first_served(tx: Transaction) -> dict[NameVersion, str]:
    """When each version of each query was first served to anybody."""
    rows = await tx.rows("SELECT query, version, first_served_at FROM muster_query_versions")
    return {(query, version): at for query, version, at in rows}


def _expected(
    asked: Asked, counters: Counters | None, word: _Word, last: str | None, since: str, *, told_since: bool, now: float
) -> Expected:
    return Expected(
        asked.query,
        asked.version,
        asked.packs,
        asked.interval,
        since,
        last,
        counters.executions if counters else None,
        counters.run_seconds if counters else None,
        asked.cost_seconds,
        counters.denylisted if counters else False,
        _state(asked, counters, word, told_since=told_since, now=now),
    )


def _state(asked: Asked, counters: Counters | None, word: _Word, *, told_since: bool, now: float) -> str:
    """What is missing of a query; the gravest comes first. Late is what was not answered for three intervals."""
    current = word.version == asked.version
    if (counters and counters.denylisted) or (current and word.status == DENYLISTED):
        return "denylisted"
    if current and word.status == ERROR:
        return f"fails: {word.message}"
    if word.answered_at >= iso(now - gap_for(asked.interval)):
        return ANSWERS
    if counters is None and told_since:
        return "left out by discovery" if asked.conditional else "never scheduled"
    if word.answered_at:
        return "late"
    if counters is None:
        return "schedule not told"
    return "never ran" if not counters.executions else "ran, no answer"
