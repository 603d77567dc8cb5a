"""Which devices a pack's targets take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.catalog.packs import Pack
from server.catalog.targets import TargetedDevice, Targets, matches

DEVICES = [f"{number:032x}" for number in range(2000)]


def reached(targets: Targets, device: TargetedDevice, pack: str = "a-pack") -> bool:
    return matches(targets, device, pack=pack, platforms=["linux", "darwin"])


def share(percentage: int, pack: str = "a-pack") -> set[str]:
    targets = Targets(percentage=percentage)
    return {device for device in DEVICES if reached(targets, TargetedDevice(device, "linux"), pack)}


@pytest.mark.parametrize(
    ("least", "has", "expected"),
    [
        ("5.10.0", "5.10.0", True),
        ("5.10.0", "5.10", True),
        ("5.10", "5.10.0", True),
        ("5.10.0", "5.9.9", False),
        ("5.9", "5.10.0", True),
        ("5.10.0", "5.10.0-7-gdeadbeef", True),
        ("5.10.1", "5.10.0-7-gdeadbeef", False),
        ("5.10.0", "", False),
        ("5.10.0", "unknown", False),
        ("5", "4.99.99.99", False),
    ],
)
def test_the_least_version_is_compared_as_numbers(least: str, has: str, expected: bool) -> None:
    assert reached(Targets(osquery=least), TargetedDevice("d", "linux", has)) is expected


@pytest.mark.parametrize(
    ("tags", "has", "expected"),
    [
        ({"include": ["eng", "ops"]}, {"ops", "berlin"}, True),
        ({"include": ["eng"]}, set(), False),
        ({"include": ["eng"]}, {"ENG"}, False),
        ({"exclude": ["kiosk"]}, set(), True),
        ({"exclude": ["kiosk", "lab"]}, {"lab"}, False),
        ({"include": ["eng"], "exclude": ["lab"]}, {"eng", "lab"}, False),
        ({"include": ["eng"], "exclude": ["lab"]}, {"eng"}, True),
    ],
)
def test_tags(tags: dict[str, list[str]], has: set[str], expected: bool) -> None:
    targets = Targets.model_validate({"tags": tags})
    assert reached(targets, TargetedDevice("d", "linux", tags=frozenset(has))) is expected


def test_the_platforms_are_those_of_the_pack() -> None:
    pack = Pack.model_validate({"title": "x", "platforms": ["darwin"]})
    assert pack.reaches("a", TargetedDevice("d", "darwin"))
    assert not pack.reaches("a", TargetedDevice("d", "linux"))
    assert not pack.reaches("a", TargetedDevice("d", ""))


def test_every_part_must_hold() -> None:
    targets = Targets.model_validate({"osquery": "5.10", "tags": {"include": ["eng"]}})
    assert reached(targets, TargetedDevice("d", "linux", "5.12.0", frozenset({"eng"})))
    assert not reached(targets, TargetedDevice("d", "linux", "5.1.0", frozenset({"eng"})))
    assert not reached(targets, TargetedDevice("d", "linux", "5.12.0"))


def test_a_percentage_takes_about_that_many_and_all_at_100() -> None:
    assert share(100) == set(DEVICES)
    for percentage in (1, 5, 25, 50, 99):
        assert abs(len(share(percentage)) / len(DEVICES) - percentage / 100) < 0.04


def test_a_percentage_is_the_same_on_every_machine() -> None:
    assert len(share(25)) == 498
    assert len(share(25) & share(25, "another-pack")) < 200


@given(st.text(max_size=40), st.integers(1, 99))
def test_raising_the_percentage_never_drops_a_device(device: str, percentage: int) -> None:
    before = reached(Targets(percentage=percentage), TargetedDevice(device, "linux"))
    after = reached(Targets(percentage=percentage + 1), TargetedDevice(device, "linux"))
    assert after or not before


@pytest.mark.parametrize(
    ("targets", "what"),
    [
        ({}, "give osquery, tags or percentage"),
        ({"osquery": "five"}, "String should match"),
        ({"osquery": 5}, "valid string"),
        ({"percentage": 0}, "greater than or equal to 1"),
        ({"percentage": 101}, "less than or equal to 100"),
        ({"percentage": 12.5}, "valid integer"),
        ({"tags": {}}, "give include, exclude or both"),
        ({"tags": {"include": []}}, "at least 1 item"),
        ({"tags": {"include": ["a", "b"], "exclude": ["b"]}}, "'b' is both included and excluded"),
        ({"platform": "linux"}, "Extra inputs"),
    ],
)
def test_targets_that_are_wrong(targets: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Targets.model_validate(targets)
