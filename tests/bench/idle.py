"""What the collector takes on a device on which nothing happens: memory and processor time of all its processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.measure import Aim, Line, Memory, whole_cpu_seconds
from tests.bench.places import Place, fresh
from tests.bench.scale import Scale
from tests.bench.servers import muster_serving
from tests.support.collector import Device, device, extension_pids, settings, wait_until
from tests.support.core.running import core

PATIENCE = 300.0
SETTLE_SECONDS = 10.0
"""After the last delivery."""
IDLE_SECONDS, LEAST_SECONDS = 60, 15
MEMORY, CPU = Aim(at_most=60, unit="MB"), Aim(at_most=0.1, unit="%")
EVIDENCE_TAKEN = "evidence: "


class Running(NamedTuple):
    """The collector's processes, and what they log."""

    pids: Sequence[int]
    said: Callable[[], str]


def idle_device(kind: str, scale: Scale) -> Iterator[Line]:
    """Both set-ups, each beside a bare interpreter."""
    for name, running in (("beside osqueryd's own log", _uplink_only), ("as an extension", _extension)):
        with fresh(kind) as place, muster_serving(place.url) as server:
            url = f"http://127.0.0.1:{server.port}"
            with running(place, url) as collector, _bare() as bare:
                yield from _measured(kind, scale, name, place, collector, bare)


def _measured(kind: str, scale: Scale, name: str, place: Place, collector: Running, bare: int) -> Iterator[Line]:
    wait_until(lambda: EVIDENCE_TAKEN in collector.said(), collector.said, PATIENCE)
    time.sleep(SETTLE_SECONDS)
    assert place.ask("SELECT COUNT(*) FROM posture_collectors WHERE connected = 1") == [1], collector.said()
    assert place.ask("SELECT COUNT(*) FROM coverage")[0] > 0, "no evidence was delivered"
    seconds = max(LEAST_SECONDS, scale.of(IDLE_SECONDS))
    began, before = time.monotonic(), [whole_cpu_seconds(pid) for pid in collector.pids]
    time.sleep(seconds)
    took = time.monotonic() - began
    cpu = [100 * (whole_cpu_seconds(pid) - used) / took for pid, used in zip(collector.pids, before, strict=True)]
    memory, least = [Memory.of(pid) for pid in collector.pids], Memory.of(bare)
    value = sum(one.pss for one in memory)
    yield Line(
        name=f"collector {name}, idle: memory",
        database=kind,
        value=value,
        unit="MB",
        limit=least.pss,
        aim=MEMORY,
        facts={
            "processes": len(memory),
            "resident_mb": round(sum(one.rss for one in memory), 1),
            "limit_resident_mb": round(least.rss, 1),
            "mb_of_each": "/".join(f"{one.pss:.1f}" for one in memory),
        },
    )
    yield Line(
        name=f"collector {name}, idle: CPU",
        database=kind,
        value=sum(cpu),
        unit="%",
        aim=CPU,
        facts={"seconds": round(took, 1), "percent_of_each": "/".join(f"{one:.3f}" for one in cpu)},
    )


@contextmanager
def _extension(place: Place, url: str) -> Iterator[Running]:
    """The uplink, what osqueryd autoloads, and what that keeps running."""
    told = {"log_level": "info"}
    with device(place.directory, url, place.enroll_secret, flags={"config_plugin": "muster"}, told=told) as made:
        assert made.uplink is not None
        pids = [made.uplink.pid, *sorted(extension_pids(made.core))]
        assert len(pids) == 3, pids
        yield Running(pids, made.said)


@contextmanager
def _uplink_only(place: Place, url: str) -> Iterator[Running]:
    """The uplink alone."""
    with core() as osqueryd:
        osqueryd.await_ready()
        environment = settings(place.directory, url, place.enroll_secret, osqueryd.socket, log_level="info")
        made = Device(osqueryd, place.directory, environment)
        made.start_uplink()
        try:
            assert made.uplink is not None
            yield Running([made.uplink.pid], made.said)
        finally:
            made.stop_uplink()


@contextmanager
def _bare() -> Iterator[int]:
    """A Python interpreter that does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, cwd=Path("/")
    )
    assert process.stdin is not None
    try:
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()
