"""``/metrics`` for Prometheus: what is stored is counted once for many scrapes, what this process does as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.api.channels import CHANNELS
from server.api.keys import STORE
from server.evaluate.verdicts import STATUSES
from server.normalize.times import DAY, iso, unix
from server.report.numbers import Numbers
from server.report.standing import Standing, standing
from server.store.batches import Fate
from server.store.deliveries import Taken
from server.store.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEPT_SECONDS = 15
MOST_CONTROLS = 500
"""Controls that are told of, each with a dozen series; of more it is the first by name."""


class Figures:
    """The newest count of what is stored, made at most every ``KEPT_SECONDS`` and by one request at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._kept: tuple[float, Standing] | None = None

    async def now(self) -> Standing:
        """The count, a little old at most."""
        async with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] >= KEPT_SECONDS:
                seen_after = iso(self._store.clock() - DAY)
                self._kept = (time.monotonic(), await self._store.read(lambda tx: standing(tx, seen_after)))
            return self._kept[1]


FIGURES = web.AppKey("figures", Figures)


def attach(app: web.Application, store: Store) -> None:
    """Add ``/metrics`` to an application."""
    app[FIGURES] = Figures(store)
    app.add_routes([web.get("/metrics", show)])


async def show(request: web.Request) -> web.Response:
    """Every metric, in Prometheus' text format."""
    store = request.app[STORE]
    found = await request.app[FIGURES].now()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told([*_of_posture(found), *_of_work(found, store.clock()), *_of_ingest(store.taken)]))
    registry.register(_Told([_of_channels(len(request.app[CHANNELS]))]))
    response = web.Response(body=generate_latest(registry))
    response.headers["Content-Type"] = CONTENT_TYPE
    return response


class _Told(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def _of_posture(found: Standing) -> Iterator[Metric]:
    labels = ["day", "control"]
    devices = GaugeMetricFamily(
        "muster_posture_devices",
        "Devices by status, on the newest closed day and on the running one.",
        labels=[*labels, "status"],
    )
    passing = GaugeMetricFamily(
        "muster_posture_pass_ratio", "Passed of passed and failed; not told where nothing was judged.", labels=labels
    )
    coverage = GaugeMetricFamily(
        "muster_posture_coverage_ratio", "Seen to pass or fail, of those the control is for.", labels=labels
    )
    lapsed = GaugeMetricFamily(
        "muster_posture_lapsed_devices", "Devices that pass, and were seen broken within the day.", labels=labels
    )
    for day, by_control in found.numbers.items():
        for control, numbers in _first(by_control):
            for status in STATUSES:
                devices.add_metric([day, control, status], numbers.counts[status])
            lapsed.add_metric([day, control], numbers.lapsed)
            if numbers.judged:
                passing.add_metric([day, control], numbers.counts["pass"] / numbers.judged)
            if numbers.applicable:
                coverage.add_metric([day, control], numbers.observed / numbers.applicable)
    failures = GaugeMetricFamily(
        "muster_open_failures", "Failures that are not remedied.", labels=["control", "severity"]
    )
    for control in sorted(found.severities)[:MOST_CONTROLS]:
        failures.add_metric([control, found.severities[control]], found.open_failures.get(control, (0, ""))[0])
    yield from (devices, passing, coverage, lapsed, failures)


def _first(by_control: Mapping[str, Numbers]) -> list[tuple[str, Numbers]]:
    return sorted(by_control.items())[:MOST_CONTROLS]


def _of_work(found: Standing, now: float) -> Iterator[Metric]:
    it = found.watched
    devices = GaugeMetricFamily("muster_devices", "Devices by state.", labels=["state"])
    heard = it.active - it.silent
    for state, count in {
        "active": heard, "silent": it.silent, "never_seen": it.never_seen, "retired": it.retired
    }.items():  # fmt: skip
        devices.add_metric([state], count)
    yield devices
    yield GaugeMetricFamily("muster_news_waiting", "News of what may change verdicts, not judged yet.", value=it.news)
    lag = max(now - it.news_since / 1_000_000, 0.0) if it.news_since is not None else 0.0
    yield GaugeMetricFamily("muster_judging_lag_seconds", "For how long the oldest of it has been waiting.", value=lag)
    if it.closed_until is not None:
        yield GaugeMetricFamily(
            "muster_closed_until_timestamp_seconds", "When the newest closed day ended.", value=unix(it.closed_until)
        )
    yield GaugeMetricFamily("muster_canary_under_way", "1 while packs are on a canary's devices only.", value=it.canary)
    yield GaugeMetricFamily("muster_canary_devices", "The devices of that canary.", value=it.canary_devices)
    yield GaugeMetricFamily("muster_canaries_stopped", "Canaries that were stopped, ever.", value=it.canaries_stopped)


def _of_channels(connected: int) -> Metric:
    says = "Collectors that have a channel open at this server."
    return GaugeMetricFamily("muster_collectors_connected", says, value=connected)


def _of_ingest(taken: Taken) -> Iterator[Metric]:
    for name, says, value in (
        ("bodies", "Bodies of log lines that this server stored.", taken.bodies),
        ("answers", "Answers to queries in them.", taken.answers),
        ("status_lines", "Status lines in them.", taken.statuses),
        ("rejected_lines", "Lines in them that were set aside.", taken.rejected),
    ):
        yield CounterMetricFamily(f"muster_ingested_{name}", says, value=value)
    batches = CounterMetricFamily(
        "muster_collector_batches", "Batches of collectors by what became of them.", labels=["fate"]
    )
    for fate, count in ((Fate.NEW, taken.batches), (Fate.KNOWN, taken.known), (Fate.DIVERGED, taken.diverged)):
        batches.add_metric([fate], count)
    yield batches
    yield CounterMetricFamily("muster_collector_gaps", "Gaps that collectors told of.", value=taken.gaps)
    yield CounterMetricFamily("muster_collector_lost_lines", "Lines lost in them.", value=taken.lost)
