"""A collector's lines count once, whatever becomes of its batches on the way; what it lost is told and held against."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.normalize.names import scheduled_name
from server.normalize.times import unix
from server.store.answers import apply_run
from server.store.collectors import collector_of, note_enrolled
from server.store.deliveries import Delivery
from server.store.devices import Device
from server.store.driver import DatabaseUnavailableError, Transaction
from server.store.ingest import Ingest
from server.store.store import Store
from server.wire.collector import LARGEST_COUNT, parse_batch
from server.wire.messages import CollectorBatch
from tests.contract.test_guarantee import Fleet, fleet
from tests.contract.test_guarantee_answers import asked_of
from tests.contract.test_identity import Clock
from tests.contract.test_schema_that_moves import second_server
from tests.contract.test_store import T0, event, run
from tests.support.collector_peer import new_id
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store, rows, shipped_catalog

SPOOL = "5" * 32


def batch_of(
    *lines: dict[str, Any],
    after: int = 0,
    through: int | None = None,
    spool: str = SPOOL,
    lane: str = "log",
    **more: Any,
) -> CollectorBatch:
    """A new batch."""
    count = len(lines) + sum(len(more.get(part, ())) for part in ("answers", "gaps"))
    mark = {"id": new_id(), "spool": spool, "lane": lane, "after": after, "through": through or after + count}
    return parse_batch(json.dumps({"batch": mark, "data": list(lines), **more}).encode())


def events(first: int, last: int) -> list[dict[str, Any]]:
    return [event("counted", T0 + n, n, "added", {"n": str(n)}) for n in range(first, last)]


async def counted(store: Store) -> list[tuple[Any, ...]]:
    return await rows(store, "SELECT COUNT(*), COUNT(DISTINCT n) FROM counted")


async def test_a_batch_that_comes_again_is_known(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        first, second = batch_of(*events(0, 3)), batch_of(*events(3, 5), after=3)
        assert [await store.take(device, first) for _ in range(3)] == ["new", "known", "known"]
        assert [await store.take(device, second) for _ in range(2)] == ["new", "known"]
        assert await store.take(device, first) == "diverged"
        assert await counted(store) == [(5, 5)]
        assert (store.taken.batches, store.taken.known, store.taken.diverged, store.taken.answers) == (2, 3, 1, 5)


@pytest.mark.parametrize("after", [0, 2, 4])
async def test_a_batch_that_goes_back_has_diverged(tmp_path: Path, after: int) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await store.take(device, batch_of(*events(0, 5)))
        assert await store.take(device, batch_of(*events(10, 13), after=after)) == "diverged"
        assert await counted(store) == [(5, 5)]
        assert await store.take(device, batch_of(*events(10, 13), spool=new_id())) == "new"
        assert await counted(store) == [(8, 8)]


async def test_the_same_id_with_other_bounds_is_another_batch(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        batch = batch_of(*events(0, 5))
        await store.take(device, batch)
        raw = {"id": batch.mark.id, "spool": SPOOL, "lane": "log", "after": 0, "through": 7}
        longer = parse_batch(json.dumps({"batch": raw, "data": events(0, 7)}).encode())
        assert await store.take(device, longer) == "diverged"


async def test_a_restored_server_goes_on_with_what_comes(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await store.take(device, batch_of(*events(0, 5)))
        assert await store.take(device, batch_of(*events(8, 10), after=8)) == "new"
        assert await store.take(device, batch_of(*events(20, 22), after=20, spool=new_id())) == "new"
        assert await counted(store) == [(9, 9)]


async def test_lanes_spools_and_devices_are_counted_apart(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        devices = [await add_device(store, name) for name in "ab"]
        for device in devices:
            for spool in (SPOOL, "6" * 32):
                for lane in ("log", "live"):
                    line = event("counted", T0, 0, "added", {"n": f"{device.device_no}{spool}{lane}"})
                    assert await store.take(device, batch_of(line, spool=spool, lane=lane)) == "new"
        assert await counted(store) == [(8, 8)]


async def test_numberings_without_end_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.batches.SPOOLS_A_DEVICE", 3)
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        devices = [await add_device(store, name) for name in "ab"]
        kept = batch_of(event("counted", T0, 0, "added", {"n": "b"}))
        await store.take(devices[1], kept)
        for number in range(8):
            clock.now += 60
            batch = batch_of(event("counted", T0, 0, "added", {"n": str(number)}), spool=new_id())
            assert [await store.take(devices[0], batch) for _ in range(2)] == ["new", "known"]
        assert await store.take(devices[1], kept) == "known"
        found = await rows(store, "SELECT device_no, COUNT(*) FROM muster_batches GROUP BY device_no ORDER BY 2")
        assert [count for _, count in found] == [1, 3]


async def test_one_batch_at_two_servers_at_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as one, second_server(tmp_path, shipped_catalog()) as two:
        device = await add_device(one, "a")
        for number in range(10):
            batch = batch_of(*events(number, number + 1), after=number)
            fates = await asyncio.gather(*(store.take(device, batch) for store in (one, two) * 4))
            assert sorted(fates) == ["known"] * 7 + ["new"]
        assert await counted(one) == [(10, 10)]
        assert one.taken.answers + two.taken.answers == 10


async def test_two_batches_from_one_place_at_once(tmp_path: Path) -> None:
    """A spool that was copied to another machine: one of them is told to begin a numbering of its own."""
    async with open_store(tmp_path) as one, second_server(tmp_path, shipped_catalog()) as two:
        device = await add_device(one, "a")
        for store in (two, one):
            after = 10 if store is one else 0
            batches = [batch_of(*events(after + n, after + n + 1), after=after) for n in range(4)]
            fates = await asyncio.gather(
                *(other.take(device, one_of) for other, one_of in zip((store, one, two, store), batches, strict=True))
            )
            assert sorted(fates) == ["diverged"] * 3 + ["new"]
        assert await counted(one) == [(2, 2)]


async def test_what_is_not_stored_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit fails after all of it was done: nothing may remember the batch."""
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        await store.take(device, batch_of(*events(0, 1)))
        batch = batch_of(*events(1, 3), after=1)

        async def failing(own: Ingest, tx: Transaction, deliveries: list[Delivery], **singly: bool) -> Any:
            await whole(own, tx, deliveries, **singly)
            raise DatabaseUnavailableError("the disk is full")

        whole = Ingest.store
        with monkeypatch.context() as patched:
            patched.setattr(Ingest, "store", failing)
            with pytest.raises(DatabaseUnavailableError):
                await store.take(device, batch)
        assert await counted(store) == [(1, 1)]
        assert [await store.take(device, batch) for _ in range(2)] == ["new", "known"]
        assert await counted(store) == [(3, 3)]


async def test_a_batch_whose_group_fails_is_stored_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in one answer costs that answer only, and the batch counts."""
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")

        async def failing(tx: Transaction, place: Any, answer: Any, version: str) -> None:
            if answer.added[0]["n"] == "1":
                raise ZeroDivisionError
            await apply_run(tx, place, answer, version)

        monkeypatch.setattr("server.store.ingest.apply_run", failing)
        lines = [run("broken", T0 + n, n, [{"n": str(n)}], []) for n in range(3)]
        batch = batch_of(*lines)
        assert [await store.take(device, batch) for _ in range(2)] == ["new", "known"]
        assert await rows(store, "SELECT reason FROM rejects") == [("it could not be stored (ZeroDivisionError)",)]
        assert await rows(store, "SELECT n FROM broken ORDER BY 1") == [("0",), ("2",)]


async def test_the_unchanged_snapshot_of_a_batch_is_not_read_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        many = [{"path": f"/usr/bin/{n}"} for n in range(200)]
        for number, unread in enumerate((False, False, True)):
            line = snapshot_line("binaries", T0 + number * 60, many)
            # osquery writes no white space, and the rows first
            mark = {"id": new_id(), "spool": SPOOL, "lane": "log", "after": number, "through": number + 1}
            raw = json.dumps({"batch": mark, "data": [line]}, separators=(",", ":")).encode()
            batch = parse_batch(raw, store.familiar)
            assert batch.body.results[0].unread or not unread
            assert await store.take(device, batch) == "new"
        assert await rows(store, "SELECT COUNT(*) FROM muster_rows_binaries") == [(200,)]


# -- answers ----------------------------------------------------------------------------------------------------------


async def told(f: Fleet, device: Device, question: str, status: str, batch: CollectorBatch | None = None) -> str:
    answer = {"id": question, "status": status, "message": "", "rows": [{"who": "ann", "uid": "7"}], "at": int(T0)}
    answer["cost"] = {"wall_time_ms": 12, "user_time": 3, "system_time": 4, "memory": 4096}
    return await f.store.take(device, batch or batch_of(answers=[answer], lane="live", spool=new_id()))


async def test_an_answer_in_a_batch_settles_its_question(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        question = await asked_of(f, device)
        for _ in range(2):  # also after the collector began a new numbering
            assert await told(f, device, question, "answered") == "new"
        assert await rows(f.store, "SELECT outcome, wall_time_ms, memory FROM posture_asked") == [
            ("answered", 12, 4096)
        ]
        assert await f.verdict() == ("pass", None)


async def test_an_answer_of_too_many_rows_is_one_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        question = await asked_of(f, device)
        monkeypatch.setattr("server.wire.limits.ROWS_A_LINE", 2)
        for answer in (
            {"id": question, "status": "answered", "rows": [{"who": str(n)} for n in range(3)]},
            {"id": "", "status": "answered", "rows": 3},
        ):
            assert await f.store.take(device, batch_of(answers=[answer], lane="live", spool=new_id())) == "new"
        found = await rows(f.store, "SELECT outcome, message FROM posture_asked")
        assert found == [(None, "rows has 3 rows, more than 2")], "it is asked again, as what fails is"


async def test_an_answer_is_durable_before_its_batch_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet(tmp_path) as f:
        device = await f.device("a")
        question = await asked_of(f, device)

        async def unavailable(device: Device, answers: Any) -> None:
            raise DatabaseUnavailableError("away")

        answer = {"id": question, "status": "answered", "message": "", "rows": [{"who": "ann", "uid": "7"}]}
        batch = batch_of(answers=[answer], lane="live")
        with monkeypatch.context() as patched:
            patched.setattr(f.store.questions, "answered", unavailable)
            with pytest.raises(DatabaseUnavailableError):
                await f.store.take(device, batch)
        assert await f.store.take(device, batch) == "new"
        assert await rows(f.store, "SELECT outcome FROM posture_asked") == [("answered",)]


# -- gaps -------------------------------------------------------------------------------------------------------------


def gap(name: str, first: int, last: int, lines: int = 3, reason: str = "full") -> dict[str, Any]:
    times = {"first_at": T0 + first, "last_at": T0 + last, "dropped_at": T0 + last + 5}
    return {"name": name, "lines": lines, "bytes": 100 * lines, "reason": reason, **times}


async def coverage(store: Store, query: str = "folks") -> list[tuple[str, int, int]]:
    """How a query fared: status, and from when to when in seconds after T0, whatever the message."""
    found: list[tuple[str, int, int]] = []
    for status, first, last in await rows(
        store, "SELECT status, first_at, last_at FROM coverage WHERE query = ? ORDER BY 2", (query,)
    ):
        begun = found.pop()[1] if found and found[-1][0] == status else unix(first) - T0
        found.append((status, begun, unix(last) - T0))
    return found


async def test_gaps_are_told_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        sent = [
            gap(scheduled_name("folks", "0f1e2d3c4b"), 0, 60),
            gap("", 10, 20, 7, "too_large"),
            gap("", 5, 8, 1, "corrupt"),
        ]
        for spool in (SPOOL, new_id()):
            assert await store.take(device, batch_of(gaps=sent, spool=spool)) == "new"
        found = await rows(store, "SELECT query, lines, bytes, reason FROM posture_collector_gaps ORDER BY lines")
        assert found == [("*", 1, 100, "corrupt"), ("folks", 3, 300, "full"), ("", 7, 700, "too_large")]
        assert (store.taken.gaps, store.taken.lost) == (6, 22)


async def test_a_run_of_which_lines_were_lost_is_incomplete_until_the_next_counter_0(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        lines = [
            event("folks", T0, 0, "added", {"who": "ann"}),
            event("folks", T0 + 100, 1, "added", {"who": "bob"}),
            event("folks", T0 + 200, 2, "added", {"who": "cyd"}),
            event("folks", T0 + 300, 0, "added", {"who": "ann"}, epoch=1),
        ]
        assert await store.take(device, batch_of(*lines, gaps=[gap("folks", 100, 100)])) == "new"
        assert await coverage(store) == [("ok", 0, 0), ("incomplete", 100, 200), ("ok", 300, 300)]
        messages = await rows(store, "SELECT message FROM coverage WHERE status = 'incomplete'")
        assert all("lost" in message or "missing" in message for (message,) in messages)


@pytest.mark.parametrize("gap_first", [True, False])
async def test_a_gap_counts_whether_it_is_told_before_or_after_its_runs(tmp_path: Path, gap_first: bool) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        whole = batch_of(event("folks", T0, 0, "added", {"who": "ann"}))
        lines = batch_of(event("folks", T0 + 100, 1, "added", {"who": "bob"}), after=1, spool="7" * 32)
        lost = batch_of(gaps=[gap("folks", 50, 100)], spool="8" * 32)
        for batch in (whole, lost, lines) if gap_first else (whole, lines, lost):
            assert await store.take(device, batch) == "new"
        assert await coverage(store) == [("ok", 0, 0), ("incomplete", 100, 100)]
        assert await rows(store, "SELECT who FROM folks ORDER BY 1") == [("ann",), ("bob",)]


async def test_what_was_lost_at_the_end_is_incomplete_though_no_run_follows(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for name in ("folks", "others"):
            await store.take(device, batch_of(event(name, T0, 0, "added", {"who": "ann"}), spool=new_id()))
        await store.take(device, batch_of(snapshot_line("whole", T0, [{"who": "ann"}]), spool=new_id()))
        await store.take(device, batch_of(gaps=[gap("folks", 100, 200), gap("whole", 100, 200)]))
        assert await coverage(store) == [("ok", 0, 0), ("incomplete", 200, 200)]
        assert await coverage(store, "others") == await coverage(store, "whole") == [("ok", 0, 0)]
        assert await rows(store, "SELECT who FROM folks") == [("ann",)]
        # The next run does not follow on what was lost, whatever its counter; the one after a new start is whole.
        await store.take(device, batch_of(event("folks", T0 + 300, 1, "added", {"who": "bob"}), spool=new_id()))
        await store.take(device, batch_of(event("folks", T0 + 400, 0, "added", {"who": "cyd"}, 1), spool=new_id()))
        assert await coverage(store) == [("ok", 0, 0), ("incomplete", 200, 300), ("ok", 400, 400)]
        assert await rows(store, "SELECT who FROM folks") == [("cyd",)]


@pytest.mark.parametrize(("name", "reason"), [("", "corrupt"), ("*", "full")])
async def test_a_loss_of_any_query_casts_doubt_on_every_differential(tmp_path: Path, name: str, reason: str) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        for query in ("folks", "others"):
            await store.take(device, batch_of(event(query, T0, 0, "added", {"who": "ann"}), spool=new_id()))
        await store.take(device, batch_of(gaps=[gap("", 100, 200, 1, "full"), gap(name, 300, 400, 9, reason)]))
        assert await coverage(store) == await coverage(store, "others") == [("ok", 0, 0), ("incomplete", 400, 400)]


async def test_counts_beyond_reason_do_not_hide_what_else_is_known(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        device = await add_device(store, "a")
        clock = store.clock()
        await store.write(lambda tx: note_enrolled(tx, device.device_no, "0.1.0", clock))
        most = 2**63 - 1
        sent = [{**gap("folks", n, n), "lines": most, "bytes": most} for n in range(3)]
        sent += [gap("others", -(10**15), 10**15, -5), {**gap("", 0, 0), "first_at": -(2**63), "last_at": most}]
        backlog = {"lines": most, "bytes": most, "oldest_at": most}
        assert await store.take(device, batch_of(gaps=sent, backlog=backlog)) == "new"
        found = await store.read(lambda tx: collector_of(tx, device.device_id))
        assert found is not None and (found["gaps"], found["lost_lines"]) == (5, 3 * LARGEST_COUNT + 3)
        assert (found["backlog_lines"], found["oldest_unsent_at"]) == (LARGEST_COUNT, None)


async def test_a_gap_is_dated_as_the_lines_beside_it(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        year = 366 * 86_400
        line = snapshot_line("folks", T0 + year, [])
        await store.take(device, batch_of(line, gaps=[gap("x", year, year), gap("y", 2**61, 2**62)]))
        at = await rows(store, "SELECT first_at FROM coverage")
        assert (
            await rows(store, "SELECT first_at, last_at FROM posture_collector_gaps ORDER BY query")
            == [(at[0][0], at[0][0])] * 2
        )
