"""The rule language: what it takes, what it refuses and how it says so, and that it is three-valued on a database."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from server.catalog.controls import PlatformRule
from server.catalog.lists import ReferenceList
from server.evaluate.language import RuleError
from server.evaluate.rules import Predicate, compile_predicate, compile_rule, lists_named
from server.evaluate.scalar import FUNCTIONS
from server.evaluate.verdicts import Counts, Heard, judge_rows, judge_silence
from server.normalize.calendar import Day

COLUMNS = {"n": "bigint", "d": "double", "t": "text", "some_column": "text"}
PORTS = ReferenceList(
    name="ports",
    title="Ports",
    as_of="2026-11-24",
    columns={"process": "text", "port": "bigint", "why": "text"},
    key=2,
    entries=(("sshd", 22, "remote work"),),
    digest="d",
    file="lists/ports.yaml",
)
LISTS = {"ports": PORTS}
DAY = Day("2026-11-24", "2026-11-23T23:00:00Z", "2026-11-24T23:00:00Z", "Europe/Berlin")


def compiled(text: str) -> Predicate:
    return compile_predicate(text, COLUMNS, LISTS, DAY)


def on_sqlite(sql: str, *rows: tuple[Any, ...], lists: tuple[str, ...] = (), joins: str = "") -> list[tuple[Any, ...]]:
    """What a SELECT from ``r`` gives over rows of ``n, d, t, some_column, _misfit``."""
    database = sqlite3.connect(":memory:")
    try:
        for name, (arguments, function) in FUNCTIONS.items():
            database.create_function(name, arguments, function, deterministic=True)
        database.execute("CREATE TABLE muster_departed_accounts (account TEXT, last_day TEXT)")
        database.execute(
            "CREATE TABLE muster_asset_register (serial TEXT, status TEXT, owner TEXT, from_day TEXT, to_day TEXT)"
        )
        database.execute("CREATE TABLE r (n BIGINT, d DOUBLE PRECISION, t TEXT, some_column TEXT, _misfit TEXT)")
        database.executemany("INSERT INTO r VALUES (?, ?, ?, ?, ?)", rows)
        head = f"WITH {', '.join(lists)} " if lists else ""
        return database.execute(f"{head}SELECT {sql} FROM r{joins}").fetchall()
    finally:
        database.close()


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
        "n + 1 = 2 * d - 0.5",
        " OR ".join(["n = 1"] * 500),
        "n >= day_end() - 45 * 86400",
        "t < day()",
        "day() < '2026-12-01' OR t = 'x'",
        "number(t) > 1.5",
        "version_compare(t, '1.2') >= 0",
        "starts_with(t, '/usr/') OR ends_with(t, '.app') OR contains(t, 'x{y}')",
        "in_list('ports', t)",
        "NOT in_list('ports', t, n)",
        "in_list('ports', 'sshd', n)",
        "list_value('ports', 'why', t, n) = 'x'",
        "version_compare(t, list_value('ports', 'why', 'sshd', 22)) < 0",
        "in_list('departed_accounts', lower(t))",
        "list_value('asset_register', 'owner', t) IS NULL",
    ],
    ids=lambda text: text[:60],
)
def test_what_the_language_has(text: str) -> None:
    predicate = compiled(text)
    on_sqlite(
        f"({predicate.sql}) IS TRUE", lists=tuple(predicate.lists.values()), joins="".join(predicate.joins.values())
    )
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
        ("n = NULL", "write IS NULL"),
        ("n = n", "compares n with itself"),
        ("n = 1 OR 'a' = 'b'", "'a' = 'b' reads no column"),
        ("n BETWEEN 5 AND 1", "holds for nothing"),
        ("day() = '2026-11-24'", "reads no column"),
        ("n + t = 1", "t is a text, where a number is needed"),
        ("t + 'x' = 'y'", "t is a text, where a number is needed"),
        ("n = 9223372036854775808", "no number that every database reads alike"),
        ("d = 0.1234567890123456789", "no number that every database reads alike"),
        ("n = 4503599627370496 * 4", "beyond 2"),
        ("substr(t, -2) = 'x'", "a start from 1"),
        ("substr(t, 1, n) = 'x'", "as plain numbers"),
        ("lower(n) = 'x'", "n is a number, where a text is needed"),
        ("lower(t, t) = 'x'", "takes 1 value"),
        ("coalesce(NULL, NULL) = t", "always null"),
        ("contains(t, '')", "every text has an empty one"),
        ("starts_with('a', 'b') OR n = 1", "reads no column"),
        ("start_with(t, 'x')", "did you mean 'starts_with'"),
        ("in_list('port', t)", "there is no list 'port'; did you mean 'ports'"),
        ("in_list('departed_account', t)", "did you mean 'departed_accounts'"),
        ("in_list(t, n)", "the first value names a list"),
        ("in_list('ports')", "the key of ports is process, port: give 1 to 2"),
        ("in_list('ports', t, n, t)", "give 1 to 2"),
        ("in_list('ports', n)", "n is a number, and process in the list ports is a text"),
        ("in_list('ports', t, some_column)", "some_column is a text, and port in the list ports is a number"),
        ("in_list('ports', 'sshd') OR n = 1", "reads no column"),
        ("list_value('ports', 'whi', t, n) = 'x'", "has no column 'whi'; did you mean 'why'"),
        ("list_value('ports', t, t, n) = 'x'", "names a column of ports"),
        ("list_value('ports', 'why', t) = 'x'", "the key of ports is process, port: give 2"),
        ("list_value('ports', 'why', t, n) = 5", "both sides must be of one kind"),
        ("list_value('ports', 'why', t, n)", "is a value, not a condition"),
        (" OR ".join(["n = 1"] * 600), "more than 500 conditions"),
        ("NOT " * 45 + "n = 1", "levels deep"),
        ("(" * 5000 + "n = 1" + ")" * 5000, "nested too deep|levels deep|not an SQL condition"),
        ("CASE WHEN n = 1 THEN 1 ELSE 0 END = 1", "not in the rule language"),
        (
            " OR ".join(f"list_value('ports', 'why', t, {port}) = 'x'" for port in range(17)),
            "more than 16 different look-ups",
        ),
    ],
    ids=lambda text: text[:60],
)
def test_what_it_refuses_and_how_it_says_so(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        compiled(text)


def test_a_misfit_makes_only_the_rows_undecided_whose_columns_the_rule_reads() -> None:
    rule = PlatformRule(query="q", every="some_column = 'x'", empty="error", confidence="documented")
    judged = compile_rule(rule, COLUMNS, LISTS, DAY)
    rows = [("x", None), ("x", '{"n":"abc"}'), (None, '{"some_column":"abc"}'), (None, None)]
    found = on_sqlite(f"{judged.undecided}, {judged.holds}", *((None, None, None, *row) for row in rows))
    assert found == [(0, 1), (0, 1), (1, 0), (0, 0)]


def test_a_misfit_in_the_applicability_makes_a_row_undecided_too() -> None:
    rule = PlatformRule(query="q", every="t = 'x'", applies_when="n = 1", empty="error", confidence="documented")
    judged = compile_rule(rule, COLUMNS, LISTS, DAY)
    assert judged.deciding == {"t"}
    assert judged.read == {"t", "n"}
    found = on_sqlite(
        f"{judged.undecided}, {judged.applies}", (1, None, "x", "", None), (None, None, "x", "", '{"n":"a"}')
    )
    assert found == [(0, 1), (1, 0)]


def test_a_row_stays_one_whatever_a_list_has_of_it() -> None:
    twice = replace(PORTS, entries=(*PORTS.entries, ("sshd", 22, "more")))
    text = "list_value('ports', 'why', t, 22) = 'x' OR list_value('ports', 'why', t, 22) = 'remote work'"
    predicate = compile_predicate(text, COLUMNS, {"ports": twice}, DAY)
    assert len(predicate.joins) == 1
    rows = [(1, None, "sshd", "", None), (2, None, "ftpd", "", None)]
    found = on_sqlite("r.n", *rows, lists=tuple(predicate.lists.values()), joins="".join(predicate.joins.values()))
    assert found == [(1,), (2,)]


def test_the_day_stands_in_the_sql() -> None:
    assert compiled("n < day_end() - 86400").sql == '(r."n" < 1795561200)'.replace(
        "1795561200", str(1795561200 - 86400)
    )
    assert compiled("t < day()").sql == "(r.\"t\" < '2026-11-24')"


def test_the_lists_that_a_rule_names() -> None:
    rule = PlatformRule(
        query="q", every="in_list('a', t) AND NOT IN_LIST('b', t)", undecided="list_value('c', 'x', t) = 'y'",
        applies_when="nonsense(", empty="error", confidence="draft",
    )  # fmt: skip
    assert lists_named(rule) == {"a", "b", "c"}


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
        ((2, 0, 2, 0, 2), "every", "error", ("not_applicable", "condition")),
        ((2, 0, 2, 0, 1), "every", "error", ("fail", "rows_break_rule")),
        ((2, 0, 1, 1, 1), "every", "error", ("error", "undecided")),
        ((2, 0, 0, 2, 0), "none", "error", ("error", "undecided")),
        ((0, 0, 0, 0, 0), "every", "fail", ("fail", "empty")),
    ],
)
def test_judging_rows(counts: tuple[int, ...], quantifier: str, empty: str, verdict: tuple[str, str | None]) -> None:
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
