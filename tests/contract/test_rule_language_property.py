"""Any condition over any row means on each database what it means in Python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.evaluate.language import RuleError
from server.evaluate.rules import Predicate, compile_predicate
from server.store.driver import Transaction
from server.store.store import Store
from tests.support.rule_reading import COLUMNS, DAY, LISTS, ROWS, Expression, Row, column, parts
from tests.support.stores import open_store, shipped_catalog

# Texts beside each other that chance seldom brings together, with nulls among the numbers.
ALWAYS: list[Row] = [
    {"t": t, "u": u, "n": n, "m": m, "d": d}
    for (t, u), n, m, d in zip(
        product([None, "", "a", "1.10"], repeat=2),
        cycle([None, 0, 7]),
        cycle([7, None]),
        cycle([0.5, None, 7.0, -1.0, 0.0]),
    )
]


CONDITIONS = parts([column("t"), column("u")], [column("n"), column("m")], [column("d")]).conditions


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    shape = "n BIGINT, m BIGINT, d DOUBLE PRECISION, t TEXT, u TEXT"
    async with open_store(tmp_path, shipped_catalog()) as opened:
        await opened.write(lambda tx: tx.run(f"CREATE TABLE muster_tried (number BIGINT, {shape})"))
        yield opened


def compiled(text: str) -> Predicate | None:
    """None for what decides nothing, such as a comparison of two constants."""
    try:
        return compile_predicate(text, COLUMNS, LISTS, DAY)
    except RuleError:
        return None


async def verdicts(tx: Transaction, rows: list[Row], predicates: list[Predicate]) -> list[list[bool | None]]:
    """What each condition is of each row."""
    await tx.run("DELETE FROM muster_tried")
    await tx.many(
        "INSERT INTO muster_tried VALUES (?, ?, ?, ?, ?, ?)",
        [(number, *(row[name] for name in COLUMNS)) for number, row in enumerate(rows)],
    )
    found = []
    for predicate in predicates:
        head = f"WITH {', '.join(predicate.lists.values())} " if predicate.lists else ""
        value = f"CASE WHEN {predicate.sql} THEN 1 WHEN NOT {predicate.sql} THEN 0 END"
        joins = "".join(predicate.joins.values())
        answers = await tx.rows(f"{head}SELECT {value} FROM muster_tried r{joins} ORDER BY r.number")
        found.append([None if answer is None else bool(answer) for (answer,) in answers])
    return found


@settings(
    max_examples=120,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    # Every example empties the table that all of them share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(ROWS, max_size=8).map(lambda rows: [*ALWAYS, *rows]),
    conditions=st.lists(CONDITIONS, min_size=2, max_size=6),
)
async def test_any_condition_over_any_row(store: Store, rows: list[Row], conditions: list[Expression]) -> None:
    pairs = [(condition, predicate) for condition in conditions if (predicate := compiled(condition.text))]
    found = await store.write(lambda tx: verdicts(tx, rows, [predicate for _, predicate in pairs]))
    for (condition, _), answers in zip(pairs, found, strict=True):
        assert answers == [condition.of(row) for row in rows], f"{condition.text} over {rows}"
