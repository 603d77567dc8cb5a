"""The spool against a list in memory: whatever is put, delivered, refused, crashed and forgotten, in whatever order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.spool import LANES, Batch, Gap, Line, Spool

BUDGET = 2**20
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a commit costs nothing: it is not the disk that is tried here."""
KINDS = ("result", "snapshot", "status", "answer")
ORDER = {"status": 1, "result": 2, "snapshot": 2, "answer": 3}
"""What gives way first; an older snapshot of a query is 0."""


@dataclass
class Model:
    """What was put, by its number, and what became of it."""

    put: list[Line] = field(default_factory=list)
    delivered: set[int] = field(default_factory=set)
    refused: int = 0
    lost: int = 0
    told: int = 0
    batches: dict[str, Batch | None] = field(default_factory=lambda: dict.fromkeys(LANES))


def number(line: Line) -> int:
    return int(line.text.partition(b" ")[0])


class Queue(RuleBasedStateMachine):
    """Two processes' spools on one file, either of which may be the next to do something."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spool-", dir=MEMORY))
        self.spools = [Spool(self.folder / "spool.db", BUDGET) for _ in range(2)]
        self.model = Model()

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        for spool in self.spools:
            spool.close()
        shutil.rmtree(self.folder)

    @rule(
        who=st.integers(0, 1),
        lines=st.one_of(
            st.lists(
                st.tuples(st.sampled_from(KINDS), st.sampled_from(["a", "b"]), st.sampled_from([10, 1500, 10_000])),
                min_size=1,
                max_size=6,
            ),
            st.tuples(st.tuples(st.sampled_from(KINDS), st.sampled_from(["a", "b"]), st.just(60_000))),
        ),
        times=st.integers(1, 12),
    )
    def put(self, who: int, lines: Sequence[tuple[str, str, int]], times: int) -> None:
        for _ in range(times):
            first = len(self.model.put)
            made = [
                Line(kind, name if kind in ("result", "snapshot") else "", 0, b"%d " % (first + n) + b"x" * size)
                for n, (kind, name, size) in enumerate(lines)
            ]
            before = self.waiting()
            self.model.put += made
            self.spools[who].put(made)
            self.who_gave_way(before)

    def waiting(self) -> dict[int, int]:
        """The lines that wait and are not under way, by how soon each must give way."""
        held = {
            number(line) for batch in self.model.batches.values() if batch for line in batch.lines if line.kind != "gap"
        }
        rows = self.spools[0]._file.read(
            lambda connection: connection.execute("SELECT text FROM lines WHERE kind <> 'gap' ORDER BY seq").fetchall()
        )
        numbers = [int(text.partition(b" ")[0]) for (text,) in rows]
        return {n: self.place(n) for n in numbers if n not in held}

    def place(self, n: int) -> int:
        line = self.model.put[n]
        later = self.model.put[n + 1 :]
        if line.kind == "snapshot" and any((one.kind, one.name) == ("snapshot", line.name) for one in later):
            return 0
        return ORDER[line.kind]

    def who_gave_way(self, before: dict[int, int]) -> None:
        after = self.waiting()
        gone = [self.place(n) for n in before if n not in after]
        if gone:
            assert all(before[n] >= max(gone) for n in before if n in after)
        for one in set(before.values()):
            left = [n for n in before if before[n] == self.place(n) == one and n in after]
            went = [n for n in before if before[n] == self.place(n) == one and n not in after]
            assert not left or not went or max(went) < min(left), "the oldest first"

    @rule(who=st.integers(0, 1), lines=st.integers(1, 50))
    def lose(self, who: int, lines: int) -> None:
        self.model.lost += lines
        self.spools[who].lost([Gap("a", lines, lines, 0, 0, "unwritable")])

    @rule(who=st.integers(0, 1), lane=st.sampled_from(LANES), size=st.integers(1, 60_000), lines=st.integers(1, 30))
    def batch(self, who: int, lane: str, size: int, lines: int) -> None:
        held = self.model.batches[lane]
        batch = self.spools[who].batch(lane, size, lines)
        if held is not None:
            assert batch == held
            return
        if batch is None:
            assert self.spools[who].stats().lanes[lane].lines == 0
            return
        assert 1 <= len(batch.lines) <= lines
        assert len(batch.lines) == 1 or sum(len(line.text) for line in batch.lines) <= size
        assert all(line.lane == lane for line in batch.lines)
        numbers = [number(line) for line in batch.lines if line.kind != "gap"]
        assert numbers == sorted(set(numbers))
        # In order: nothing older waits behind what was delivered, and nothing comes twice.
        before = [n for n in self.model.delivered if self.model.put[n].lane == lane]
        assert not numbers or not before or numbers[0] > max(before)
        assert all(self.model.put[number(line)] == line for line in batch.lines if line.kind != "gap")
        self.model.batches[lane] = batch

    @rule(who=st.integers(0, 1), lane=st.sampled_from(LANES))
    def settle(self, who: int, lane: str) -> None:
        batch = self.model.batches[lane]
        if batch is None:
            return
        self.spools[who].settle(batch)
        self.spools[1 - who].settle(batch)
        for line in batch.lines:
            if line.kind == "gap":
                self.model.told += json.loads(line.text)["lines"]
            else:
                self.model.delivered.add(number(line))
        self.model.batches[lane] = None

    @rule(who=st.integers(0, 1), lane=st.sampled_from(LANES))
    def split(self, who: int, lane: str) -> None:
        batch = self.model.batches[lane]
        if batch is None:
            return
        self.spools[who].split(batch, "nonsense")
        self.model.batches[lane] = None
        if len(batch.lines) == 1 and batch.lines[0].kind == "gap":
            self.model.told += json.loads(batch.lines[0].text)["lines"]

    @rule(who=st.integers(0, 1), lane=st.sampled_from([*LANES, None]))
    def diverge(self, who: int, lane: str | None) -> None:
        batch = None if lane is None else self.model.batches[lane]
        self.spools[who].diverge(batch)
        for one in LANES if batch is None else (batch.lane,):
            self.model.batches[one] = None

    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        """As much of one as there is within a process: nothing is finished, the files are as they are."""
        copy = Path(tempfile.mkdtemp(prefix="spool-", dir=MEMORY))
        for file in self.folder.glob("spool.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, copy)
        for spool in self.spools:
            spool.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.spools = [Spool(self.folder / "spool.db", BUDGET) for _ in range(2)]

    @rule(who=st.integers(0, 1), value=st.binary(max_size=3000))
    def note(self, who: int, value: bytes) -> None:
        self.spools[who].keep("note", value)
        assert self.spools[1 - who].get("note") == value

    @invariant()
    def the_budget_is_kept(self) -> None:
        if hasattr(self, "folder"):
            assert sum(file.stat().st_size for file in self.folder.iterdir()) <= BUDGET

    @rule()
    def all_is_accounted_for(self) -> None:
        """What was put is delivered, waits, or is counted as lost; what is lost was the first to give way."""
        one = self.spools[0]
        waits = one._file.read(
            lambda connection: connection.execute("SELECT kind, name, text FROM lines ORDER BY seq").fetchall()
        )
        untold = one._file.read(lambda connection: connection.execute("SELECT SUM(lines) FROM gaps").fetchone()[0]) or 0
        waiting = {int(text.partition(b" ")[0]) for kind, _, text in waits if kind != "gap"}
        in_gaps = sum(json.loads(text)["lines"] for kind, _, text in waits if kind == "gap")
        model = self.model
        assert not waiting & model.delivered
        assert len(model.put) + model.lost == len(waiting) + len(model.delivered) + model.told + untold + in_gaps
        stats = one.stats()
        assert stats.lines == len(waits)
        assert stats.bytes == sum(len(text) for _, _, text in waits)


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
