"""Traits and the company's files: every oddity is shown somewhere, plain devices have none, leavers are found out."""

from __future__ import annotations

import pytest

from server.simulate.areas import JUDGES, TRAITS
from server.simulate.company import Company, company_of
from server.simulate.device import PARTS, PLACEHOLDER_SERIAL, PLAIN, make_device
from server.simulate.presence import DAY, Span
from server.simulate.timeline import state_at
from server.simulate.truth import JUDGED

SPAN = Span(20_000, 30)
USUAL = {(trait.name, platform): trait.usual for trait in TRAITS for platform in trait.platforms}


def oddities(seed: int, count: int) -> dict[int, set[tuple[str, str, str]]]:
    """By device: every odd value it has on some day, with the trait and the platform."""
    found: dict[int, set[tuple[str, str, str]]] = {}
    for index in range(count):
        device = make_device(seed, index)
        found[index] = set()
        for day in range(SPAN.first, SPAN.first + SPAN.days + 1):
            for name, value in state_at(device, SPAN, day * DAY).traits.items():
                if value != USUAL[name, device.platform]:
                    found[index].add((name, value, device.platform))
    return found


def test_the_first_devices_show_every_oddity_their_kinds_can_have() -> None:
    shown = set().union(*oddities(1, len(PARTS)).values())
    kinds = {(device.platform, device.kind) for device in (make_device(1, at) for at in range(len(PARTS)))}
    wanted = {
        (trait.name, value, platform)
        for trait in TRAITS
        for platform in trait.platforms
        for value in trait.odd
        if any((platform, kind) in kinds for kind in trait.kinds)
    }
    assert len(wanted - shown) <= len(wanted) // 20, sorted(wanted - shown)


def test_plain_devices_have_no_oddities_and_the_others_few() -> None:
    found = oddities(1, 120)
    for index, odd in found.items():
        assert not odd or make_device(1, index).part not in PLAIN
    late = [len(odd) for index, odd in found.items() if index >= len(PARTS)]
    assert 0 < sum(late) / len(late) < 6


def test_no_control_is_judged_by_two_areas_and_none_forgotten() -> None:
    assert set(JUDGES) < JUDGED


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_company_knows_who_leaves_and_which_machines_it_has(seed: int) -> None:
    fleet = [make_device(seed, index) for index in range(60)]
    company = company_of(fleet, SPAN)
    assert company.last_days and not any(company.left(owner, SPAN.first) for owner in company.last_days)
    assert all(company.left(owner, SPAN.first + SPAN.days) for owner in company.last_days)
    registered = {asset.shown for asset in company.assets()}
    assert PLACEHOLDER_SERIAL not in registered and 0 < len({device.serial for device in fleet} - registered) < 10
    assert {person.person for person in company.people()} >= set(company.last_days)
    assert not Company().wrote and Company().tags(fleet[0]) == frozenset()
