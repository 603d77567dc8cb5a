"""When a canary stops by itself: what was seen of its devices, held against the others and the limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p
from statistics import median_low

from server.catalog.fleet import CanaryLimits

NAMED = 3
"""Devices or queries that a reason names."""
CHANCE = 0.05
"""What happens to the others too must be less likely than this for the canary to be to blame."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A query that fails, or is denylisted, on some of the canary's devices and did not before they were served it.

    ``hosts`` are these devices, ``asked`` how many of the canary's are asked the query, ``others_failing`` and
    ``others_asked`` the same of all other devices, since the canary began.
    """

    query: str
    status: str
    message: str
    hosts: tuple[str, ...]
    asked: int
    others_failing: int = 0
    others_asked: int = 0

    @property
    def worse(self) -> bool:
        """Whether a greater share of the canary's devices has it than of the others."""
        return len(self.hosts) * self.others_asked > self.others_failing * self.asked or not self.others_asked


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of a query that only the canary asks took, in seconds of wall or CPU time, whichever is more."""

    query: str
    cost_seconds: float
    """By its header."""
    seconds: Mapping[str, float]
    """By device."""


@dataclass(frozen=True, slots=True)
class DayCost:
    """The seconds a day in which a device runs its queries, as measured, and as many of before the canary."""

    host: str
    seconds: float
    before: float
    by_query: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of a canary. ``served`` of its devices have its config, and ``silent`` of them are not heard of
    any more; ``others`` were heard of since it began, and ``others_silent`` of them are silent as well."""

    served: int
    failing: Sequence[Failing] = ()
    measured: Sequence[Measured] = ()
    days: Sequence[DayCost] = ()
    silent: tuple[str, ...] = ()
    others: int = 0
    others_silent: int = 0


def reasons(seen: Observed, limits: CanaryLimits, budget: float) -> list[str]:
    """Why the canary has to stop, with figures; empty where it may go on. ``budget`` is in seconds a day."""
    if not seen.served:
        return []
    return [*_errors(seen, limits), *_slow(seen, limits), *_day(seen, budget), *_silence(seen, limits)]


def too_many(count: int, of: int, percent: float) -> bool:
    """Whether ``count`` devices, at least one, are more than ``percent`` of so many."""
    return count > 0 and count * 100 > percent * of


def _errors(seen: Observed, limits: CanaryLimits) -> Iterator[str]:
    worse = sorted((one for one in seen.failing if one.worse), key=lambda one: (-len(one.hosts), one.query))
    hosts = {host for one in worse for host in one.hosts}
    if not too_many(len(hosts), seen.served, limits.errors_percent):
        return
    first = worse[0]
    what = f"{first.query} is denylisted" if first.status == "denylisted" else f"{first.query}: {first.message}"
    beside = f", on {first.others_failing} of the {first.others_asked} others" if first.others_asked else ""
    more = f"; also {_few([one.query for one in worse[1:]])}" if len(worse) > 1 else ""
    yield (
        f"queries fail on {len(hosts)} of {seen.served} devices that did not before"
        f" ({what}, on {len(first.hosts)}{beside}{more}): {_few(sorted(hosts))}"
    )


def _slow(seen: Observed, limits: CanaryLimits) -> Iterator[str]:
    for one in sorted(seen.measured, key=lambda one: one.query):
        if not one.seconds:
            continue
        middle = median_low(one.seconds.values())
        if middle > one.cost_seconds * limits.cost_factor and middle * 1000 > limits.slow_ms:
            worst = max(one.seconds, key=lambda host: (one.seconds[host], host))
            yield (
                f"{one.query} takes {seconds(middle)} a run (the median of {_devices(len(one.seconds))}), and its"
                f" header says {seconds(one.cost_seconds)}: {worst} {seconds(one.seconds[worst])}"
            )


def _day(seen: Observed, budget: float) -> Iterator[str]:
    if not seen.days:
        return
    middle = median_low(one.seconds for one in seen.days)
    over = [one for one in seen.days if one.seconds > budget and one.seconds > one.before]
    if middle <= budget or 2 * len(over) < len(seen.days):
        return
    worst = max(over, key=lambda one: (one.seconds, one.host))
    dearest = sorted(worst.by_query, key=lambda query: (-worst.by_query[query], query))[:NAMED]
    named = ", ".join(f"{query} {seconds(worst.by_query[query])}" for query in dearest)
    yield (
        f"all queries take {seconds(middle)} a day (the median of {_devices(len(seen.days))}), more than the budget of"
        f" {seconds(budget)}: {worst.host} {seconds(worst.seconds)}, of which {named}"
    )


def _silence(seen: Observed, limits: CanaryLimits) -> Iterator[str]:
    count = len(seen.silent)
    if not too_many(count, seen.served, limits.silent_percent):
        return
    if seen.others and chance(count, seen.served, seen.others_silent / seen.others) >= CHANCE:
        return
    beside = f", and {seen.others_silent} of the {seen.others} others" if seen.others else ""
    yield (
        f"{count} of {seen.served} devices were not heard of for {limits.silent_minutes:g} minutes after they were"
        f" served it{beside}: {_few(sorted(seen.silent))}"
    )


def chance(count: int, of: int, share: float) -> float:
    """How likely at least ``count`` of so many devices are silent where each is with this probability.

    Laptops fall asleep: a small canary of which two do is no worse than a fleet of which a third does.
    """
    if share <= 0 or share >= 1:
        return float(share >= 1 or count <= 0)
    log_share, log_rest = log(share), log1p(-share)

    def exactly(k: int) -> float:
        choices = lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1)
        return exp(choices + k * log_share + (of - k) * log_rest)

    return sum(exactly(k) for k in range(count, of + 1))


def seconds(value: float) -> str:
    """A span as one reads it: 35 ms, 1.8 s, 412 s."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def _devices(count: int) -> str:
    return f"{count} device" if count == 1 else f"{count} devices"


def _few(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
