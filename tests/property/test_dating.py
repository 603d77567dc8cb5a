"""The law of dating: a line that comes again lands where it did, whatever was learned of the clock meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.normalize.clocks import TOLERATED, Clock, heed, reading_of
from server.normalize.dating import DEVICE, MEASURED, RECEIVED, UNSURE, Stretch, date_times, plain

DAY = 86_400
NOW = 1_795_000_000
MAX_AGE = 90 * DAY


class Device:
    """Keeps what the store keeps of a device's clock."""

    def __init__(self) -> None:
        self.stretches: tuple[Stretch, ...] = ()
        self.clocks: list[Clock] = []
        self.seen: dict[int, int] = {}

    def send(self, times: Sequence[int], now: int) -> dict[int, int]:
        """The instants of lines that arrive now; those too old are left out."""
        dated = date_times(times, self.stretches, self.clocks, now, MAX_AGE)
        if dated.stretches and not self.stretches:
            covered = [Stretch(min(self.seen), max(self.seen), 0, DEVICE)] if self.seen else []
            dated = date_times(times, covered, self.clocks, now, MAX_AGE)
        self.stretches = dated.stretches
        stored = {time: when for time, when in dated.when.items() if when >= now - MAX_AGE}
        for time, when in stored.items():
            assert self.seen.setdefault(time, when) == when, "dated anew"
        return stored

    def tell(self, device_at: int, asked: int, now: int, uptime: int | None = None) -> None:
        """Answer a time question."""
        row = {"unix_time": str(device_at), "total_seconds": "" if uptime is None else str(uptime)}
        reading = reading_of(f"muster_time_{asked * 1000}", [row], now)
        assert reading is not None
        clock = heed(self.clocks, reading)
        self.clocks = [clock, *(known for known in self.clocks if known.first_read != clock.first_read)]


OFFSETS = st.sampled_from([0, 5, 59, 61, 300, -300, -300, -900, 3600, -7200, DAY, -DAY, 400 * DAY, -NOW, 30_000 * DAY])


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Steps of (what, seconds later, a number): set the clock, boot, read it, write lines, deliver, replay."""
    kinds = st.sampled_from(["set", "boot", "read", "line", "line", "line", "deliver", "deliver", "replay"])
    return [
        (kind, draw(st.sampled_from([0, 1, 7, 90, 90, 3600, 30_000])), draw(OFFSETS) if kind == "set" else draw(LATE))
        for kind in draw(st.lists(kinds, min_size=4, max_size=40))
    ]


LATE = st.integers(0, 400)


@settings(max_examples=400, deadline=None)
@given(stories(), OFFSETS)
def test_a_second_of_a_clock_is_dated_once(story: list[tuple[str, int, int]], offset: int) -> None:
    device, now, booted = Device(), NOW, NOW - 5000
    waiting: list[int] = []
    sent: list[int] = []
    for what, later, number in story:
        now += later
        if what == "set":
            offset = number
        elif what == "boot":
            booted = now
        elif what == "read":
            device.tell(now + offset, now - number // 4, now + number, now - booted)
        elif what == "line":
            waiting.append(now + offset)
        elif what == "deliver":
            device.send(waiting, now)
            sent, waiting = sent + waiting, []
        else:
            # ``send`` fails if any second lands elsewhere than it did before.
            device.send(sent[number % 4 :], now)
        ends = [edge for stretch in device.stretches for edge in (stretch.first_at, stretch.last_at)]
        assert ends == sorted(ends), "stretches overlap"


@given(st.lists(st.integers(NOW - 80 * DAY, NOW), min_size=1), st.integers(-TOLERATED, TOLERATED))
def test_lines_of_a_clock_that_is_right_stay_as_they_are(times: list[int], off: int) -> None:
    device = Device()
    device.tell(NOW + off, NOW, NOW, 3600)
    assert device.send(times, NOW) == {time: time for time in times}
    assert device.stretches == ()
    assert plain(times, NOW, MAX_AGE)


@given(
    st.lists(st.integers(0, 3000), min_size=1, unique=True), st.sampled_from([-40 * DAY, -7200, 90, 7200, 400 * DAY])
)
def test_a_backlog_of_the_measured_boot_is_corrected(ages: list[int], ahead: int) -> None:
    device = Device()
    device.tell(NOW + ahead, NOW, NOW, 3600)
    assert device.send([NOW + ahead - age for age in ages], NOW + 20) == {NOW + ahead - age: NOW - age for age in ages}
    assert {stretch.basis for stretch in device.stretches} == {MEASURED}


def test_a_backlog_of_another_boot_is_taken_as_it_is_and_flagged() -> None:
    device = Device()
    device.tell(NOW - 7200, NOW, NOW, 3600)
    before = NOW - 7200 - 3601
    assert device.send([before, before + 1], NOW + 10) == {before: before, before + 1: before + 1 + 7200}
    assert [stretch.basis for stretch in device.stretches] == [UNSURE, MEASURED]


def test_a_future_line_of_another_boot_cannot_be_taken_as_it_is() -> None:
    device = Device()
    device.tell(NOW + 7200, NOW, NOW, 3600)
    before = NOW + 7200 - 3601
    assert device.send([before, before + 1], NOW) == {before: before - 7200, before + 1: before + 1 - 7200}
    assert [stretch.basis for stretch in device.stretches] == [RECEIVED, MEASURED]


def test_a_clock_that_was_set_right_is_believed_at_once() -> None:
    """It had been up for less than it was wrong by, so its right time lies before the start it told of."""
    device = Device()
    device.tell(NOW + DAY, NOW, NOW, 600)
    device.send([NOW + DAY - 30], NOW)
    assert device.send([NOW + 50], NOW + 60) == {NOW + 50: NOW + 50}
    assert [stretch.basis for stretch in device.stretches] == [UNSURE, MEASURED]


@pytest.mark.parametrize("dead", [0, -3600, NOW + 366 * DAY, 250_000_000_000])
def test_absurd_times_are_dated_by_their_arrival_and_keep_their_distances(dead: int) -> None:
    device = Device()
    assert device.send([dead, dead + 40], NOW) == {dead: NOW - 40, dead + 40: NOW}
    assert device.send([dead, dead + 40, dead + 100], NOW + 65) == {
        dead: NOW - 40,
        dead + 40: NOW,
        dead + 100: NOW + 60,
    }
    assert [stretch.basis for stretch in device.stretches] == [RECEIVED]


def test_one_absurd_line_does_not_move_the_others() -> None:
    device = Device()
    assert device.send([NOW - 10, NOW + 5000 * DAY], NOW) == {NOW - 10: NOW - 10, NOW + 5000 * DAY: NOW}


def test_what_was_dated_before_the_clock_was_read_stays() -> None:
    device = Device()
    early = [NOW - 3000, NOW - 100]
    assert device.send(early, NOW) == {time: time for time in early}
    device.tell(NOW - 300, NOW, NOW, 7000)
    assert device.send([*early, NOW - 50], NOW + 260)[NOW - 50] == NOW + 250
    assert device.send(early, NOW + 300) == {time: time for time in early}


def test_a_stretch_too_old_for_data_gives_its_future_back() -> None:
    """A clock that was a year ahead, and right since: a year later its seconds come again, and are right."""
    device = Device()
    year = 365 * DAY
    device.send([NOW + year, NOW + year + DAY], NOW + DAY)
    device.tell(NOW + 2 * DAY, NOW + 2 * DAY, NOW + 2 * DAY, 60)
    device.seen.clear()  # long gone
    assert device.send([NOW + year + 60], NOW + year + 60) == {NOW + year + 60: NOW + year + 60}
    assert device.send([NOW + year + 2 * DAY], NOW + year + 2 * DAY) == {NOW + year + 2 * DAY: NOW + year + 2 * DAY}
