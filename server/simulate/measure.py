"""What a simulation measured of the server it spoke to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Measure:
    """Requests by endpoint with their latencies in seconds, failures by kind, and bytes and lines on the wire."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    received_bytes: int = 0
    lines: int = 0
    """Log lines delivered."""
    repeated: int = 0
    """Log lines sent again though they had arrived."""

    def request(self, endpoint: str, seconds: float, sent: int, received: int) -> None:
        """Count a request that was answered."""
        self.latencies.setdefault(endpoint, []).append(seconds)
        self.sent_bytes += sent
        self.received_bytes += received

    def add(self, other: Measure) -> None:
        """Take in what another process measured."""
        for endpoint, latencies in other.latencies.items():
            self.latencies.setdefault(endpoint, []).extend(latencies)
        self.errors.update(other.errors)
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.lines += other.lines
        self.repeated += other.repeated

    def summary(self, seconds: float) -> dict[str, object]:
        """The figures for a run of that length; latencies in milliseconds."""
        everything = [latency for latencies in self.latencies.values() for latency in latencies]
        return {
            "seconds": round(seconds, 3),
            "requests": len(everything),
            "requests_per_second": round(len(everything) / seconds, 1) if seconds else 0.0,
            "lines": self.lines,
            "lines_per_second": round(self.lines / seconds, 1) if seconds else 0.0,
            "lines_repeated": self.repeated,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "errors": dict(sorted(self.errors.items())),
            "latency_ms": {name: percentiles(found) for name, found in sorted(self.latencies.items())},
        }


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """How many there are, and the 50th, 95th and 99th percentile in milliseconds."""
    ordered = sorted(latencies)
    found: dict[str, float] = {"count": len(ordered)}
    for share in (50, 95, 99):
        at = min(len(ordered) - 1, len(ordered) * share // 100)
        found[f"p{share}"] = round(ordered[at] * 1000, 2) if ordered else 0.0
    return found
