"""Any rule of several queries says of a device on each database what it says in Python."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from server.catalog.controls import PlatformRule
from server.evaluate.aggregate_statements import codes
from server.evaluate.aggregates import Aggregate, compile_aggregate
from server.evaluate.language import RuleError
from server.evaluate.sources import Shape
from server.evaluate.verdicts import BREAKS, HOLDS, NO_ROWS, OUTSIDE, UNDECIDED
from server.store.driver import Transaction
from server.store.store import Store
from tests.support.aggregate_reading import QUERIES, read, rules
from tests.support.rule_reading import COLUMNS, DAY, LISTS, ROWS, Expression
from tests.support.stores import open_store, shipped_catalog

SHAPES = {query: Shape(COLUMNS, f"muster_tried_{query}") for query in QUERIES}
MISFIT = "misfit"
ALIKE = st.fixed_dictionaries(
    {
        name: st.none() | {"bigint": st.sampled_from([0, 1]), "double": st.sampled_from([0.5, 1.0]),
                           "text": st.sampled_from(["", "a", "1.2"])}[kind]
        for name, kind in COLUMNS.items()
    }
)  # fmt: skip
"""Rows that often have something in common."""
HELD = st.tuples(ROWS | ALIKE | ALIKE, st.sampled_from([*[""] * 40, *COLUMNS])).map(
    lambda pair: {**pair[0], **({pair[1]: None} if pair[1] else {}), MISFIT: pair[1]}
)
DEVICES = st.fixed_dictionaries({query: st.lists(HELD, max_size=3) for query in QUERIES})
Device = Mapping[str, Sequence[Mapping[str, Any]]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    own = "device_no BIGINT, valid_from TEXT, valid_to TEXT, muster_superseded_seq BIGINT, _misfit TEXT"
    shape = "n BIGINT, m BIGINT, d DOUBLE PRECISION, t TEXT, u TEXT"

    async def make(tx: Transaction) -> None:
        for one in SHAPES.values():
            await tx.run(f"CREATE TABLE {one.rows} ({own}, {shape})")

    async with open_store(tmp_path, shipped_catalog()) as opened:
        await opened.write(make)
        yield opened


def compiled(sql: Expression, applies: Expression | None) -> Aggregate | None:
    """None for what decides nothing, such as a comparison of two constants."""
    rule = PlatformRule(
        sql=sql.text, applies_when=applies.text if applies else None, evidence="SELECT n FROM a", empty="error",
        confidence="draft",
    )  # fmt: skip
    try:
        return compile_aggregate(rule, SHAPES, LISTS, DAY)
    except RuleError:
        return None


def expected(sql: Expression, applies: Expression | None, device: Device) -> int:
    reads = read([sql.text, *([applies.text] if applies else [])])
    if not any(device[query] for query in reads):
        return NO_ROWS
    if any(row[MISFIT] in columns for query, columns in reads.items() for row in device[query]):
        return UNDECIDED
    if applies:
        there = applies.of({"@": device})
        if there is not True:
            return UNDECIDED if there is None else OUTSIDE
    holds = sql.of({"@": device})
    return UNDECIDED if holds is None else HOLDS if holds else BREAKS


async def found(tx: Transaction, devices: Sequence[Device], aggregates: Sequence[Aggregate]) -> list[list[int]]:
    """What each rule says of each device. Rows that are over, not yet true, or taken back are there too."""
    for query, shape in SHAPES.items():
        await tx.run(f"DELETE FROM {shape.rows}")
        rows = []
        for number, device in enumerate(devices):
            for place, row in enumerate(device[query]):
                values = [row[name] for name in COLUMNS]
                misfit = json.dumps({row[MISFIT]: "?"}, separators=(",", ":")) if row[MISFIT] else None
                until = [None, "2026-11-25T00:00:00Z", "2026-12-01T00:00:00Z"][place % 3]
                rows.append((number, "2026-11-24T23:59:59Z", until, None, misfit, *values))
                rows.append((number, "2026-11-24T10:00:00Z", "2026-11-24T23:59:59Z", None, misfit, *values))
                rows.append((number, "2026-11-25T00:00:00Z", None, None, misfit, *values))
                rows.append((number, "2026-11-24T10:00:00Z", None, 7, misfit, *values))
        await tx.many(f"INSERT INTO {shape.rows} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(len(devices)))
    moments = f"SELECT d.number AS device_no, CAST(? AS TEXT) AS until_at FROM ({numbers}) d"
    return [
        [code for _, code in sorted(await tx.rows(codes(aggregate, moments), (DAY.ends_at,)))]
        for aggregate in aggregates
    ]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    # Every example empties the tables that all of them share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    devices=st.lists(DEVICES, min_size=2, max_size=6),
    conditions=st.lists(st.tuples(rules(), st.none() | st.none() | rules()), min_size=2, max_size=4),
)
async def test_any_rule_of_any_device(
    store: Store, devices: list[Device], conditions: list[tuple[Expression, Expression | None]]
) -> None:
    pairs = [(one, aggregate) for one in conditions if (aggregate := compiled(*one))]
    said = await store.write(lambda tx: found(tx, devices, [aggregate for _, aggregate in pairs]))
    for ((sql, applies), _), answers in zip(pairs, said, strict=True):
        what = f"{sql.text}, applies_when {applies.text if applies else None}"
        assert answers == [expected(sql, applies, device) for device in devices], f"{what} over {devices}"
