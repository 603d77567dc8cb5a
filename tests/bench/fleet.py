"""A whole simulated fleet against one server: the load DESIGN asks for, with the real simulator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.measure import Aim, Line, cpu_seconds
from tests.bench.places import Place, fresh
from tests.bench.scale import Scale
from tests.bench.servers import Target, muster_serving
from tests.support.server import ROOT

DEVICES, SECONDS = 10_000, 300
SPEED = 60
"""Divides the intervals of the schedule: hourly queries run every minute."""


def fleet_of_devices(kind: str, scale: Scale) -> Iterator[Line]:
    """The fleet enrols and then lives for ``SECONDS``; its errors, and how long the server took to answer."""
    devices, seconds = scale.of(DEVICES), scale.of(SECONDS)
    with fresh(kind) as place, muster_serving(place.url) as server:
        found = _simulated(place, server, devices, seconds)
        used, resident = cpu_seconds(server.pid), _resident_mb(server.pid)
        (answers,) = place.ask("SELECT COUNT(*) FROM coverage")
    name = f"{devices:,} simulated devices at a minute's cadence for {seconds} s"
    latencies = found["latency_ms"]
    yield Line(
        name=f"{name}: errors",
        database=kind,
        value=sum(found["errors"].values()),
        unit="errors",
        aim=Aim(at_most=0, unit="errors"),
        facts={
            "errors": found["errors"],
            "requests": found["requests"],
            "requests_a_second": found["requests_per_second"],
            "lines": found["lines"],
            "lines_a_second": found["lines_per_second"],
            "seconds_with_enrolment": found["seconds"],
            "coverage_rows": answers,
            "server_cpu_seconds": None if used is None else round(used, 1),
            "server_resident_mb": resident,
        },
    )
    for endpoint in ("log", "distributed/read"):
        if endpoint in latencies:
            yield Line(
                name=f"{name}: {endpoint}, 99th percentile",
                database=kind,
                value=latencies[endpoint]["p99"] / 1000,
                unit="s",
                facts={"p50_ms": latencies[endpoint]["p50"], "p95_ms": latencies[endpoint]["p95"]},
            )


def _simulated(place: Place, server: Target, devices: int, seconds: int) -> dict[str, Any]:
    """What ``muster simulate --json`` measured."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "server.cli.main", "simulate", "--json", "--never-sleep"),
            *("--server", f"http://127.0.0.1:{server.port}", "--secret", place.enroll_secret),
            *("--devices", str(devices), "--speed", str(SPEED), "--duration", str(seconds)),
        ],
        cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=seconds + 1800,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _resident_mb(pid: int) -> int | None:
    """The most memory a process has had resident; None where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    most = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(most[1]) // 1024 if most else None
