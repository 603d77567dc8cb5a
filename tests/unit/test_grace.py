"""Which days are those of a new device's grace."""

from datetime import date, timedelta

import pytest

from server.evaluate.grace import grace_from
from server.normalize.calendar import ALWAYS, Calendar

CALENDAR = Calendar([(ALWAYS, "Europe/Berlin"), ("2026-06-04", "America/Los_Angeles")])


@pytest.mark.parametrize(
    ("in_scope_from", "grace_days", "first_day"),
    [
        ("2026-06-01T21:59:59Z", 1, "2026-06-01"),
        ("2026-06-01T22:00:00Z", 1, "2026-06-02"),  # midnight in Berlin
        ("2026-06-01T21:59:59Z", 5, "2026-06-01"),  # over the change of zone
        ("2026-06-04T22:00:00Z", 2, "2026-06-04"),  # the 4th goes on until it ends in Los Angeles
        ("2026-06-01T12:00:00Z", 30, "2026-06-01"),
        ("2026-06-01T12:00:00Z", 0, None),
    ],
)
def test_so_many_days_from_the_first_in_scope_on(in_scope_from: str, grace_days: int, first_day: str | None) -> None:
    found = []
    for number in range(60):
        day = CALENDAR.day(date(2026, 5, 20) + timedelta(days=number))
        if grace_from(CALENDAR, day, grace_days) <= in_scope_from < day.ends_at:
            found.append(day.day)
    expected = (
        [(date.fromisoformat(first_day) + timedelta(days=n)).isoformat() for n in range(grace_days)]
        if first_day
        else []
    )
    assert found == expected
