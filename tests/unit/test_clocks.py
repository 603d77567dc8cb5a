"""What an answer to the time question says, and when to ask the next one."""

from __future__ import annotations

from typing import Any

import pytest

from server.normalize.clocks import (
    AGAIN_SECONDS,
    EVERY_SECONDS,
    Clock,
    Reading,
    heed,
    newest_first,
    next_question,
    question_id,
    reading_of,
)
from server.wire.distributed import NOT_TOLD, parse_answers

NOW = 1_795_000_000.25


def reading(device_at: float, asked: float, now: float, uptime: int | None = 1000) -> Reading:
    row = {"unix_time": str(int(device_at))} | ({} if uptime is None else {"total_seconds": str(uptime)})
    found = reading_of(question_id(asked), [row], now)
    assert found is not None
    return found


def clock_of(*readings: Reading) -> list[Clock]:
    clocks: list[Clock] = []
    for found in readings:
        clock = heed(clocks, found)
        clocks = newest_first([clock, *(known for known in clocks if known.first_read != clock.first_read)])
    return clocks


@pytest.mark.parametrize("ahead", [-100_000, -61, 0, 0.9, 61, 100_000])
@pytest.mark.parametrize("late", [0, 0.2, 3, 900])
@pytest.mark.parametrize("when", [0, 0.5, 1])
def test_the_bounds_hold_the_truth(ahead: float, late: float, when: float) -> None:
    found = reading(NOW + late * when + ahead, NOW, NOW + late)
    assert found.least <= ahead <= found.most
    assert found.most - found.least <= late + 3


def test_a_late_answer_is_kept_as_loose_as_it_is() -> None:
    (clock,) = clock_of(reading(NOW + 10, NOW, NOW + 900))
    assert clock.loose and not clock.wrong
    assert next_question([clock], 0, None) == int(NOW) + AGAIN_SECONDS
    (clock,) = clock_of(reading(NOW + 10, NOW, NOW + 900), reading(NOW + 1000, NOW + 990, NOW + 991, 1980))
    assert not clock.loose and clock.least >= 8 and clock.most <= 11


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"unix_time": ""},
        {"unix_time": "soon"},
        {"unix_time": "-5"},
        {"unix_time": None},
        {"unix_time": True},
        {"unix_time": [1]},
        {"unix_time": "9" * 15},
        {"unix_time": "9" * 400},
        {"unix_time": 1.5},
        {"unix_time": "٣"},
    ],
)
def test_an_answer_without_a_time_says_nothing(row: dict[str, Any]) -> None:
    assert reading_of(question_id(NOW), [row], NOW) is None


@pytest.mark.parametrize(
    "question",
    [
        "",
        "q1",
        "muster_time_",
        "muster_time_x",
        "muster_time_1",
        "muster_time_1795000100000",
        "muster_time_" + "9" * 15,
    ],
)
def test_an_answer_to_another_question_says_nothing(question: str) -> None:
    assert reading_of(question, [{"unix_time": "1795000000"}], NOW) is None


@pytest.mark.parametrize("uptime", ["", "-3", "no", str(10**14), "1795000001", None])
def test_the_start_of_the_machine_may_be_unknown(uptime: str | None) -> None:
    found = reading_of(question_id(NOW), [{"unix_time": "1795000000", "total_seconds": uptime}], NOW)
    assert found is not None and found.booted_at is None


def test_one_row_is_an_answer_and_none_or_two_are_not() -> None:
    row = {"unix_time": "1795000000"}
    assert reading_of(question_id(NOW), [], NOW) is None
    assert reading_of(question_id(NOW), [row, row], NOW) is None


def test_the_same_reading_twice_is_one() -> None:
    first, again = reading(NOW, NOW, NOW + 1), reading(NOW, NOW, NOW + 60)
    assert clock_of(first, again) == clock_of(first)


def test_another_start_or_a_set_clock_is_another_clock() -> None:
    first = reading(NOW, NOW, NOW + 1, 1000)
    assert len(clock_of(first, reading(NOW + 3600, NOW + 3600, NOW + 3601, 4600))) == 1
    assert len(clock_of(first, reading(NOW + 3600, NOW + 3600, NOW + 3601, 60))) == 2, "a new start"
    assert len(clock_of(first, reading(NOW + 7200, NOW + 3600, NOW + 3601, 4600))) == 2, "set an hour ahead"


def test_a_late_reading_is_of_the_clock_it_was_read_from() -> None:
    first, second = reading(NOW, NOW, NOW + 1, 1000), reading(NOW + 7200, NOW + 3600, NOW + 3601, 60)
    late = reading(NOW + 30, NOW + 30, NOW + 4000, 1030)
    clocks = clock_of(first, second, late)
    assert [clock.wrong for clock in clocks] == [True, False]
    assert clocks[1].last_at == int(NOW + 30)


def test_a_clock_that_drifts_is_as_it_was_read_last() -> None:
    clocks = clock_of(
        *(reading(NOW + n * 3601, NOW + n * 3600, NOW + n * 3600 + 1, 1000 + n * 3600) for n in range(90))
    )
    assert len(clocks) == 1 and clocks[0].wrong and 87 <= clocks[0].ahead <= 90


def test_questions_are_asked_at_enrolment_every_six_hours_and_soon_after_a_doubt() -> None:
    clocks = clock_of(reading(NOW, NOW, NOW + 1))
    read = int(NOW)
    assert next_question([], 77, None) == 77
    assert next_question(clocks, read - 5, None) == read + EVERY_SECONDS
    assert next_question(clocks, read - 5, None, early=60) == read + EVERY_SECONDS - 60
    assert next_question(clocks, read + 5, None) == read + 5, "enrolled again"
    assert next_question(clocks, 0, read + 5) == read + AGAIN_SECONDS
    assert next_question(clocks, 0, read - 5) == read + EVERY_SECONDS
    assert next_question(clock_of(reading(NOW + 300, NOW, NOW + 1)), 0, None) == read + AGAIN_SECONDS


@pytest.mark.parametrize("body", [{}, {"queries": 7}, {"queries": {"a": 7, "b": [7], "c": None}}, {"queries": []}])
def test_a_write_without_answers_has_none(body: dict[str, Any]) -> None:
    assert parse_answers(body) == []


@pytest.mark.parametrize(
    ("told", "status"), [(0, 0), ("0", 0), (1, 1), (None, NOT_TOLD), (True, NOT_TOLD), ("x", NOT_TOLD), ([], NOT_TOLD)]
)
def test_the_status_of_an_answer(told: Any, status: int) -> None:
    (found,) = parse_answers({"queries": {"q": [{"a": "1"}]}, "statuses": {"q": told}, "messages": {"q": 7}})
    assert (found.question, found.status, found.message, found.rows) == ("q", status, "", [{"a": "1"}])
