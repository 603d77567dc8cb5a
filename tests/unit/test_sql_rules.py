"""Rules of several queries: what is refused, and how it is said; what one reads, and what it needs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.catalog.controls import PlatformRule
from server.catalog.lists import ReferenceList
from server.catalog.sql_text import SqlText
from server.evaluate.aggregates import compile_aggregate, compile_condition, compile_evidence
from server.evaluate.deciding import never_decides
from server.evaluate.language import RuleError
from server.evaluate.rules import ANY_DAY, lists_named
from server.evaluate.sources import Shape

QUERIES = {
    "a": Shape({"n": "bigint", "t": "text", "d": "double"}, "muster_rows_a"),
    "b": Shape({"n": "bigint", "t": "text"}, "muster_rows_b"),
}
LISTS = {"least": ReferenceList("least", "", "", {"what": "text", "version": "text"}, 1, (("x", "1"),), "", "")}


def rule(sql: str, evidence: str = "SELECT n FROM a", applies_when: str | None = None) -> PlatformRule:
    return PlatformRule(sql=sql, evidence=evidence, applies_when=applies_when, empty="error", confidence="documented")


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("COUNT(*) = 0", "give one SELECT"),
        ("SELECT COUNT(*) = 0 FROM", "not an SQL statement"),
        ("SELECT COUNT(*) = 0 FROM a; SELECT 1", "give one SELECT"),
        ("UPDATE a SET n = 1", "give one SELECT"),
        ("SELECT COUNT(*) = 0 FROM a UNION SELECT 1", "UNION: give one SELECT"),
        ("WITH x AS (SELECT 1) SELECT COUNT(*) = 0 FROM a", "WITH is not in the rule language; write the SELECT where"),
        ("SELECT COUNT(*) = 0 FROM a GROUP BY n", "GROUP BY is not in the rule language; compare rows by a JOIN"),
        ("SELECT COUNT(*) = 0 FROM a HAVING COUNT(*) > 1", "HAVING is not in the rule language; put the condition"),
        ("SELECT COUNT(*) = 0 FROM a ORDER BY 1", "ORDER BY is not in the rule language; the rows have no order"),
        ("SELECT COUNT(*) = 0 FROM a LIMIT 1", "LIMIT is not in the rule language; EXISTS says"),
        ("SELECT DISTINCT COUNT(*) = 0 FROM a", r"DISTINCT is not in the rule language; write COUNT\("),
        ("SELECT COUNT(*) OVER () = 1 FROM a", "window is not in the rule language"),
        ("SELECT COUNT(*) FILTER (WHERE n = 1) > 0 FROM a", "filter is not in the rule language"),
        ("SELECT COUNT(*) = 0 FROM a, b", "the joins are JOIN and LEFT JOIN, with ON condition"),
        ("SELECT COUNT(*) = 0 FROM a CROSS JOIN b", "the joins are JOIN and LEFT JOIN, with ON condition"),
        ("SELECT COUNT(*) = 0 FROM a NATURAL JOIN b", "the joins are JOIN and LEFT JOIN, with ON condition"),
        ("SELECT COUNT(*) = 0 FROM a RIGHT JOIN b ON a.n = b.n", "the joins are JOIN and LEFT JOIN"),
        ("SELECT COUNT(*) = 0 FROM a JOIN b USING (n)", "the joins are JOIN and LEFT JOIN, with ON condition"),
        ("SELECT COUNT(*) = 0 FROM a JOIN b", "say ON which condition the rows belong together"),
        ("SELECT COUNT(*) = 0 FROM (SELECT 1) q", "FROM and JOIN take a query of these packs, by its name"),
        ("SELECT COUNT(*) = 0 FROM main.a", "FROM and JOIN take the name of a query"),
        ("SELECT COUNT(*) = 0 FROM f(1)", "FROM and JOIN take a query of these packs"),
        ("SELECT COUNT(*) = 0 FROM bb", r"there is no query 'bb' here; did you mean 'b'\?"),
        ("SELECT COUNT(*) = 0 FROM a JOIN a ON a.n = a.n", "a is the name of two tables"),
        ("SELECT COUNT(*) = 0 FROM a WHERE EXISTS (SELECT 1 FROM a WHERE a.n = 1)", "a is the name of two tables"),
        ("SELECT COUNT(*) = 0 FROM a JOIN b ON a.n = b.n WHERE n = 1", "say of which table, such as a.n"),
        ("SELECT COUNT(*) = 0 FROM a x WHERE a.n = 1", "there is no table 'a' here; known are: x"),
        ("SELECT COUNT(*) = 0 FROM a JOIN b ON b.n = c.n JOIN b c ON c.n = a.n", "there is no table 'c' here"),
        ("SELECT COUNT(*) = 0 FROM a WHERE nn = 1", r"the query a gives no column 'nn'; did you mean 'n'\?"),
        ("SELECT n = 1 FROM a", "n has a value for every row: write MIN or MAX of it"),
        ("SELECT a.n = 1 AND COUNT(*) = 1 FROM a", "a.n has a value for every row"),
        ("SELECT EXISTS (SELECT 1 FROM b) FROM a", "would give a value for every row: make one of them by COUNT"),
        ("SELECT (SELECT COUNT(*) FROM b WHERE b.n = a.n) > COUNT(*) FROM a", "a.n has a value for every row"),
        ("SELECT COUNT(*) = 0 FROM a WHERE (SELECT MAX(a.n) FROM b) = 1", "there is no table 'a' here"),
        ("SELECT COUNT(*) = 0 FROM a WHERE COUNT(*) = 1", r"count\(\) is of many rows"),
        ("SELECT SUM(MAX(n)) = 1 FROM a", r"max\(\) is of many rows"),
        ("SELECT COUNT(*) FROM a", "selects a value, not a condition"),
        ("SELECT COUNT(*) = 0, 1 FROM a", "select one value, not 2"),
        ("SELECT COUNT(*) = 0", "say FROM which query"),
        ("SELECT 1 = 1", "reads no column"),
        ("SELECT COUNT(1) = 1 FROM a", r"reads no column: write COUNT\(\*\)"),
        ("SELECT MAX(*) = 1 FROM a", "MAX takes a value; only COUNT counts whole rows"),
        ("SELECT MAX(n, n) = 1 FROM a", "MAX takes one value"),
        ("SELECT SUM(DISTINCT n) = 1 FROM a", "DISTINCT goes with COUNT and one value"),
        ("SELECT COUNT(n = 1) = 1 FROM a", "COUNT takes values, not a condition: count rows WHERE it is true"),
        ("SELECT SUM(d) = 1 FROM a", "SUM takes whole numbers; a sum of fractions depends on the order"),
        ("SELECT AVG(n) = 1 FROM a", r"avg\(\) is not in the rule language; compare SUM\(x\) with a multiple"),
        ("SELECT MAX(t) = 1 FROM a", "compares number with text"),
        ("SELECT COUNT(*) = 0 FROM a WHERE n IN (SELECT n FROM b)", "IN takes a list of values, not a SELECT; sql:"),
        ("SELECT COUNT(*) = 0 FROM a JOIN b ON EXISTS (SELECT 1 FROM a z)", "no SELECT within ON; put it into WHERE"),
        ("SELECT MAX((SELECT COUNT(*) FROM b)) = 1 FROM a", "reads no column"),
        ("SELECT EXISTS (SELECT n FROM a)", r"write EXISTS \(SELECT 1 FROM …\)"),
        ("SELECT EXISTS (SELECT 1)", "say FROM which query"),
        ("SELECT CASE n WHEN 1 THEN COUNT(*) = 1 END FROM a", "write CASE WHEN condition THEN value"),
        ("SELECT CASE WHEN COUNT(*) = 1 THEN 1 ELSE 'a' END = 1 FROM a", "number or text: one kind of value"),
        ("SELECT CASE WHEN COUNT(*) = 1 THEN NULL END FROM a", "is always null"),
        ("SELECT " + " AND ".join(f"EXISTS (SELECT 1 FROM a z{i})" for i in range(13)), "more than 12 tables"),
        ("SELECT COUNT(*) = 0 FROM a WHERE " + "n = 1 OR (t = 'x' AND (" * 9 + "n = 2" + "))" * 9, "too much is"),
        ("SELECT COUNT(*) = 0 FROM a" + " JOIN b" * 12, "every JOIN takes its ON"),
    ],
    ids=lambda text: text[:70],
)  # fmt: skip
def test_what_it_refuses_and_how_it_says_so(sql: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        compile_condition(sql, QUERIES, LISTS, ANY_DAY)


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        ("SELECT COUNT(*) AS n FROM a", r"count\(\) is of many rows"),
        ("SELECT 1 AS one", "say FROM which query the rows are"),
        ("SELECT * FROM a", "is not in the rule language"),
        ("SELECT a.* FROM a", "name the columns"),
        ("SELECT lower(t) FROM a", r"give it a name, lower\(t\) AS name"),
        ("SELECT n = 1 AS yes FROM a", "is a boolean: evidence shows values; conditions go into WHERE"),
        ("SELECT x.n, y.n FROM a x JOIN a y ON x.t = y.t", "two columns are named n"),
        ("SELECT n FROM b", "the rule does not judge b, so its rows are no evidence"),
        ("SELECT n FROM a LIMIT 3", "LIMIT is not in the rule language"),
        ('SELECT n AS "a b" FROM a', "give it a name"),
    ],
)
def test_evidence_is_rows_of_the_queries_that_are_judged(evidence: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        compile_evidence(rule("SELECT COUNT(*) = 0 FROM a", evidence), QUERIES, LISTS, ANY_DAY)


def test_evidence_may_be_distinct_and_of_several_queries() -> None:
    judged = rule(
        "SELECT COUNT(*) = 0 FROM a JOIN b ON a.n = b.n",
        "SELECT DISTINCT a.n, lower(b.t) AS name, list_value('least', 'version', a.t) AS least FROM a"
        " LEFT JOIN b ON a.n = b.n WHERE EXISTS (SELECT 1 FROM b c WHERE c.n = a.n)",
    )
    asked = compile_evidence(judged, QUERIES, LISTS, ANY_DAY)
    assert asked.columns == ("n", "name", "least")
    assert set(asked.lists) == {"least"}


def test_what_a_rule_reads_is_by_query() -> None:
    judged = rule(
        "SELECT COUNT(*) = 0 FROM a JOIN a z ON a.n = z.n WHERE list_value('least', 'version', a.t) IS NULL",
        applies_when="SELECT COUNT(*) > 0 FROM b",
    )
    compiled = compile_aggregate(judged, QUERIES, LISTS, ANY_DAY)
    assert judged.queries == compiled.queries == ("a", "b")
    assert compiled.read == {"a": {"n", "t"}, "b": frozenset()}
    assert lists_named(judged) == {"least"}


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"sql": "SELECT 1", "evidence": "x", "query": "a"}, "sql goes without query"),
        ({"sql": "SELECT 1"}, "sql needs evidence"),
        ({"sql": "SELECT 1", "evidence": "x", "undecided": "n = 1"}, "sql goes without undecided"),
        ({"sql": "SELECT 1", "evidence": "x", "every": "n = 1"}, "exactly one of every, none, any, sql"),
        ({"every": "n = 1", "query": "a", "evidence": "x"}, "evidence goes with sql"),
        ({"every": "n = 1"}, "key 'query' is missing"),
    ],
)
def test_which_keys_go_together(keys: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        PlatformRule(empty="pass", confidence="draft", **keys)


def test_a_rule_that_never_decides() -> None:
    assert list(never_decides(rule("SELECT COUNT(*) >= 0 FROM a"))) == [("sql", "is true of every device")]
    assert list(never_decides(rule("SELECT COUNT(*) > 3 AND COUNT(*) < 2 FROM a"))) == [
        ("sql", "is true of no device: it contradicts itself")
    ]
    assert not list(never_decides(rule("SELECT COUNT(*) > 3 AND MAX(n) < 2 FROM a")))
    assert not list(never_decides(rule("SELECT SUM(n) IS NULL FROM a", applies_when="SELECT COUNT(*) > 1 FROM b")))


def test_depth_is_counted_as_a_parser_holds_it() -> None:
    flat, deep = SqlText("SELECT a FROM b WHERE c = 1", 1), SqlText("SELECT " + "f(" * 10 + "a" + ")" * 10, 1)
    assert flat.parser_depth() < 10
    assert 50 < deep.parser_depth() < 70
    assert SqlText("))) end end", 1).parser_depth() <= 2
