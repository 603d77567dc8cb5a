"""A fleet over several processes: one a core, each with its own share of the devices."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path

from server.catalog.catalog import Catalog, load_catalog
from server.simulate.fleet import Fleet, Progress, shares, sorted_truth
from server.simulate.measure import Measure
from server.simulate.options import FleetOptions
from server.simulate.presence import DAY
from server.simulate.truth import Expected

DEVICES_A_PROCESS = 500
"""A fleet of fewer than two times as many lives in the command's own process."""
WATCH_SECONDS = 0.2


@dataclass(slots=True)
class Outcome:
    """What came of a simulation; ``seconds`` are those of history and life, without the start of processes."""

    measure: Measure = field(default_factory=Measure)
    truth: list[Expected] = field(default_factory=list)
    seconds: float = 0.0


def process_count(devices: int) -> int:
    """How many processes a fleet is worth: at most one a core."""
    return max(1, min(os.cpu_count() or 1, devices // DEVICES_A_PROCESS))


async def simulate(
    options: FleetOptions, packs: Path, duration: float | None, *, truth: bool, progress: Progress | None = None
) -> Outcome:
    """Run a whole fleet until ``duration`` seconds of life are over, or SIGINT or SIGTERM comes."""
    processes = process_count(options.count)
    if processes == 1:
        stop = asyncio.Event()
        with _stopping(stop.set):
            return await _run(options, load_catalog(packs), duration, truth, progress, stop)
    jobs = [
        (replace(options, first=options.first + first, count=count), packs, duration, truth)
        for first, count in shares(options.count, processes)
    ]
    loop = asyncio.get_running_loop()
    whole = Outcome()
    context = multiprocessing.get_context("spawn")
    told = context.Event()
    with _stopping(told.set), ProcessPoolExecutor(processes, context, _remember_stop, (told,)) as pool:
        for part in await asyncio.gather(*(loop.run_in_executor(pool, _share, *job) for job in jobs)):
            whole.measure.add(part.measure)
            whole.truth += part.truth
            whole.seconds = max(whole.seconds, part.seconds)
    whole.truth = list(sorted_truth(whole.truth))
    return whole


_STOPS: list[Event] = []
"""In a process of the pool: what tells it to stop. A signal goes to the command alone."""


def _remember_stop(told: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _STOPS.append(told)


def _share(options: FleetOptions, packs: Path, duration: float | None, truth: bool) -> Outcome:
    """One process's part."""
    return asyncio.run(_watched(options, packs, duration, truth))


async def _watched(options: FleetOptions, packs: Path, duration: float | None, truth: bool) -> Outcome:
    stop = asyncio.Event()

    async def watch() -> None:
        while not any(told.is_set() for told in _STOPS):  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(WATCH_SECONDS)
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        return await _run(options, load_catalog(packs), duration, truth, None, stop)
    finally:
        watching.cancel()


async def _run(
    options: FleetOptions,
    catalog: Catalog,
    duration: float | None,
    truth: bool,
    progress: Progress | None,
    stop: asyncio.Event,
) -> Outcome:
    fleet = Fleet(options, catalog, stop, progress)
    started = time.perf_counter()
    try:
        await fleet.join()
        if options.history:
            await fleet.deliver_history()
        if duration is None or duration > 0:
            await fleet.live(duration)
    finally:
        await fleet.close()
    outcome = Outcome(fleet.measure, seconds=time.perf_counter() - started)
    if truth:
        outcome.truth = list(sorted_truth(fleet.truth(int(time.time()) // DAY)))
    return outcome


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``stop`` instead of killing."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
