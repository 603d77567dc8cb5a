"""The reduction of a device's rows to classes loses nothing: every bag of rows is judged as its counts are."""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from typing import NamedTuple

import pytest

from server.evaluate.codes import OUTCOMES, Places, byte_of, exempt, lapsed, verdict_of
from server.evaluate.dockets import highest, outcome
from server.evaluate.population import Devices, named
from server.evaluate.rules import ALWAYS, Rule
from server.evaluate.statements import DECISIVE, NO_ROW, OTHER, UNDECIDED
from server.evaluate.verdicts import REASONS, Counts, Verdict, judge_rows


class Row(NamedTuple):
    undecided: bool
    holds: bool
    applies: bool


ROWS = [Row(*truths) for truths in product((False, True), repeat=3)]


def rule(quantifier: str, empty: str, *, condition: bool) -> Rule:
    applies = "r.there IS TRUE" if condition else ALWAYS
    return Rule(quantifier, "", "", applies, empty, (), (), frozenset(), frozenset())


def digits(quantifier: str, bag: tuple[Row, ...], *, condition: bool) -> list[int]:
    """As the statements class rows, the highest of each."""
    decisive = {"every": False, "none": True, "any": True}[quantifier]
    first = [UNDECIDED if row.undecided else DECISIVE if row.holds == decisive else OTHER for row in bag]
    second = [UNDECIDED if row.undecided else DECISIVE if row.applies else OTHER for row in bag]
    return [max(classes, default=NO_ROW) for classes in ([first, second] if condition else [first])]


@pytest.mark.parametrize("condition", [False, True])
@pytest.mark.parametrize("quantifier", ["every", "none", "any"])
def test_classes_say_what_counts_say(quantifier: str, condition: bool) -> None:
    made = rule(quantifier, "error", condition=condition)
    for size in range(4):
        for bag in combinations_with_replacement(ROWS, size):
            counts = Counts.of(
                len(bag),
                sum(row.holds and not row.undecided for row in bag),
                sum(row.undecided for row in bag),
                sum(condition and not row.undecided and not row.applies for row in bag),
            )
            found = outcome(made, digits(quantifier, bag, condition=condition))
            assert found == judge_rows(counts, quantifier, "error"), bag


def test_keys_of_two_parts_are_those_of_the_whole() -> None:
    assert highest(0b11_01_00, 0b01_10_01) == 0b11_10_01


def test_every_outcome_has_a_byte_of_its_own_and_comes_back() -> None:
    found = {byte_of(*one): one for one in OUTCOMES}
    assert len(found) == len(OUTCOMES) < 31
    for byte, (status, reason) in found.items():
        assert reason is None or reason in REASONS
        assert verdict_of(byte) == Verdict(status, status, 0, reason)
        covered = verdict_of(exempt(byte))
        assert covered is not None
        assert (covered.status, covered.underlying_status) == (
            "not_applicable" if status == "not_applicable" else "exempt",
            status,
        )
    assert verdict_of(lapsed(byte_of("pass", None))) == Verdict("pass", "pass", 1, None)
    assert verdict_of(exempt(lapsed(1))) == Verdict("exempt", "pass", 1, None)


def test_places_tell_controls_apart_over_many_columns() -> None:
    places = Places([3, 4, 17])
    one = (5 << places.shift(3)) + (6 << places.shift(17))
    other = (5 << places.shift(3)) + (7 << places.shift(4))
    assert list(places.differing(one, other)) == [(4, 0), (17, 6)]
    assert list(places.each(one)) == [(3, 5), (17, 6)]
    assert len(list(places.columns("1"))) == 3


def test_named_devices_fill_powers_of_two() -> None:
    parts = list(named(range(1, 601)))
    assert [len(part.parameters) for part in parts] == [512, 128]
    assert 600 in parts[1] and 600 not in parts[0]
    assert list(named([7, 7])) == [Devices(7, 7, (7,))]
