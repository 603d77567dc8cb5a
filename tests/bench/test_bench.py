"""The harness at a tiny scale: it runs, its lines say what they must, and what must not be written is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.bench import document
from tests.bench.client import Load, LoadError, send
from tests.bench.measure import Aim, Line, Sample, paired
from tests.bench.registry import BENCHES, Bench
from tests.bench.scale import Scale
from tests.bench.servers import bare_serving

TINY = Scale(share=0.02, rounds=1)
TAKES_ITS_TIME = ("verdict", "collector-idle", "fleet")
SLOW = [bench for bench in BENCHES if bench.name in TAKES_ITS_TIME]
QUICK = [bench for bench in BENCHES if bench not in SLOW]


def places(benches: Sequence[Bench]) -> list[Any]:
    return [pytest.param(bench, kind, id=f"{bench.name}-{kind}") for bench in benches for kind in bench.databases]


def lines_of(bench: Bench, kind: str) -> list[dict[str, Any]]:
    lines = [line.as_dict() for line in bench.measure(kind, TINY)]
    assert lines
    for line in lines:
        assert {"name", "database", "value", "unit", "limit", "ratio", "aim"} <= line.keys()
        assert line["database"] == kind
        assert line["value"] >= 0
        assert line["ratio"] is None or line["limit"] is not None
    return lines


@pytest.mark.parametrize(("bench", "kind"), places(QUICK))
def test_a_benchmark_runs(bench: Bench, kind: str) -> None:
    lines = lines_of(bench, kind)
    if bench.name == "unchanged":
        assert [line["no_row_written"] for line in lines] == [True]
    if bench.name == "new-rows":
        assert all(line["bodies_a_commit"] >= 1 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("bench", "kind"), places(SLOW))
def test_a_benchmark_that_takes_its_time_runs(bench: Bench, kind: str) -> None:
    assert all(line["reached"] is not False for line in lines_of(bench, kind))


def test_a_wrong_answer_makes_no_figure(tmp_path: Any) -> None:
    with bare_serving(tmp_path) as server:
        request = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(LoadError, match="404"):
            send(Load(port=server.port, requests=[request], answer=b"{}"))


def test_value_and_limit_take_turns() -> None:
    order: list[str] = []

    def measured(name: str, rate: float) -> Any:
        def measure(turn: int) -> Sample:
            order.append(f"{name}{turn}")
            return Sample(rate)

        return measure

    taken = paired(2, measured("v", 30.0), measured("l", 60.0))
    assert order == ["v-1", "l-1", "l0", "v0", "v1", "l1"]
    assert taken.ratio == 0.5


def test_results_that_were_not_measured_again_keep_their_date() -> None:
    def result(bench: str, kind: str, date: str) -> dict[str, Any]:
        line = Line(name="n", database=kind, value=2.0, unit="s", limit=1.0, ratio=2.0, aim=Aim(at_most=1))
        made = document.record(bench, Scale(), kind, [line], 0.0)
        return {**made, "date": date}

    old = [
        result("fleet", "sqlite", "2026-01-01"),
        result("small", "sqlite", "2026-01-01"),
        result("gone", "sqlite", ""),
    ]
    kept = document.merged(old, [result("small", "sqlite", "2026-02-02"), result("small", "postgres", "2026-02-02")])
    assert [(r["bench"], r["database"], r["date"]) for r in kept] == [
        ("small", "postgres", "2026-02-02"),
        ("small", "sqlite", "2026-02-02"),
        ("fleet", "sqlite", "2026-01-01"),
    ]
    page = document.text(kept)
    assert "### sqlite, 2026-01-01" in page
    assert "**no**" in page
