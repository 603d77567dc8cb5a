"""The spool through ``kill -9``, full disks and damaged files, with real processes."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.spool import Gap, Line, Spool, SpoolFullError
from collector.spool.place import lost_in
from tests.support.disks import SmallDisk, small_disk
from tests.support.spooling import BUDGET, started


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.002)


def result(n: int, size: int = 100) -> Line:
    return Line("result", "q", n, b"%d " % n + b"x" * size)


def drained(spool: Spool) -> list[Line]:
    seen: list[Line] = []
    while (batch := spool.batch("log", 10**6, 1000)) is not None:
        seen += batch.lines
        spool.settle(batch)
    return seen


class Said:
    """What the processes said, as a server would have counted it."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def words(self) -> list[list[str]]:
        if not self._log.exists():
            return []
        return [line.split() for line in self._log.read_text().splitlines()]

    def count(self, what: str) -> int:
        return sum(words[0] == what for words in self.words())

    def put(self) -> set[str]:
        return {f"{words[1]}:{words[2]}" for words in self.words() if words[0] == "put"}

    def delivered(self) -> list[str]:
        """Each batch once; its numbers must follow those of the one before."""
        lines: list[str] = []
        known: dict[str, tuple[str, str]] = {}
        through: dict[str, int] = {}
        for words in self.words():
            if words[0] != "took":
                continue
            _, name, numbering, after, last, *texts = words
            if name in known:
                assert known[name] == (last, " ".join(texts)), "a batch is the same, also after a restart"
                continue
            assert int(after) == through.get(numbering, 0)
            known[name], through[numbering] = (last, " ".join(texts)), int(last)
            lines += [text for text in " ".join(texts).split(",") if text.startswith("w")]
        return lines


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_what_was_answered_for_is_there_once(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    path = tmp_path / "spool.db"
    said = Said(tmp_path / "said")
    for turn in range(kills):
        processes = [
            started(tmp_path / "said", "write", path, BUDGET, f"w{turn}", chance.choice([50, 3000])),
            started(tmp_path / "said", "read", path, BUDGET),
        ]
        some = said.count("put") + chance.randint(1, 60)
        until(lambda some=some: said.count("put") >= some)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.02))  # somewhere within a commit, or before, or after
        for process in chance.sample(processes, 2):
            process.kill()
            process.wait()
    spool = Spool(path, BUDGET)
    left = [line.text.decode().rstrip("x").strip().replace(" ", ":") for line in drained_as_new(spool, said)]
    seen = said.delivered() + left
    assert len(seen) == len(set(seen)), "nothing twice"
    assert said.put() <= set(seen), "nothing lost"
    assert len(seen) - len(said.put()) <= kills, "at most the line that each was about to answer for"
    for turn in range(kills):
        numbers = [int(line.partition(":")[2]) for line in seen if line.startswith(f"w{turn}:")]
        assert numbers == list(range(len(numbers))), "in order"
    assert said.count("took") > kills
    check(path)


def drained_as_new(spool: Spool, said: Said) -> list[Line]:
    """The lines that no server has counted yet."""
    known = {words[1] for words in said.words() if words[0] == "took"}
    seen: list[Line] = []
    while (batch := spool.batch("log", 10**6, 1000)) is not None:
        if batch.id not in known:
            seen += batch.lines
        spool.settle(batch)
    return seen


def check(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    said = Said(tmp_path / "said")
    writers = [started(tmp_path / "said", "write", path, BUDGET, f"w{who}", 50, 150) for who in range(2)]
    reader = started(tmp_path / "said", "read", path, BUDGET)
    assert [writer.wait(60) for writer in writers] == [0, 0]
    until(lambda: len(said.delivered()) == 300)
    reader.kill()
    reader.wait()
    assert said.put() == set(said.delivered())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    directory = tmp_path / "small"
    directory.mkdir()
    with small_disk(directory, 24) as mounted:
        if mounted is None:
            pytest.skip("mounting is not allowed here")
        yield mounted


def test_a_full_disk(disk: SmallDisk) -> None:
    path = disk.directory / "spool.db"
    spool = Spool(path, BUDGET)
    answered = []
    for turn in range(3):
        for n in range(turn * 1000, turn * 1000 + 300):
            spool.put([result(n, 5000)])
            answered.append(n)
        disk.fill(0)
        for n in range(turn * 1000 + 300, turn * 1000 + 999):
            try:
                spool.put([result(n, 5000)])
                answered.append(n)
            except SpoolFullError:
                break
        else:
            raise AssertionError("the disk was not full")
        assert spool.stats().lines > 0
        # What is delivered goes, although nothing can be written: also by a process that opens it now.
        spool.close()
        batch = spool.batch("log", 10**6, 50)
        assert batch is not None
        spool.settle(batch)
        assert [line.at for line in batch.lines] == answered[: len(batch.lines)]
        del answered[: len(batch.lines)]
        disk.empty(0)
        spool.put([result(turn * 1000 + 999)])
        answered.append(turn * 1000 + 999)
    assert [line.at for line in drained(spool)] == answered
    check(path)


def test_a_disk_that_is_full_from_the_start(disk: SmallDisk) -> None:
    disk.fill(0)
    spool = Spool(disk.directory / "state" / "spool.db", BUDGET)
    for ask in (
        lambda: spool.put([result(0)]),
        lambda: spool.batch("log", 1000, 10),
        spool.stats,
        lambda: spool.get("a"),
    ):
        with pytest.raises(SpoolFullError):
            ask()
    disk.empty(0)
    spool.put([result(0)])
    assert drained(spool) == [result(0)]


def test_a_disk_that_cannot_be_written(disk: SmallDisk) -> None:
    spool = Spool(disk.directory / "spool.db", BUDGET)
    spool.put([result(0)])
    spool.close()
    disk.read_only()
    with pytest.raises(SpoolFullError):
        spool.put([result(1)])
    assert not list(disk.directory.glob("*corrupt*"))


def filled(path: Path, lines: int = 300) -> Spool:
    spool = Spool(path, BUDGET)
    for n in range(0, lines, 10):
        spool.put([result(n + k, 700) for k in range(10)])
    spool.keep("config", b"{}" * 500)
    return spool


def told(lines: list[Line]) -> list[tuple[str, int]]:
    gaps = [json.loads(line.text) for line in lines if line.kind == "gap"]
    return [(gap["reason"], gap["lines"]) for gap in gaps]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "emptied", "removed", "a table is missing", "newer"])
@pytest.mark.parametrize("when", ["before", "open"])
def test_a_damaged_file(tmp_path: Path, damage: str, when: str) -> None:
    path = tmp_path / "spool.db"
    spool = filled(path)
    other = Spool(path, BUDGET)
    if when == "open":
        assert other.batch("log", 1000, 1) is not None
        with_wal = sqlite3.connect(path)
        with_wal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with_wal.close()
    else:
        spool.close()
    if damage == "garbage":
        path.write_bytes(random.Random(1).randbytes(50_000))
    elif damage == "truncated":
        with path.open("rb+") as file:
            file.truncate(path.stat().st_size // 8192 * 4096)
    elif damage == "emptied":
        with path.open("rb+") as file:
            file.truncate(0)
    elif damage == "removed":
        path.unlink()
    else:
        raw = sqlite3.connect(path)
        raw.execute("DROP TABLE gaps" if damage == "a table is missing" else "PRAGMA user_version = 99")
        raw.commit()
        raw.close()
    lines: list[Line] = []
    for n in range(3):
        spool.put([result(1000 + n)])
        lines += drained(other)
    unnoticed = damage == "a table is missing"  # until a line is to be read
    new = [line for line in lines if line.at >= 1000 and line.kind == "result"]
    assert new == [result(1000 + n) for n in range(unnoticed, 3)]
    if (damage, when) in {("removed", "before"), ("newer", "open")}:
        return  # nothing is there that could be missed; and who has it open already goes on
    assert [reason for reason, _ in told(lines)] == ["corrupt"]
    assert len(list(tmp_path.glob("spool.db.corrupt-*"))) >= (damage != "removed")
    assert drained(spool) == []


def test_who_is_in_the_middle_of_it_follows(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    one, two = filled(path), Spool(path, BUDGET)
    batch = two.batch("log", 10**6, 10)
    assert batch is not None
    lost = one.stats()
    one._file._place.set_aside(one._file._place.identity(), "a test", one._file.read(_lost))
    two.settle(batch)  # of the file before
    two.put([result(5000)])
    one.put([result(5001)])
    lines = drained(one)
    assert [line for line in lines if line.kind == "result"] == [result(5000), result(5001)]
    assert told(lines) == [("corrupt", lost.lines)]
    check(path)


def _lost(connection: sqlite3.Connection) -> Gap:
    return lost_in(connection, 1)


@pytest.mark.parametrize("seed", range(30))
def test_bytes_flipped_at_random(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "spool.db"
    spool, other = filled(path), Spool(path, BUDGET)
    target = chance.choice([path, path.with_name("spool.db-wal")])
    if chance.random() < 0.5:
        spool.close()
        target = path
    with target.open("rb+") as file:
        size = target.stat().st_size
        for _ in range(chance.choice([1, 5, 200])):
            file.seek(chance.randrange(size))
            file.write(chance.randbytes(chance.choice([1, 1, 100])))
    whole = {result(n, 700) for n in range(300)}
    lines: list[Line] = []
    for n in range(20):
        spool.put([result(10_000 + n)])
        assert other.stats().lines >= 0
        if n % 3 == 0 and (batch := other.batch("log", 100_000, 50)) is not None:
            lines += batch.lines
            other.settle(batch)
        other.get("config")
    lines += drained(spool)
    lines += drained(other)
    results = [line for line in lines if line.kind == "result"]
    new = [line for line in results if line.at >= 10_000]
    assert set(results) - set(new) <= whole, "no line that was not put"
    assert len(results) == len(set(results)), "and none twice"
    missing = 20 - len(new)
    if set(whole) - set(results) or missing:
        assert "corrupt" in [reason for reason, _ in told(lines)], "what is missing is told"
    spool.put([result(1)])
    assert result(1) in drained(other), "and all goes on"


def test_damaged_under_the_hands_of_three(tmp_path: Path) -> None:
    """Two write and one reads when the file is overwritten: all three go on with another, and nothing comes twice."""
    path = tmp_path / "spool.db"
    said = Said(tmp_path / "said")
    processes = [
        *(started(tmp_path / "said", "write", path, BUDGET, f"w{who}", 5000) for who in range(2)),
        started(tmp_path / "said", "read", path, BUDGET),
    ]
    for turn in range(3):
        before = (said.count("put"), said.count("took"))
        until(lambda before=before: said.count("put") > before[0] + 50 and said.count("took") > before[1] + 2)  # type: ignore[misc]
        inode = path.stat().st_ino
        with path.open("rb+") as file:
            file.write(random.Random(turn).randbytes(path.stat().st_size))
        until(lambda inode=inode: path.stat().st_ino != inode)  # type: ignore[misc]
    taken = said.count("took")
    until(lambda: said.count("took") > taken + 2)
    assert [process.poll() for process in processes] == [None] * 3
    for process in processes:
        process.kill()
        process.wait()
    seen = Counter(said.delivered())
    assert not [line for line, times in seen.items() if times > 1]
    assert said.count("full") == 0
    check(path)
    assert len(list(tmp_path.glob("spool.db.corrupt-*[0-9]"))) == 2


def test_a_zeroed_log(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool, other = filled(path), Spool(path, BUDGET)
    assert other.batch("log", 1000, 1) is not None
    wal = path.with_name("spool.db-wal")
    with wal.open("rb+") as file:
        file.write(bytes(wal.stat().st_size))
    spool.put([result(1000)])
    other.put([result(1001)])
    lines = drained(other) + drained(spool)
    assert [line for line in lines if line.at >= 1000 and line.kind == "result"] == [result(1000), result(1001)]


def test_few_damaged_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, BUDGET)
    for n in range(5):
        spool.put([result(n)])
        path.write_bytes(b"nonsense" * 1000)
        spool.close()
    assert [line.kind for line in drained(spool)] == ["gap"]
    assert 1 <= len([file for file in tmp_path.glob("*.corrupt-*") if not file.name.endswith(("-wal", "-shm"))]) <= 2
