"""The rule language: what it takes, what it refuses and how it says so, and that it is three-valued on a database."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from server.catalog.controls import PlatformRule
from server.evaluate.rules import RuleError, compile_predicate, compile_rule
from server.evaluate.verdicts import Counts, Heard, judge_rows, judge_silence

COLUMNS = {"n": "bigint", "d": "double", "t": "text", "some_column": "text"}


@pytest.mark.parametrize(
    "text",
    [
        "n = 1",
        "n <> 1 AND t = 'x'",
        "NOT (n > 1 OR d < 2.5)",
        "t IN ('a', 'b')",
        "n BETWEEN 1 AND 5",
        "t IS NULL",
        "t IS NOT NULL",
        "lower(trim(t)) = 'x'",
        "substr(t, 1, 3) = 'abc'",
        "length(t) > 3",
        "coalesce(n, 0) = 0",
        "n = -1",
        "N = 1",
        "n = d",
    ],
)
def test_what_the_language_has(text: str) -> None:
    predicate = compile_predicate(text, COLUMNS)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE r (n, d, t, some_column)")
    database.execute(f"SELECT ({predicate.sql}) IS TRUE FROM r")
    database.close()
    assert predicate.columns <= COLUMNS.keys()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("n", "is a value, not a condition"),
        ("1 = 1", "reads no column"),
        ("n = 'x'", "both sides must be of one kind"),
        ("t = 5", "both sides must be of one kind"),
        ("nn = 1", "did you mean 'n'"),
        ("some_colum = 'x'", "did you mean 'some_column'"),
        ("r.n = 1", "without a table"),
        ("t LIKE 'a%'", "not in the rule language"),
        ("n + 1 = 2", "not in the rule language"),
        ("n / 0 = 1", "not in the rule language"),
        ("CAST(t AS INTEGER) = 1", "not in the rule language"),
        ("random() = 1", "not in the rule language"),
        ("load_extension('x') = 1", "not in the rule language"),
        ("n IN (SELECT 1)", "not a SELECT"),
        ("(SELECT 1) = n", "not in the rule language"),
        ("EXISTS (SELECT 1)", "not in the rule language"),
        ("n = 1; DROP TABLE x", "not an SQL condition"),
        ("n =", "not an SQL condition"),
        ("n IS TRUE", "IS is for NULL only"),
        ('"no column" = t', "gives no column"),
        ("NOT t", "is a text"),
        ("CASE WHEN n = 1 THEN 1 ELSE 0 END = 1", "not in the rule language"),
    ],
)
def test_what_it_refuses_and_how_it_says_so(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        compile_predicate(text, COLUMNS)


def test_a_misfit_makes_only_the_rows_undecided_whose_columns_the_rule_reads() -> None:
    rule = PlatformRule(query="q", every="some_column = 'x'", empty="error", confidence="documented")
    compiled = compile_rule(rule, COLUMNS)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE r (n, d, t, some_column, _misfit)")
    rows: list[tuple[Any, ...]] = [("x", None), ("x", '{"n":"abc"}'), (None, '{"some_column":"abc"}'), (None, None)]
    database.executemany("INSERT INTO r (some_column, _misfit) VALUES (?, ?)", rows)
    found = database.execute(f"SELECT {compiled.undecided}, {compiled.holds} FROM r").fetchall()
    database.close()
    assert found == [(0, 1), (0, 1), (1, 0), (0, 0)]


@pytest.mark.parametrize(
    ("counts", "quantifier", "empty", "verdict"),
    [
        ((0, 0, 0, 0), "every", "pass", ("pass", None)),
        ((0, 0, 0, 0), "every", "fail", ("fail", "empty")),
        ((0, 0, 0, 0), "any", "error", ("error", "empty")),
        ((0, 0, 0, 0), "none", "not_applicable", ("not_applicable", "empty")),
        ((2, 2, 0, 0), "every", "error", ("pass", None)),
        ((2, 1, 1, 0), "every", "error", ("fail", "rows_break_rule")),
        ((2, 1, 0, 1), "every", "error", ("error", "undecided")),
        ((3, 1, 1, 1), "every", "error", ("fail", "rows_break_rule")),
        ((2, 0, 2, 0), "none", "error", ("pass", None)),
        ((2, 1, 0, 1), "none", "error", ("fail", "rows_match")),
        ((2, 0, 1, 1), "none", "error", ("error", "undecided")),
        ((2, 1, 0, 1), "any", "error", ("pass", None)),
        ((2, 0, 1, 1), "any", "error", ("error", "undecided")),
        ((2, 0, 2, 0), "any", "error", ("fail", "no_row_matches")),
    ],
)
def test_judging_rows(
    counts: tuple[int, int, int, int], quantifier: str, empty: str, verdict: tuple[str, str | None]
) -> None:
    assert judge_rows(Counts(*counts), quantifier, empty) == verdict


@pytest.mark.parametrize(
    ("heard", "verdict"),
    [
        (("", "", "", ""), ("no_data", "never_answered")),
        (("2026-01-01", "ok", "v", "2026-01-01"), ("stale", "too_old")),
        (("2026-01-01", "error", "v", ""), ("no_data", "never_answered")),
        (("2026-02-02", "error", "v", "2026-01-01"), ("error", "query_failed")),
        (("2026-02-02", "denylisted", "v", ""), ("error", "denylisted")),
        (("2026-02-02", "incomplete", "v", "2026-02-02"), ("stale", "incomplete")),
        (("2026-02-02", "ok", "old", "2026-02-02"), ("stale", "other_version")),
        (("2026-02-02", "ok", "v", "2026-02-02"), None),
    ],
)
def test_judging_silence(heard: tuple[str, str, str, str], verdict: tuple[str, str] | None) -> None:
    assert judge_silence(Heard(*heard), "v", "2026-02-01") == verdict
