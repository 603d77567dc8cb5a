"""What the store promises of devices whose clocks are off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.normalize.times import iso
from server.store.asked import OSQUERY
from server.store.devices import Device
from server.store.questions import Caller
from server.store.store import Store
from server.wire.distributed import parse_answers
from tests.contract.test_store import send
from tests.support.server import snapshot_line
from tests.support.stores import add_device, contents, open_store, rows

T0 = 1_795_000_000
DAY, HOUR = 86_400, 3600


class Clock:
    """The server's, moved by hand."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


async def tell(store: Store, device: Device, unix_time: int, uptime: int, key: str = "k") -> None:
    """Answer the time question that is due."""
    (question,) = await store.questions.due(device, key)
    await answer(store, device, question, {"unix_time": str(unix_time), "total_seconds": str(uptime)})


async def answer(store: Store, device: Device, question: str, *told: dict[str, Any], status: int = 0) -> None:
    body = {"queries": {question: list(told)}, "statuses": {question: status}}
    await store.clocks.answered(device, parse_answers(body))


async def told(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What the database tells of answers: not when devices were last seen, nor what is kept to go on dating by."""
    dump = await contents(store)
    del dump["devices"], dump["clock_stretches"]
    return dump


async def firsts(store: Store, query: str = "folks") -> list[str]:
    return [row[0] for row in await rows(store, f"SELECT valid_from FROM {query}_history ORDER BY 1")]


async def test_a_device_is_asked_at_once_every_six_hours_and_after_it_enrolled_again(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0, 100)
        assert await store.questions.due(device, "k") == {}
        clock.now += 5 * HOUR
        assert await store.questions.due(device, "k") == {}
        clock.now += HOUR
        assert len(await store.questions.due(device, "k")) == 1
        assert await store.questions.due(device, "k") == {}, "asked a moment ago"
        clock.now += 600
        await tell(store, device, T0 + 6 * HOUR + 600, 100 + 6 * HOUR + 600)
        clock.now += 5
        assert await store.questions.due(device, "k") == {}
        await store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_node_keys (key_hash, device_no, issued_at, host_identifier) VALUES (?, ?, ?, ?)",
                ("another", device.device_no, iso(clock.now), ""),
            )
        )
        assert await store.questions.due(device, "k") == {}
        assert len(await store.questions.due(device, "new key")) == 1


async def test_when_nothing_is_due_the_database_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0, 100)
        await store.clocks.due([Caller(device, "k")], OSQUERY)

        async def fails(_work: object) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr(store.driver, "read", fails)
        monkeypatch.setattr(store.driver, "write", fails)
        for _ in range(5):
            clock.now += HOUR
            assert await store.clocks.due([Caller(device, "k")], OSQUERY) == {}
        with pytest.raises(AssertionError):
            clock.now += HOUR
            await store.clocks.due([Caller(device, "k")], OSQUERY)


async def test_one_process_asks_and_another_takes_the_answer(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        other = Store(store.driver, store.catalog, clock=clock)
        (question,) = await store.questions.due(device, "k")
        clock.now += 2
        await answer(other, device, question, {"unix_time": str(T0 + 1), "total_seconds": "50"})
        assert await other.questions.due(device, "k") == {}
        clock.now += 600  # the one that asked looks again, and sees that it was answered
        assert await store.questions.due(device, "k") == {}
        assert await rows(store, "SELECT hostname, booted_at, ahead_least, ahead_most, wrong FROM clocks") == [
            ("a", iso(T0 - 49), -1, 2, 0)
        ]


async def test_answers_may_come_late_and_twice_and_be_nonsense(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        (question,) = await store.questions.due(device, "k")
        row = {"unix_time": str(T0), "total_seconds": "50"}
        clock.now += 900
        await answer(store, device, question, row)
        wide = await rows(store, "SELECT * FROM clocks")
        assert wide[0][5:] == (-900, 1, 0)
        await answer(store, device, question, row)
        clock.now += 50
        await answer(store, device, question, row)
        assert await rows(store, "SELECT * FROM clocks") == wide
        for bad in ({}, {"unix_time": "x"}, {"unix_time": None}, {"unix_time": "9" * 300}):
            await answer(store, device, question, bad)
        await answer(store, device, question, row, row)
        await answer(store, device, "muster_time_99", row)
        await answer(store, device, question, {"unix_time": "77", "total_seconds": "1"}, status=1)
        assert await rows(store, "SELECT * FROM clocks") == wide
        assert await store.questions.due(device, "k") == {}, "a refusal is not asked again at once"
        clock.now += HOUR
        assert len(await store.questions.due(device, "k")) == 1


async def test_few_clocks_are_kept_of_a_device_that_starts_every_day(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        for _ in range(20):
            await tell(store, device, int(clock.now), 60)
            clock.now += DAY
        found = await rows(store, "SELECT first_read_at FROM clocks ORDER BY 1")
        assert len(found) == 8 and found[-1] == (iso(T0 + 19 * DAY),)


async def test_a_device_with_a_right_clock_keeps_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0 + 55, 60)
        await send(store, device, snapshot_line("folks", T0 - 5 * DAY, [{"who": "ann"}]))
        await send(store, device, snapshot_line("folks", T0 + 50, [{"who": "bob"}]))
        assert await rows(store, "SELECT * FROM clock_stretches") == []
        assert await firsts(store) == [iso(T0 - 5 * DAY), iso(T0 + 50)]


@pytest.mark.parametrize("ahead", [5 * HOUR, -5 * HOUR, 40 * DAY, -300 * DAY])
async def test_what_a_wrong_clock_dates_lands_in_its_own_time(tmp_path: Path, ahead: int) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0 + ahead, 2 * HOUR)
        status = {"unixTime": T0 - 7 + ahead, "severity": 0, "filename": "f", "line": 1, "message": "m", "version": "5"}
        await send(store, device, snapshot_line("folks", T0 - HOUR + ahead, [{"who": "ann"}]))
        await send(store, device, snapshot_line("folks", T0 + ahead, []))
        await send(store, device, status, log_type="status")
        assert await rows(store, "SELECT valid_from, valid_to FROM folks_history") == [(iso(T0 - HOUR), iso(T0))]
        assert await rows(store, "SELECT at FROM status_logs") == [(iso(T0 - 7),)]
        assert await rows(store, "SELECT first_at, last_at, ahead, basis FROM clock_stretches") == [
            (iso(T0 - HOUR + ahead), iso(T0 + ahead), ahead, "measured")
        ]
        assert await rows(store, "SELECT * FROM rejects") == []


async def test_a_replay_after_any_measurement_changes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        early = [snapshot_line("folks", T0 - age, [{"who": "ann"}]) for age in (300, 200, 100)]
        await send(store, device, *early)
        await tell(store, device, T0 - 2 * HOUR, 3 * HOUR)
        before = await told(store)
        await send(store, device, *early)
        assert await told(store) == before
        late = snapshot_line("folks", T0 - 2 * HOUR + 50, [{"who": "bob"}])
        ahead = snapshot_line("folks", T0 + 9 * HOUR, [{"who": "eve"}])
        clock.now += 60
        await send(store, device, late)
        await send(store, device, ahead)
        assert await firsts(store) == [iso(T0 - 300), iso(T0 + 50), iso(T0 + 60)]
        # The clock is set right, then measured once more; everything comes again.
        clock.now += 700
        await tell(store, device, T0 + 760, 3 * HOUR + 760)
        before = await told(store)
        await send(store, device, *early, late, ahead)
        await send(store, device, ahead)
        assert await told(store) == before


async def test_what_a_clock_said_before_its_machine_started_is_taken_as_it_is_and_flagged(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0 - HOUR, 600)
        await send(
            store,
            device,
            snapshot_line("folks", T0 - 2 * DAY, [{"who": "before"}]),
            snapshot_line("folks", T0 - HOUR - 300, [{"who": "since"}]),
        )
        assert await firsts(store) == [iso(T0 - 2 * DAY), iso(T0 - 300)]
        assert await rows(store, "SELECT ahead, basis FROM clock_stretches ORDER BY first_at") == [
            (0, "unsure"),
            (-HOUR, "measured"),
        ]


@pytest.mark.parametrize("absurd", [0, -1, 90, T0 + 366 * DAY, 253_402_300_000])
async def test_an_absurd_time_is_clamped_to_its_arrival_flagged_and_asked_about(tmp_path: Path, absurd: int) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        await tell(store, device, T0, 60)
        assert await store.questions.due(device, "k") == {}
        clock.now += 700
        line = snapshot_line("folks", absurd, [{"who": "ann"}])
        await send(store, device, line)
        assert len(await store.questions.due(device, "k")) == 1
        clock.now += 500
        before = await told(store)
        await send(store, device, line)
        assert await told(store) == before
        assert await firsts(store) == [iso(T0 + 700)]
        assert await rows(store, "SELECT hostname, ahead, basis, dated_at FROM clock_stretches") == [
            ("a", absurd - T0 - 700, "received", iso(T0 + 700))
        ]


async def test_a_future_line_within_the_hour_cannot_be_true_either(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as store:
        device = await add_device(store, "a")
        await send(store, device, snapshot_line("folks", T0 + 1800, [{"who": "ann"}]))
        assert await firsts(store) == [iso(T0)]


async def test_bodies_that_share_a_transaction_are_dated_as_if_each_had_its_own(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device, other = await add_device(store, "a"), await add_device(store, "b")
        early = snapshot_line("folks", T0 - 100, [{"who": "ann"}])
        ahead = snapshot_line("folks", T0 + DAY, [{"who": "bob"}])
        group = [(device, early), (other, early), (device, ahead), (other, early), (device, early)]
        await asyncio.gather(*(send(store, sender, line) for sender, line in group))
        assert await firsts(store) == [iso(T0 - 100), iso(T0 - 100), iso(T0)]
        assert await rows(store, "SELECT hostname, first_at, basis FROM clock_stretches ORDER BY 2") == [
            ("a", iso(T0 - 100), "device"),
            ("a", iso(T0 + DAY), "received"),
        ]
        # Measured as behind since before the early line, it still stays where it is.
        clock.now += 700
        await tell(store, device, T0 - HOUR + 700, 9 * HOUR)
        before = await told(store)
        await asyncio.gather(*(send(store, sender, line) for sender, line in group))
        assert await told(store) == before


async def test_what_is_too_old_by_the_corrected_time_is_set_aside(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as opened:
        store = Store(opened.driver, opened.catalog, max_age_days=90, clock=opened.clock)
        device = await add_device(store, "a")
        await tell(store, device, T0 + 2 * DAY, 200 * DAY)
        young, old = T0 - 88 * DAY + 10, T0 - 88 * DAY - 10
        done = await send(
            store,
            device,
            snapshot_line("folks", young, [{"who": "young"}]),
            snapshot_line("folks", old, [{"who": "old"}]),
            snapshot_line("folks", T0 - 300 * DAY, [{"who": "older"}]),
        )
        assert [line.reason for line in done.rejected] == [
            f"unixTime {old} is older than 90 days",
            f"unixTime {T0 - 300 * DAY} is older than 90 days",
        ]
        assert await firsts(store) == [iso(young - 2 * DAY)]


async def test_another_devices_clock_is_another_clock(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as store:
        first, second = await add_device(store, "a"), await add_device(store, "b")
        await tell(store, first, T0 - 5 * HOUR, 9 * HOUR)
        for device in (first, second):
            await send(store, device, snapshot_line("folks", T0 - 6 * HOUR, [{"who": "ann"}]))
        assert await rows(store, "SELECT hostname, valid_from FROM folks_history ORDER BY 1") == [
            ("a", iso(T0 - HOUR)),
            ("b", iso(T0 - 6 * HOUR)),
        ]


async def test_the_commit_sequence_tells_what_was_known_when(tmp_path: Path) -> None:
    """Answers in order, late, corrected and repeated: every earlier state of knowledge can be read again."""
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        device = await add_device(store, "a")
        steps: list[tuple[int, list[str]]] = [
            (0, ["ann"]), (600, ["ann", "bob"]), (300, []), (300, []), (900, ["bob"]), (450, ["ann"]), (900, ["bob"]),
            (100, ["eve"]), (1200, ["ann"]),
        ]  # fmt: skip
        known: list[tuple[int, list[tuple[Any, ...]]]] = []
        for at, folks in steps:
            clock.now += 10
            await send(store, device, snapshot_line("folks", T0 - 2000 + at, [{"who": who} for who in folks]))
            seq = await rows(store, "SELECT CAST(value AS BIGINT) FROM muster_meta WHERE key = 'seq'")
            known.append((seq[0][0], await belief(store, 2**62)))
        await tell(store, device, int(clock.now) - 3 * HOUR, 4 * HOUR)
        await send(store, device, snapshot_line("folks", T0 - 1000 - 3 * HOUR, [{"who": "corrected"}]))
        assert (await belief(store, 2**62)) != known[-1][1]
        for seq_then, believed in known:
            assert await belief(store, seq_then) == believed


async def belief(store: Store, seq: int) -> list[tuple[Any, ...]]:
    """The intervals as they were known once a transaction had committed."""
    return await rows(
        store,
        "SELECT who, valid_from, CASE WHEN closed_seq <= ? THEN valid_to END FROM muster_rows_folks"
        " WHERE opened_seq <= ? AND (muster_superseded_seq IS NULL OR muster_superseded_seq > ?) ORDER BY 1, 2, 3",
        (seq, seq, seq),
    )
