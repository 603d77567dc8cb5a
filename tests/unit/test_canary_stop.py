"""When a canary stops by itself, and what it says."""

from __future__ import annotations

import pytest

from server.catalog.canary_stop import DayCost, Failing, Measured, Observed, chance, reasons, seconds
from server.catalog.fleet import CanaryLimits

LIMITS = CanaryLimits()
BUDGET = 300.0


def failing(
    hosts: int, asked: int = 20, others_failing: int = 0, others_asked: int = 100, query: str = "usb"
) -> Failing:
    names = tuple(f"host-{number}" for number in range(hosts))
    return Failing(query, "error", "no such table: usb", names, asked, others_failing, others_asked)


def why(seen: Observed, limits: CanaryLimits = LIMITS) -> list[str]:
    return reasons(seen, limits, BUDGET)


def test_a_canary_that_nobody_was_served_yet_goes_on() -> None:
    assert why(Observed(served=0, silent=("a",), others=9)) == []


@pytest.mark.parametrize(
    ("hosts", "served", "stops"),
    [(0, 20, False), (1, 20, False), (2, 20, True), (1, 19, True), (1, 1, True), (5, 100, False), (6, 100, True)],
)
def test_errors_stop_it_above_five_percent(hosts: int, served: int, stops: bool) -> None:
    assert bool(why(Observed(served=served, failing=[failing(hosts, served)] if hosts else []))) is stops


def test_what_fails_as_often_elsewhere_is_not_its_fault() -> None:
    assert why(Observed(served=20, failing=[failing(4, 20, others_failing=20)])) == []
    assert why(Observed(served=20, failing=[failing(4, 20, others_failing=19)]))
    assert why(Observed(served=20, failing=[failing(4, 20, others_failing=0, others_asked=0)]))


def test_errors_of_several_queries_count_a_device_once() -> None:
    limits = CanaryLimits(errors_percent=10)
    twice = [failing(2, 20, query="usb"), failing(2, 20, query="disks")]
    assert why(Observed(served=20, failing=twice), limits) == []
    (said,) = why(Observed(served=20, failing=[*twice, failing(4, 20, query="apps")]), limits)
    assert said == (
        "queries fail on 4 of 20 devices that did not before (apps: no such table: usb, on 4, on 0 of the 100 others;"
        " also disks, usb): host-0, host-1, host-2 and 1 more"
    )


def test_a_denylisted_query_is_named_so() -> None:
    one = Failing("usb", "denylisted", "osquery stopped it", ("a",), 1)
    assert "usb is denylisted, on 1" in why(Observed(served=1, failing=[one]))[0]


@pytest.mark.parametrize(
    ("took", "cost", "stops"),
    [
        ([0.5], 0.2, True),
        ([0.4], 0.2, False),
        ([0.09], 0.01, False),
        ([0.11], 0.01, True),
        ([0.1, 0.1, 0.9], 0.2, False),
        ([0.1, 0.9, 0.9], 0.2, True),
        ([0.1, 0.9], 0.2, False),
        ([], 0.2, False),
    ],
)
def test_a_run_that_takes_more_than_twice_its_cost_on_the_middle_device(
    took: list[float], cost: float, stops: bool
) -> None:
    measured = Measured("usb", cost, {f"host-{number}": value for number, value in enumerate(took)})
    assert bool(why(Observed(served=20, measured=[measured]))) is stops


def test_the_reason_of_a_slow_query_has_its_figures() -> None:
    measured = Measured("usb", 0.01, {"a": 1.5, "b": 1.8, "c": 2.5})
    (said,) = why(Observed(served=3, measured=[measured]))
    assert said == "usb takes 1.8 s a run (the median of 3 devices), and its header says 10 ms: c 2.5 s"


def test_the_day_of_a_device_against_the_budget() -> None:
    def day(seconds: float, before: float) -> DayCost:
        return DayCost(f"host-{seconds:g}", seconds, before, {"usb": seconds - 10, "disks": 10})

    assert why(Observed(served=3, days=[day(299, 20), day(200, 20), day(900, 20)])) == []
    (said,) = why(Observed(served=3, days=[day(400, 20), day(200, 20), day(900, 20)]))
    assert said == (
        "all queries take 400 s a day (the median of 3 devices), more than the budget of 300 s: host-900 900 s, of"
        " which usb 890 s, disks 10 s"
    )
    assert why(Observed(served=1, days=[day(400, 400)])) == [], "it was as dear before"


@pytest.mark.parametrize(
    ("silent", "served", "others_silent", "others", "stops"),
    [
        (1, 20, 0, 100, False),
        (2, 20, 0, 100, True),
        (1, 5, 0, 100, True),
        (1, 5, 0, 0, True),
        (2, 5, 20, 100, False),
        (4, 5, 20, 100, True),
        (10, 10, 100, 100, False),
        (1, 2, 60, 100, False),
        (300, 2000, 1500, 38_000, True),
    ],
)
def test_silence_stops_it_where_the_others_are_not_as_silent(
    silent: int, served: int, others_silent: int, others: int, stops: bool
) -> None:
    names = tuple(f"host-{number}" for number in range(silent))
    seen = Observed(served=served, silent=names, others=others, others_silent=others_silent)
    assert bool(why(seen)) is stops


def test_the_reason_of_silence_has_its_figures() -> None:
    (said,) = why(Observed(served=4, silent=("b", "a"), others=9, others_silent=0))
    assert (
        said == "2 of 4 devices were not heard of for 15 minutes after they were served it, and 0 of the 9 others: a, b"
    )


def test_the_chance_of_silence_is_that_of_independent_devices() -> None:
    assert chance(1, 2, 0.5) == pytest.approx(0.75)
    assert chance(2, 2, 0.1) == pytest.approx(0.01)
    assert chance(0, 5, 0.3) == pytest.approx(1)
    assert (chance(1, 5, 0.0), chance(1, 5, 1.0)) == (0.0, 1.0)
    assert 0 < chance(5000, 10_000, 0.5) < 1


def test_spans_read_well() -> None:
    assert [seconds(value) for value in (0.035, 1.84, 412, 5000)] == ["35 ms", "1.84 s", "412 s", "5,000 s"]
