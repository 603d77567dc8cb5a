"""Runs of days: whatever order days are judged in, and judged again, the runs say what was said last of each day."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from server.evaluate.runs import VerdictRun, place
from server.evaluate.verdicts import Verdict

VERDICTS = st.sampled_from([Verdict("pass", "pass", 0, None), Verdict("fail", "fail", 0, "empty"), None])
DAYS = st.integers(0, 12).map(lambda n: (date(2026, 3, 25) + timedelta(days=n)).isoformat())


def spread(runs: list[VerdictRun], latest: str) -> dict[str, Verdict]:
    days: dict[str, Verdict] = {}
    for run in runs:
        day = date.fromisoformat(run.first_day)
        while day.isoformat() <= (run.last_day or latest):
            assert day.isoformat() not in days, "two runs on one day"
            days[day.isoformat()] = run.verdict
            day += timedelta(days=1)
    return days


@given(st.lists(st.tuples(DAYS, VERDICTS), min_size=1, max_size=25))
def test_runs_say_what_was_said_last(judged: list[tuple[str, Verdict | None]]) -> None:
    runs: list[VerdictRun] = []
    said: dict[str, Verdict | None] = {}
    latest: str | None = None
    for day, verdict in judged:
        runs = place(runs, day, latest, verdict)
        latest = max(latest or day, day)
        said[day] = verdict
        assert spread(runs, latest) == {d: v for d, v in said.items() if v is not None}
        assert place(runs, day, latest, verdict) == runs, "judging a day again changes nothing"
        for left, right in pairwise(runs):
            touching = left.last_day and date.fromisoformat(left.last_day) + timedelta(days=1)
            assert left.verdict != right.verdict or touching != date.fromisoformat(right.first_day)
        assert not any(run.last_day == latest for run in runs), "the run of the last judged day goes on"
