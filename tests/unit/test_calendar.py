"""Calendar days: daylight saving, midnights that there are not or twice, and changes of zone."""

from datetime import date, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.normalize.calendar import ALWAYS, Calendar, Day, day_of
from server.normalize.times import iso, unix

ZONES = (
    *("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Kiritimati"),
    *("America/Asuncion", "Africa/Cairo", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Pago_Pago"),
)


def hours(day: Day) -> float:
    return (unix(day.ends_at) - unix(day.starts_at)) / 3600


def test_days_have_23_24_and_25_hours() -> None:
    spring, autumn = day_of(date(2026, 3, 29), "Europe/Berlin"), day_of(date(2026, 10, 25), "Europe/Berlin")
    assert (spring.starts_at, spring.ends_at) == ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
    assert (autumn.starts_at, autumn.ends_at) == ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
    assert hours(day_of(date(2026, 4, 5), "Australia/Lord_Howe")) == 24.5


@pytest.mark.parametrize(
    ("zone", "day", "starts_at", "length"),
    [
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00:00Z", 23),  # 00:00 became 01:00
        ("Africa/Cairo", date(2026, 10, 29), "2026-10-28T21:00:00Z", 25),  # 24:00 became 23:00
        ("America/Asuncion", date(2023, 10, 1), "2023-10-01T04:00:00Z", 23),
        ("America/Asuncion", date(2024, 3, 23), "2024-03-23T03:00:00Z", 25),
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00:00Z", 25),  # 01:00 became 00:00: midnight came twice
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00:00Z", 23),
    ],
)  # fmt: skip
def test_a_midnight_that_is_skipped_or_comes_twice(zone: str, day: date, starts_at: str, length: int) -> None:
    found = day_of(day, zone)
    assert (found.starts_at, hours(found)) == (starts_at, length)
    calendar, begins = Calendar([(ALWAYS, zone)]), unix(starts_at)
    assert [calendar.today(begins + step).isoformat() for step in (-1, 0, 3600, length * 3600 - 1)] == [
        (day - timedelta(days=1)).isoformat(), *[day.isoformat()] * 3,
    ]  # fmt: skip


def test_a_minute_past_midnight_that_comes_before_it_again_is_of_the_new_day() -> None:
    calendar = Calendar([(ALWAYS, "America/St_Johns")])  # up to 2011 clocks went back at 00:01, to 23:01
    day = calendar.day(date(2010, 11, 7))
    assert (day.starts_at, hours(day)) == ("2010-11-07T02:30:00Z", 25)
    assert calendar.today(unix("2010-11-07T03:00:00Z")) == date(2010, 11, 7)


def test_a_day_that_a_country_left_out_holds_no_instant() -> None:
    calendar = Calendar([(ALWAYS, "Pacific/Apia")])
    left_out = calendar.day(date(2011, 12, 30))
    assert left_out.starts_at == left_out.ends_at == "2011-12-30T10:00:00Z"
    assert calendar.today(unix("2011-12-30T10:00:00Z")) == date(2011, 12, 31)


def test_today_is_the_zones() -> None:
    noon_utc = 1_774_785_600  # 2026-03-29T12:00:00Z
    assert Calendar().today(noon_utc) == date(2026, 3, 29)
    assert Calendar([(ALWAYS, "Pacific/Kiritimati")]).today(noon_utc) == date(2026, 3, 30)
    assert Calendar([(ALWAYS, "UTC")]).day_at("2026-03-29T23:59:59Z").day == "2026-03-29"


@pytest.mark.parametrize(
    ("before", "after", "length"),
    [("Europe/Berlin", "America/Los_Angeles", 33), ("America/Los_Angeles", "Europe/Berlin", 15), ("UTC", "UTC", 24)],
)
def test_the_first_day_of_another_zone_begins_where_the_last_one_ended(before: str, after: str, length: int) -> None:
    plain, changed = Calendar([(ALWAYS, before)]), Calendar([(ALWAYS, before), ("2026-06-02", after)])
    assert changed.day(date(2026, 6, 1)) == plain.day(date(2026, 6, 1))
    first = changed.day(date(2026, 6, 2))
    assert (first.starts_at, first.zone, hours(first)) == (plain.day(date(2026, 6, 1)).ends_at, after, length)
    assert changed.day(date(2026, 6, 3)) == day_of(date(2026, 6, 3), after)


@given(
    st.lists(st.tuples(st.dates(date(2020, 1, 1), date(2026, 12, 31)), st.sampled_from(ZONES)), max_size=4),
    st.dates(date(2020, 1, 1), date(2026, 12, 31)),
    st.floats(0, 1, exclude_max=True),
)
@example([(date(2024, 3, 24), "Pacific/Pago_Pago")], date(2024, 3, 24), 0.99)
def test_days_follow_on_each_other_and_every_instant_is_in_one(
    zones: list[tuple[date, str]], day: date, part: float
) -> None:
    calendar = Calendar([(first.isoformat(), zone) for first, zone in zones])
    here, after = calendar.day(day), calendar.day(day + timedelta(days=1))
    assert here.ends_at == after.starts_at
    length = unix(here.ends_at) - unix(here.starts_at)
    if length > 0:
        at = unix(here.starts_at) + int(part * length)
        assert calendar.today(at) == day
        assert calendar.day_at(iso(at)) == here
