"""Whatever JSON an enrolled device sends, the body is stored or set aside with a reason; nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.wire.body import BadBodyError
from server.wire.log import parse_log
from tests.support.stores import add_device, contents, open_store, rows

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(1_700_000_000, 1_790_000_000),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(["", "1790000000", "added", "removed", "snapshot", "users", "pack/x/users@0123456789", "select"]),
)
KEYS = st.one_of(
    st.sampled_from("name unixTime epoch counter numerics columns snapshot diffResults action added removed a".split()),
    st.text(max_size=8),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=70), SCALARS, max_size=4), max_size=3)
LINES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"name": st.text(min_size=1, max_size=70), "unixTime": st.integers(1_700_000_000, 1_790_000_000)},
        optional={
            "snapshot": ROWS,
            "diffResults": st.fixed_dictionaries({"added": ROWS, "removed": ROWS}),
            "counter": st.integers(-1, 3),
            "epoch": st.integers(-1, 3),
            "numerics": st.just(True),
        },
    ),
    st.fixed_dictionaries({"severity": SCALARS, "message": st.text(max_size=50), "unixTime": SCALARS}),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.lists(LINES, max_size=4), min_size=1, max_size=3), kind=st.sampled_from(["result", "status"]))
async def test_any_json_is_stored_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[list[Any]], kind: str
) -> None:
    async with open_store(tmp_path_factory.mktemp("any"), clock=lambda: 1_790_000_100.0) as store:
        device = await add_device(store, "a")
        raws = [json.dumps({"node_key": "k", "log_type": kind, "data": lines}).encode() for lines in bodies]
        for raw in raws:
            body = parse_log(raw)
            await store.ingest(device, body)
            assert len(body.results) + len(body.statuses) + len(body.bad) >= len(json.loads(raw)["data"])
        once = await contents(store)
        for raw in raws:
            await store.ingest(device, parse_log(raw))
        assert await contents(store) == once, "a replay changed something"
        assert all(reason for (reason,) in await rows(store, "SELECT reason FROM rejects"))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for body in (raw, b'{"node_key":"k","data":[' + raw + b"]}"):
        try:
            parse_log(body)
        except BadBodyError:
            continue
