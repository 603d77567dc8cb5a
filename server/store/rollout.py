"""How far packs have come: on which devices they are proven to run, what fails, and what it costs there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median_low

from server.catalog.asked import Asked
from server.catalog.catalog import Catalog
from server.catalog.config import Configs
from server.catalog.problems import CatalogError
from server.normalize.times import unix
from server.store import applications, served
from server.store.applications import STOPPED, Application
from server.store.driver import Driver
from server.store.in_force import CanaryPart, InForce, Part
from server.store.observed import (
    Counters,
    Failure,
    NameVersion,
    Watched,
    config_hashes,
    devices_in_use,
    failures,
    last_answers,
    row_counts,
    schedules,
)
from server.store.served import ServerState


@dataclass(slots=True)
class OnPlatform:
    """The devices of a platform. Each either is ``proven`` to run its config by the hash that it told, or told that
    of ``older`` packs, an ``unknown`` one, or has not told any since it was served (``waiting``).

    ``silent`` of them all were not heard of for the fleet's ``silent_minutes``, one for ``silent_seconds``.
    """

    platform: str
    devices: int = 0
    proven: int = 0
    older: int = 0
    waiting: int = 0
    unknown: int = 0
    silent: int = 0
    silent_seconds: int = 0


@dataclass(frozen=True, slots=True)
class OfQuery:
    """A version of a query on the devices that are asked it; ``reporting`` of them told their counters.

    Seconds and bytes are of one run, the median of the devices; None where none has run it.
    """

    query: str
    version: str
    platforms: tuple[str, ...]
    """Where it is asked in this version, unless that is everywhere."""
    interval: int
    cost_seconds: float
    devices: int
    reporting: int
    executions: int
    wall_seconds: float | None
    user_seconds: float | None
    system_seconds: float | None
    memory: int | None
    output: int | None
    rows: int | None
    denylisted: int
    failing: int
    message: str

    @property
    def shown(self) -> str:
        """Its name, with the platforms if elsewhere it is another."""
        return f"{self.query} ({', '.join(self.platforms)})" if self.platforms else self.query


@dataclass(slots=True)
class Cohort:
    """The devices with the packs of an application. Errors are pairs of device and query that fail."""

    application: Application
    platforms: list[OnPlatform]
    errors: int
    errors_before: int
    queries: list[OfQuery] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Status:
    """What is in force; ``stopped`` is the newest application where that is a canary that was stopped."""

    base: Cohort
    canary: Cohort | None
    stopped: Application | None
    servers: list[ServerState]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of all devices, by their numbers."""

    hashes: Mapping[int, str]
    told_at: Mapping[tuple[int, str], str]
    failures: Sequence[Failure]
    schedules: Mapping[int, Mapping[NameVersion, Counters]]
    rows: Mapping[str, Mapping[int, int]]


async def rollout(driver: Driver, in_force: InForce, now: float, *, costs: bool = True) -> Status:
    """How far the packs in force have come; without ``costs`` the queries are left out."""
    every = await driver.read(applications.applications)
    by_number = {one.number: one for one in every}
    fleet = await driver.read(devices_in_use)
    nos = [one.device_no for one in fleet]
    names = {name for catalog in in_force.catalogs for name, _ in catalog.queries}
    seen = _Seen(
        await driver.read(partial(config_hashes, device_nos=nos)),
        await driver.read(partial(last_answers, device_nos=nos, queries=["osquery_info"])),
        await driver.read(partial(failures, device_nos=nos)),
        await driver.read(partial(schedules, device_nos=nos)) if costs else {},
        await driver.read(partial(row_counts, queries=names)) if costs else {},
    )
    canary = in_force.canary
    others = [one for one in fleet if canary is None or one.device_no not in canary.members]
    chosen = [one for one in fleet if canary is not None and one.device_no in canary.members]
    return Status(
        await _cohort(driver, in_force.base, by_number, others, seen, now),
        await _cohort(driver, canary, by_number, chosen, seen, now, in_force.base) if canary else None,
        every[0] if every and every[0].state == STOPPED else None,
        await driver.read(partial(served.servers, now=now)),
    )


async def _cohort(
    driver: Driver, part: Part | CanaryPart, known: Mapping[int, Application], devices: Sequence[Watched],
    seen: _Seen, now: float, base: Part | None = None,
) -> Cohort:  # fmt: skip
    application = known[part.number]
    odd = [one for one in devices if seen.hashes.get(one.device_no) not in (None, part.configs.of(one).hash)]
    earlier = [base.configs] if base else await _earlier(driver, part, known.values()) if odd else []
    since = application.promoted_at or application.applied_at
    nos = [one.device_no for one in devices]
    before = await driver.read(partial(failures, device_nos=nos, before=since))
    asked = {one.device_no: part.configs.of(one).asked for one in devices}
    failing = [one for one in seen.failures if _is_asked(one, asked)]
    return Cohort(
        application,
        _platforms(part, devices, earlier, seen, now),
        len(failing),
        len(before),
        _of_queries(part.catalog, asked, failing, seen) if seen.schedules or seen.rows else [],
    )


def _is_asked(failure: Failure, asked: Mapping[int, Mapping[str, Asked]]) -> bool:
    found = asked.get(failure.device_no, {}).get(failure.query)
    return found is not None and found.version == failure.version


async def _earlier(driver: Driver, part: Part, every: Collection[Application]) -> list[Configs]:
    """The configs of what was in force before an application, and of the newest canary that was stopped.

    They are kept: reading packs takes seconds, and the API may be asked all the time.
    """
    replaced = {one.replaces for one in every if one.number == part.number}
    stopped = next((one for one in every if one.state == STOPPED), None)
    hashes = {one.hash for one in every if one.number in replaced or one is stopped}
    for digest in hashes - part.earlier.keys():
        content = await driver.read(partial(applications.content, digest=digest))
        try:
            part.earlier[digest] = Configs(await asyncio.to_thread(content.load))
        except CatalogError:
            part.earlier[digest] = None  # of another version of Muster: its devices count as unknown
    return [configs for digest in hashes if (configs := part.earlier[digest])]


def _platforms(
    part: Part, devices: Sequence[Watched], earlier: Sequence[Configs], seen: _Seen, now: float
) -> list[OnPlatform]:
    silent_seconds = part.catalog.fleet.canary.silent_minutes * 60
    found: dict[str, OnPlatform] = {}
    for one in devices:
        on = found.setdefault(one.platform, OnPlatform(one.platform))
        on.devices += 1
        silence = int(now - unix(one.last_seen_at)) if one.last_seen_at else 0
        if silence > silent_seconds:
            on.silent += 1
            on.silent_seconds = max(on.silent_seconds, silence)
        told = seen.hashes.get(one.device_no)
        if told == part.configs.of(one).hash:
            on.proven += 1
        elif told in {configs.of(one).hash for configs in earlier}:
            on.older += 1
        elif one.served != part.number or seen.told_at.get((one.device_no, "osquery_info"), "") < one.served_at:
            on.waiting += 1
        else:
            on.unknown += 1
    return sorted(found.values(), key=lambda on: on.platform)


def _of_queries(
    catalog: Catalog, asked: Mapping[int, Mapping[str, Asked]], failing: Sequence[Failure], seen: _Seen
) -> list[OfQuery]:
    """The queries by what they take of a device's day, the dearest first."""
    whose: dict[NameVersion, list[int]] = {}
    known: dict[NameVersion, Asked] = {}
    for device_no, queries in asked.items():
        for name, one in queries.items():
            whose.setdefault((name, one.version), []).append(device_no)
            known[name, one.version] = one
    found = [_of_query(known[at], _where(catalog, *at), nos, failing, seen) for at, nos in whose.items()]
    return sorted(found, key=lambda one: (-_a_day(one), one.query, one.version))


def _a_day(one: OfQuery) -> float:
    cpu = (one.user_seconds or 0) + (one.system_seconds or 0)
    measured = one.cost_seconds if one.wall_seconds is None else max(one.wall_seconds, cpu)
    return measured / one.interval


def _where(catalog: Catalog, name: str, version: str) -> tuple[str, ...]:
    versions = {platform: query.version for (other, platform), query in catalog.queries.items() if other == name}
    if len(set(versions.values())) == 1:
        return ()
    return tuple(platform for platform, found in versions.items() if found == version)


def _of_query(
    asked: Asked, platforms: tuple[str, ...], nos: Sequence[int], failing: Sequence[Failure], seen: _Seen
) -> OfQuery:
    at = (asked.query, asked.version)
    counters = [seen.schedules[no][at] for no in nos if at in seen.schedules.get(no, {})]
    ran = [(one, one.executions) for one in counters if one.executions]
    fails = [one for one in failing if (one.query, one.version) == at]
    rows = seen.rows.get(asked.query)
    return OfQuery(
        asked.query,
        asked.version,
        platforms,
        asked.interval,
        asked.cost_seconds,
        devices=len(nos),
        reporting=len(counters),
        executions=sum(runs for _, runs in ran),
        wall_seconds=_median([one.wall_ms / runs / 1000 for one, runs in ran if one.wall_ms is not None]),
        user_seconds=_median([one.user_ms / runs / 1000 for one, runs in ran if one.user_ms is not None]),
        system_seconds=_median([one.system_ms / runs / 1000 for one, runs in ran if one.system_ms is not None]),
        memory=_whole([one.memory for one, _ in ran if one.memory is not None]),
        output=_whole([one.output / runs for one, runs in ran if one.output is not None]),
        rows=None if rows is None else sum(rows.get(no, 0) for no in nos),
        denylisted=sum(one.denylisted for one in counters),
        failing=len(fails),
        message=fails[0].message if fails else "",
    )


def _median(values: Sequence[float]) -> float | None:
    return median_low(values) if values else None


def _whole(values: Sequence[float]) -> int | None:
    return round(median_low(values)) if values else None
