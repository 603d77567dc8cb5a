"""The spool: order, numbering, what gives way, and what is told of it."""

from __future__ import annotations

import json
import stat
import threading
from collections import Counter
from pathlib import Path

import pytest

from collector.spool import Batch, Gap, Line, Spool

BUDGET = 2 * 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Spool:
    return Spool(path, BUDGET)


def result(n: int, size: int = 10, name: str = "q") -> Line:
    return Line("result", name, 1000 + n, b"%d " % n + b"x" * size)


def status(n: int, size: int = 10) -> Line:
    return Line("status", "", 1000 + n, b"status %d " % n + b"x" * size)


def snapshot(n: int, name: str = "s", size: int = 10) -> Line:
    return Line("snapshot", name, 1000 + n, b"snapshot %d " % n + b"x" * size)


def answer(n: int, size: int = 10) -> Line:
    return Line("answer", "", 1000 + n, b"answer %d " % n + b"x" * size)


def drained(spool: Spool, lane: str = "log", lines: int = 100) -> list[Line]:
    seen: list[Line] = []
    while (batch := spool.batch(lane, 10**6, lines)) is not None:
        seen += batch.lines
        spool.settle(batch)
    return seen


def some(batch: Batch | None) -> Batch:
    assert batch is not None
    return batch


def gaps(lines: list[Line]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if line.kind == "gap":
            said = json.loads(line.text)
            found[said["name"], said["reason"]] += said["lines"]
    return found


def test_lines_come_out_in_their_order(spool: Spool) -> None:
    lines = [result(0), snapshot(1), status(2), result(3), snapshot(4)]
    spool.put(lines[:2])
    spool.put(lines[2:])
    assert drained(spool, lines=2) == lines
    assert drained(spool) == []


def test_lanes_do_not_wait_for_each_other(spool: Spool) -> None:
    spool.put([result(0), answer(1), result(2)])
    assert some(spool.batch("live", 10**6, 10)).lines == (answer(1),)
    assert drained(spool) == [result(0), result(2)]
    assert drained(spool, "live") == [answer(1)]


def test_a_batch_is_the_same_until_it_is_settled(spool: Spool, path: Path) -> None:
    spool.put([result(n) for n in range(5)])
    first = some(spool.batch("log", 10**6, 2))
    spool.put([result(9)])
    assert spool.batch("log", 10**6, 100) == first
    spool.close()
    again = Spool(path, BUDGET)
    assert again.batch("log", 10**6, 100) == first
    again.settle(first)
    second = some(again.batch("log", 10**6, 100))
    assert (second.after, second.spool) == (first.through, first.spool)
    assert second.id != first.id
    again.settle(first)  # told twice
    assert again.batch("log", 10**6, 100) == second


def test_bounds_of_a_batch(spool: Spool) -> None:
    spool.put([result(n, 1000) for n in range(10)])
    assert len(some(spool.batch("log", 3100, 100)).lines) == 3
    spool.diverge()
    assert len(some(spool.batch("log", 10, 100)).lines) == 1


def test_numbers_are_never_given_twice(spool: Spool, path: Path) -> None:
    seen: list[int] = []
    for n in range(3):
        spool.put([result(n)])
        batch = some(spool.batch("log", 10**6, 10))
        assert batch.after == (seen[-1] if seen else 0)
        seen.append(batch.through)
        spool.settle(batch)
        spool.close()
        spool = Spool(path, BUDGET)
    assert seen == sorted(set(seen))


def test_a_refused_batch_is_halved_down_to_the_line(spool: Spool) -> None:
    bad = result(11)
    spool.put([result(n) for n in range(20)])
    delivered: list[Line] = []
    tries = 0
    while (batch := spool.batch("log", 10**6, 16)) is not None:
        tries += 1
        if bad in batch.lines:
            spool.split(batch, "no JSON")
            continue
        delivered += batch.lines
        spool.settle(batch)
    assert [line for line in delivered if line.kind != "gap"] == [result(n) for n in range(20) if n != 11]
    assert gaps(delivered) == {("q", "refused: no JSON"): 1}
    assert tries < 20


def test_a_refused_gap_line_makes_no_other(spool: Spool) -> None:
    spool.lost([Gap("q", 3, 30, 1, 2, "unwritable")])
    spool.split(some(spool.batch("log", 10**6, 10)), "what is a gap?")
    assert spool.batch("log", 10**6, 10) is None
    assert spool.stats().dropped.reasons == {"unwritable": 3, "refused": 1}


def test_diverged(spool: Spool) -> None:
    spool.put([result(0), answer(0), result(1)])
    log, live = some(spool.batch("log", 10**6, 1)), some(spool.batch("live", 10**6, 1))
    spool.diverge(log)
    assert spool.batch("live", 10**6, 1) == live, "the other lane goes on"
    again = some(spool.batch("log", 10**6, 10))
    assert again.spool != log.spool
    assert again.lines == (result(0), result(1))
    spool.settle(log)  # an old one
    assert spool.batch("log", 10**6, 10) == again
    spool.diverge()
    assert some(spool.batch("live", 10**6, 1)).spool != live.spool


def test_older_snapshots_give_way_first_wherever_they_are(spool: Spool) -> None:
    spool.put([status(0), result(1)])
    for n in range(100):
        spool.put([snapshot(n, "big", 30_000), result(100 + n)])
    lines = drained(spool)
    kept = [line for line in lines if line.kind == "snapshot"]
    assert kept == [snapshot(n, "big", 30_000) for n in range(100 - len(kept), 100)]
    assert 10 < len(kept) < 40
    assert [line for line in lines if line.kind not in ("snapshot", "gap")] == [
        status(0),
        result(1),
        *(result(100 + n) for n in range(100)),
    ]
    assert gaps(lines) == {("big", "full"): 100 - len(kept)}


def test_then_status_lines_then_results_then_answers(spool: Spool) -> None:
    spool.put([answer(0, 50_000), status(0, 50_000), result(0, 50_000), snapshot(0, size=50_000), status(1, 50_000)])
    for n in range(1, 11):
        spool.put([result(n, 50_000)])
    held = [line.kind for line in drained(Spool(spool._file.path, BUDGET), lines=1)]
    assert "status" in held or held.count("result") == 11
    for n in range(20, 60):
        spool.put([result(n, 50_000)])
    spool.put([status(99, 50_000)])
    lines = drained(spool)
    assert {line.kind for line in lines} == {"result", "gap"}, "a status line does not push results out"
    assert drained(spool, "live") == [answer(0, 50_000)]
    for n in range(40):
        spool.put([answer(n, 50_000)])
    kept = drained(spool, "live")
    assert kept == [answer(n, 50_000) for n in range(40 - len(kept), 40)], "the oldest answers at last"


def test_what_is_under_way_does_not_give_way(spool: Spool) -> None:
    for n in range(3):
        spool.put([snapshot(n, "s", 40_000)])
    batch = some(spool.batch("log", 10**6, 2))
    for n in range(3, 60):
        spool.put([snapshot(n, "s", 40_000)])
    assert spool.batch("log", 10**6, 2) == batch
    assert batch.lines == (snapshot(0, "s", 40_000), snapshot(1, "s", 40_000))


def test_a_flood_of_losses_is_told_in_few_lines(spool: Spool) -> None:
    for n in range(3000):
        spool.put([result(n, 2000, f"q{n % 3}")])
    lines = drained(spool)
    told = [line for line in lines if line.kind == "gap"]
    assert len(told) == 3
    kept = len(lines) - 3
    assert sum(json.loads(line.text)["lines"] for line in told) == 3000 - kept
    said = json.loads(told[0].text)
    assert (said["first_at"], said["reason"], said["bytes"] > 2000) == (1000, "full", True)
    assert said["last_at"] <= 1000 + 3000 - kept


def test_a_line_that_never_fits(spool: Spool) -> None:
    spool.put([result(0), result(1, BUDGET), result(2)])
    lines = drained(spool)
    assert lines[:2] == [result(0), result(2)]
    assert gaps(lines) == {("q", "too_large"): 1}


def test_losses_of_ever_new_queries_are_summed(spool: Spool) -> None:
    spool.lost([Gap(f"q{n}", 1, 1, n, n, "unwritable") for n in range(1000)])
    lines = drained(spool)
    assert len(lines) <= 257
    assert sum(gaps(lines).values()) == 1000


@pytest.mark.parametrize("size", [100, 2100, 9000, 60_000])
def test_the_budget_is_what_is_on_the_disk(spool: Spool, path: Path, size: int) -> None:
    most = 0
    for n in range(0, 4 * BUDGET // size, together := max(1, 10_000 // size)):
        for line in (result, status):
            spool.put([line(n, size) for n in range(n, n + together)])
        most = max(most, sum(file.stat().st_size for file in path.parent.iterdir()))
    assert BUDGET * 0.55 < most <= BUDGET
    kept = spool.stats()
    assert kept.file_bytes <= BUDGET
    assert kept.bytes > BUDGET * 0.25
    drained(spool)
    assert spool.stats().bytes == 0


def test_room_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, 64 * 2**20)
    for n in range(0, 20_000, 1000):
        spool.put([result(n, 1000) for n in range(n, n + 1000)])
    assert path.stat().st_size + path.with_name("spool.db-wal").stat().st_size > 20_000_000
    assert len(drained(spool, lines=1000)) == 20_000
    assert spool.stats().file_bytes < 4 * 2**20, "and most of that is held back"


def test_notes(spool: Spool, path: Path) -> None:
    assert spool.get("config") is None
    spool.keep("config", b"1")
    spool.keep("config", b"\0\xff" * 5000)
    assert Spool(path, BUDGET).get("config") == b"\0\xff" * 5000
    spool.forget("config")
    spool.forget("config")
    assert Spool(path, BUDGET).get("config") is None


def test_stats(path: Path) -> None:
    spool = Spool(path, BUDGET, clock=lambda: 5000.0)
    assert spool.stats().lines == 0
    assert spool.stats().oldest_at is None
    spool.put([result(5), answer(3), status(4)])
    spool.lost([Gap("q", 2, 7, 1, 1, "unwritable")])
    stats = spool.stats()
    assert (stats.lines, stats.bytes, stats.oldest_at) == (
        3,
        sum(len(x.text) for x in (result(5), answer(3), status(4))),
        1003,
    )
    assert (stats.lanes["log"].lines, stats.lanes["log"].oldest_at, stats.lanes["live"].lines) == (2, 1005, 1)
    assert (stats.dropped.lines, stats.dropped.bytes, stats.dropped.since) == (2, 7, 5000)


def test_modes(spool: Spool, path: Path) -> None:
    spool.put([result(0)])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    spool.close()
    path.chmod(0o644)
    spool.put([result(1)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_goes_by_the_clock(path: Path) -> None:
    times = iter([2**31, 0, -5, 2**40, 17, 17] * 100)
    spool = Spool(path, BUDGET, clock=lambda: float(next(times)))
    lines = [Line("result", "q", at, b"%d" % at) for at in (2**31, 0, -7, 2**62, 5, 2**80)]
    for line in lines:
        spool.put([line])
    assert [line.text for line in drained(spool, lines=1)] == [line.text for line in lines]


def test_odd_names(spool: Spool) -> None:
    spool.put([Line("result", "a\udcffb\0c", 1, b"{}"), Line("result", "ä" * 2000, 1, b"{}")])
    assert [line.name for line in drained(spool)] == ["a?bc", "ä" * 2000]
    with pytest.raises(ValueError, match="no kind"):
        spool.put([Line("rumour", "", 1, b"{}")])


def test_a_budget_too_small(path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        Spool(path, 1000)


def test_many_threads(path: Path) -> None:
    spools = [Spool(path, 16 * BUDGET) for _ in range(2)]
    seen: list[Line] = []
    done = threading.Event()

    def write(spool: Spool, who: int) -> None:
        for n in range(50):
            spool.put([result(n, name=f"w{who}")])

    def read() -> None:
        reader = Spool(path, 16 * BUDGET)
        while not done.is_set() or reader.stats().lines:
            seen.extend(drained(reader, lines=7))

    writers = [threading.Thread(target=write, args=(spools[who % 2], who)) for who in range(4)]
    reader = threading.Thread(target=read)
    for thread in [*writers, reader]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    for who in range(4):
        assert [line for line in seen if line.name == f"w{who}"] == [result(n, name=f"w{who}") for n in range(50)]


def test_when_a_query_was_last_observed(spool: Spool) -> None:
    spool.put([result(0), snapshot(5), status(9), answer(9), result(2)])
    drained(spool)
    assert spool.observed() == {"q": 1002, "s": 1005}


def test_notes_go_with_lines(spool: Spool) -> None:
    spool.put([answer(0)], {"live": b"1", "evidence": b"2"})
    assert (spool.get("live"), spool.get("evidence"), spool.answers()) == (b"1", b"2", {""})
    spool.put([], {"live": b"3"})
    assert spool.get("live") == b"3"


def test_what_waits_beyond_a_batch(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 4 * 2**20)
    spool.put([Line("result", "a", at, b"x" * at) for at in (10, 20, 30)])
    spool.put([Line("answer", "q", 5, b"{}")])
    batch = spool.batch("log", 2**20, 2)
    assert batch is not None
    beyond = spool.stats(beyond=batch)
    assert (beyond.lanes["log"].lines, beyond.lanes["log"].bytes, beyond.lanes["log"].oldest_at) == (1, 30, 30)
    assert (beyond.lanes["live"].lines, beyond.lines, spool.stats().lines) == (1, 2, 4)
    spool.settle(batch)
    assert spool.stats(beyond=batch) == spool.stats(), "it is not under way any more"
    last = spool.batch("log", 2**20, 2)
    assert last is not None
    beyond = spool.stats(beyond=last)
    assert (beyond.lanes["log"].lines, beyond.lanes["log"].bytes, beyond.lanes["log"].oldest_at) == (0, 0, None)
