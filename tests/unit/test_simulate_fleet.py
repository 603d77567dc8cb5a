"""The simulated fleet: the same for the same seed, changing as its parts say, with every part played."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from server.simulate.device import PARTS, Device, make_device, part_of
from server.simulate.dice import Dice
from server.simulate.fleet import shares, span_of
from server.simulate.models import AGENT_OLD, UNSUPPORTED
from server.simulate.presence import DAY, Span, awake_at, date_of, rounds, session, window
from server.simulate.timeline import state_at

SPAN = Span(20_000, 30)


def device(part: str, seed: int = 1) -> Device:
    return next(found for at in range(200) if (found := make_device(seed, at)).part == part)


def test_the_same_seed_is_the_same_fleet_everywhere() -> None:
    # Written down once: another machine or Python has to come to the same.
    assert Dice(1, "device", 0).number("platform") == 3450190928988370212
    first = make_device(1, 0)
    assert (first.hostname, first.part) == ("ber-win-lt-0001", "clone_too")
    assert [make_device(1, at) for at in range(50)] == [make_device(1, at) for at in range(50)]
    assert [make_device(2, at).hardware_uuid for at in range(9)] != [
        make_device(1, at).hardware_uuid for at in range(9)
    ]


def test_every_part_is_played_among_the_first_devices_on_a_platform_that_has_it() -> None:
    for seed in (1, 2, 3):
        assert {part_of(seed, at) for at in range(len(PARTS))} == set(PARTS)
        assert all(make_device(seed, at).platform in PARTS[part_of(seed, at)] for at in range(120))
        parts = [part_of(seed, at) for at in range(len(PARTS), 5 * len(PARTS))]
        assert sum(part.startswith("plain") for part in parts) > len(parts) / 2


def test_hostnames_are_unique_and_clones_share_their_hardware() -> None:
    fleet = [make_device(1, at) for at in range(200)]
    assert len({found.hostname for found in fleet}) == 200
    clones = [found for found in fleet if found.part.startswith("clone")]
    assert len(clones) > 1
    assert len({(clone.hardware_uuid, clone.serial) for clone in clones}) == 1


def test_facts_change_on_the_days_of_the_part_and_only_then() -> None:
    found = device("encrypted_later")
    states = [state_at(found, SPAN, (SPAN.first + day) * DAY + DAY // 2).encrypted for day in range(40)]
    assert states[0] is False and states[-1] is True
    assert sorted(states) == states
    old = device("upgraded_late")
    assert state_at(old, SPAN, SPAN.first * DAY).release in UNSUPPORTED.values()
    assert state_at(old, SPAN, (SPAN.first + 40) * DAY).release not in UNSUPPORTED.values()
    assert state_at(device("old_agent"), SPAN, (SPAN.first + 40) * DAY).agent == AGENT_OLD


def test_a_passing_trouble_begins_and_ends_within_the_span() -> None:
    for part, fact in (
        ("telnet", "telnet"),
        ("second_root", "second_root"),
        ("failing", "broken"),
        ("denylisted", "denied"),
    ):
        found = device(part)
        shown = [bool(getattr(state_at(found, SPAN, (SPAN.first + day) * DAY), fact)) for day in range(31)]
        assert not shown[0] and not shown[-1] and 3 <= sum(shown) <= 12, part


def test_laptops_sleep_at_night_and_servers_do_not() -> None:
    laptop = replace(device("unencrypted"), kind="laptop")
    server = replace(laptop, kind="server")
    for day in range(SPAN.first, SPAN.first + 14):
        assert 1 <= len(rounds(server, SPAN, day)) <= 2
        awake = session(laptop, SPAN, day)
        if date_of(day).weekday() < 5:
            assert awake and 1 <= len(rounds(laptop, SPAN, day)) <= 2
            assert day * DAY <= awake.start < awake.end <= (day + 1) * DAY - 240, "a skewed clock keeps the day"
            assert not awake_at(laptop, SPAN, awake.start - 1) and awake_at(laptop, SPAN, awake.start)
        for now in rounds(laptop, SPAN, day):
            assert awake and awake.start <= now < awake.end - 60
    assert {len(rounds(laptop, SPAN, day)) for day in range(SPAN.first, SPAN.first + 30)} == {0, 1, 2}
    assert awake_at(server, SPAN, SPAN.first * DAY)


def test_absences_are_silent() -> None:
    for part in ("departed", "holiday"):
        found = device(part)
        begin, _ = window(found, SPAN)
        assert not any(rounds(found, SPAN, day) for day in range(begin, begin + 5)), part
    late = device("joined_late")
    assert not any(rounds(late, SPAN, day) for day in range(SPAN.first, window(late, SPAN)[0]))


def test_a_span_is_the_whole_days_before_today() -> None:
    now = 20_600 * DAY + 5000
    assert span_of(8, now) == Span(20_592, 8)
    assert span_of(0, now) == Span(20_570, 30)
    assert date_of(20_600) == date(2026, 5, 27)


def test_shares_cover_the_fleet_once() -> None:
    assert shares(10, 3) == [(0, 3), (3, 3), (6, 4)]
    assert shares(2, 4) == [(0, 1), (1, 1)]
