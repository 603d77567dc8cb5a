"""Counts, shares and days as the console shows them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.console.paging import Page, page_of
from server.console.strips import DeviceRun, device_days, totals_by_day, window
from server.console.tally import Tally
from server.evaluate.verdicts import REASONS, STATUSES
from server.report.numbers import per_cent, shown
from server.report.words import ago, long_day, plural, reason_text
from server.store.numbers import CountedRuns

TALLY = Tally({"pass": 41, "fail": 11, "stale": 3, "not_applicable": 4})
COUNTS = st.dictionaries(st.sampled_from(STATUSES), st.integers(1, 10**6))


def test_the_pass_rate_speaks_of_the_judged() -> None:
    assert (TALLY.rate, TALLY.passed, TALLY.judged, TALLY.total) == ("78.84 %", 41, 52, 59)
    assert (TALLY.coverage, TALLY.applicable) == ("94.54 %", 55)
    assert TALLY.left_out == "3 stale, 4 not applicable"
    assert TALLY.sentence == "41 pass, 11 fail, 3 stale, 4 not applicable"


def test_silence_is_never_a_pass() -> None:
    silent = Tally({"stale": 5, "no_data": 2})
    assert (silent.rate, silent.judged, silent.left_out) == ("–", 0, "5 stale, 2 no data")


def test_only_all_is_a_hundred_per_cent_and_only_none_is_zero() -> None:
    assert shown(per_cent(0, 100_000)) == "0 %"
    assert shown(per_cent(10, 100_000)) == "0.01 %"
    assert shown(per_cent(99_996, 100_000)) == "99.99 %"
    assert shown(per_cent(100_000, 100_000)) == "100 %"
    assert shown(per_cent(2, 3)) == "66.66 %"
    assert shown(per_cent(1, 2)) == "50 %"
    assert shown(per_cent(0, 0)) == "–"


@given(COUNTS)
def test_a_bar_is_full_and_shows_everybody(counts: dict[str, int]) -> None:
    for parts in (Tally(counts).bar(), Tally(counts).column()):
        assert {part.status: part.number for part in parts} == counts
        assert all(part.share > 0.5 for part in parts)
        at = 0.0
        for part in parts:
            assert abs(part.start - at) < 0.01
            at = part.start + part.share
        assert not parts or abs(at - 100) < 0.01


RUNS = st.lists(
    st.tuples(
        st.sampled_from([1, 2]), st.sampled_from(STATUSES), st.integers(-5, 9), st.integers(0, 14), st.integers(1, 9)
    )
)


@given(RUNS, st.sets(st.integers(0, 9)))
def test_counted_runs_are_what_counting_each_day_gives(
    drawn: list[tuple[int, str, int, int, int]], judged: set[int]
) -> None:
    # Five days before the window, the window of ten, five after it.
    days = window("2026-03-15", 20)
    shown = days[5:15]
    runs = []
    for control_no, status, first, length, devices in drawn:
        last = min(first + length, 14)
        if last >= 0 and first < 10:
            cut = (days[max(first, 0) + 5], days[min(last, 9) + 5])
            runs.append(CountedRuns(control_no, status, status, 0, *cut, devices))
    counted = {number: {shown[at] for at in judged} for number in (1, 2)}
    for control_no, entries in totals_by_day(runs, shown, counted).items():
        for entry in entries:
            there = [run for run in runs if run.key == control_no and run.first_day <= entry.day <= run.last_day]
            expected: dict[str, int] = {}
            for run in there:
                expected[run.status] = expected.get(run.status, 0) + run.runs
            if entry.day in counted[control_no]:
                assert entry.tally is not None
                assert {s: entry.tally[s] for s in STATUSES if entry.tally[s]} == expected
            else:
                assert entry.tally is None


def test_a_device_has_no_verdict_on_days_nobody_judged() -> None:
    days = window("2026-03-03", 3)
    run = DeviceRun("2026-01-01", None, "pass", "pass", 0, None)
    assert [day.run for day in device_days([run], days, {"2026-03-01", "2026-03-03"})] == [run, None, run]


def test_a_window_ends_with_its_day() -> None:
    assert window("2026-03-01", 3) == ["2026-02-27", "2026-02-28", "2026-03-01"]


def test_words() -> None:
    assert long_day("2026-11-22") == "Sunday 22 November 2026"
    assert plural(1, "device") == "1 device"
    assert plural(10_000, "device") == "10,000 devices"
    assert ago("2026-11-22T00:00:00Z", 1795305600 + 60) == "1 minute ago"
    assert ago("2026-11-22T00:00:00Z", 1795305600 + 3 * 86_400) == "3 days ago"
    assert ago("2026-11-22T00:00:00Z", 1795305600 - 60) == "just now"
    assert all(reason_text(reason).endswith(".") for reason in REASONS)
    assert reason_text(None) == ""
    assert reason_text("a_later_one") == "A_later_one."


def test_pages() -> None:
    assert page_of({}) == page_of({"page": "x"}) == page_of({"page": "0"}) == Page(1)
    page, rows = page_of({"page": "2"}, 3).cut([(1,), (2,), (3,), (4,)])
    assert (page.offset, page.previous, page.following, len(rows)) == (3, 1, 3, 3)
    page, rows = Page(1, 3).cut([(1,)])
    assert (page.previous, page.following, len(rows)) == (None, None, 1)
