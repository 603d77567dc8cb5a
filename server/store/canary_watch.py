"""Watching a canary: what its devices report since they were served it, and stopping it where that is too bad."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from server.catalog.canary_stop import DayCost, Failing, Measured, Observed, reasons, too_many
from server.catalog.config import Config
from server.normalize.times import DAY, iso
from server.store import applications
from server.store.applications import CANARY, Application
from server.store.driver import StoreError, Transaction, Work
from server.store.in_force import InForce
from server.store.observed import (
    Counters,
    Failure,
    NameVersion,
    Watched,
    devices_in_use,
    failed_before,
    failures,
    schedules,
)
from server.store.store import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

BY_ITSELF = "muster"
"""By whom a canary is stopped that stops by itself."""


class Read(Protocol):
    """``Driver.read`` or ``Store.read``."""

    async def __call__(self, work: Work[Result]) -> Result:
        """Run ``work`` on one consistent view."""


async def watch_canary(store: Store, listening_since: float) -> Application | None:
    """Stop the canary under way if it has to stop; then what is recorded of it is returned.

    ``listening_since`` is when this server began: until then devices may have been silent because nobody listened.
    """
    in_force = store.in_force
    if in_force.canary is None:
        return None
    why = await why_stop(store.read, in_force, store.clock(), listening_since)
    if not why:
        return None
    reason = "; ".join(why)
    number = in_force.canary.number
    try:
        stopped = await store.write(partial(_stop, number=number, reason=reason, now=store.clock()))
    except StoreError as error:
        log.error("the canary of application %d should stop and did not (%s): %s", number, error, reason)
        return None
    if stopped:
        log.warning("the canary of application %d is stopped: %s", number, reason)
    return stopped


async def why_stop(read: Read, in_force: InForce, now: float, listening_since: float) -> list[str]:
    """Why the canary has to stop; empty where it may go on."""
    canary = in_force.canary
    assert canary is not None
    fleet = canary.catalog.fleet
    limits = fleet.canary
    silence = limits.silent_minutes * 60
    gone_before = iso(now - silence) if now - silence >= listening_since else ""
    began_at = canary.began_at

    def silent(one: Watched) -> bool:
        return one.last_seen_at < gone_before and one.enrolled_at < began_at

    every = await read(devices_in_use)
    served = [one for one in every if one.device_no in canary.members and one.served == canary.number]
    others = [one for one in every if one.device_no not in canary.members and one.last_seen_at >= began_at]
    nos = [one.device_no for one in served]
    configs = {one.device_no: canary.configs.of(one) for one in served}
    counters = await read(partial(schedules, device_nos=nos))
    seen = Observed(
        served=len(served),
        failing=await _failing(read, in_force, served, others),
        measured=_measured(in_force, served, counters),
        days=[_day(one, configs[one.device_no], in_force.base.configs.of(one), counters) for one in served
              if one.device_no in counters],
        silent=tuple(one.shown for one in served if silent(one)),
        others=len(others),
        others_silent=sum(map(silent, others)),
    )  # fmt: skip
    return reasons(seen, limits, fleet.budget_seconds_a_day)


async def _failing(
    read: Read, in_force: InForce, served: Sequence[Watched], others: Sequence[Watched]
) -> list[Failing]:
    """What fails since the canary was served; of the others it is read only where that may decide."""
    canary = in_force.canary
    assert canary is not None
    configs = {one.device_no: canary.configs.of(one) for one in served}
    new = await newly_failing(read, {one.device_no: (configs[one.device_no], one.served_at) for one in served})
    if not too_many(len({one.device_no for one in new}), len(served), canary.catalog.fleet.canary.errors_percent):
        return []
    names = {one.device_no: one.shown for one in served}
    base = {one.device_no: in_force.base.configs.of(one) for one in others}
    beside = await newly_failing(read, {no: (config, canary.began_at) for no, config in base.items()})
    found = []
    for query in sorted({one.query for one in new}):
        failed = [one for one in new if one.query == query]
        one = Failing(query, failed[0].status, failed[0].message, tuple(names[f.device_no] for f in failed),
                      _asked(query, configs.values()))  # fmt: skip
        failed_beside = sum(f.query == query for f in beside)
        found.append(replace(one, others_failing=failed_beside, others_asked=_asked(query, base.values())))
    return found


async def newly_failing(read: Read, devices: Mapping[int, tuple[Config, str]]) -> list[Failure]:
    """What fails now, of what a device's config asks, and did not fail before an instant. Both are by device."""
    found = await read(partial(failures, device_nos=list(devices)))
    now = [
        one
        for one in found
        if one.last_at >= devices[one.device_no][1]
        and (asked := devices[one.device_no][0].asked.get(one.query))
        and asked.version == one.version
    ]
    before = await read(partial(failed_before, at={(f.device_no, f.query): devices[f.device_no][1] for f in now}))
    return [one for one in now if (one.device_no, one.query) not in before]


def _asked(query: str, configs: Iterable[Config]) -> int:
    return sum(query in config.asked for config in configs)


def _measured(
    in_force: InForce, served: Sequence[Watched], counters: Mapping[int, Mapping[NameVersion, Counters]]
) -> list[Measured]:
    """What only the canary asks. The name of a query in the schedule has its version: its counters begin with it."""
    assert in_force.canary is not None
    costs: dict[NameVersion, float] = {}
    took: dict[NameVersion, dict[str, float]] = {}
    for one in served:
        base = in_force.base.configs.of(one).asked
        for name, asked in in_force.canary.configs.of(one).asked.items():
            at = (name, asked.version)
            known = counters.get(one.device_no, {}).get(at)
            if known is None or known.run_seconds is None or (name in base and base[name].version == asked.version):
                continue
            costs[at] = asked.cost_seconds
            took.setdefault(at, {})[one.shown] = known.run_seconds
    return [Measured(at[0], costs[at], seconds) for at, seconds in took.items()]


def _day(one: Watched, config: Config, base: Config, counters: Mapping[int, Mapping[NameVersion, Counters]]) -> DayCost:
    by_query = day_seconds(config, counters[one.device_no])
    return DayCost(
        one.shown, sum(by_query.values()), sum(day_seconds(base, counters[one.device_no]).values()), by_query
    )


def day_seconds(config: Config, counters: Mapping[NameVersion, Counters]) -> dict[str, float]:
    """Seconds a day of each query of a config: as measured, and by its header where it was not."""
    found = {}
    for name, asked in config.asked.items():
        known = counters.get((name, asked.version))
        if known is None and asked.conditional:
            continue  # no pack that asks it is active there
        run = known.run_seconds if known else None
        found[name] = (asked.cost_seconds if run is None else run) * DAY / asked.interval
    return found


async def _stop(tx: Transaction, number: int, reason: str, now: float) -> Application | None:
    """Stop the canary, unless it was promoted or ended meanwhile."""
    if (await applications.application(tx, number)).state != CANARY:
        return None
    return await applications.stop_canary(tx, BY_ITSELF, reason, now)
