"""One fault at a time between osqueryd and the server: what was accepted arrives once, or is counted as lost."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.collector import Device, all_delivered, device, extension_pids, wait_until
from tests.support.core.lines import About
from tests.support.core.running import ROOT
from tests.support.counting import HANG_UP, CountingServer, Mood, counting_server, says
from tests.support.disks import small_disk
from tests.support.troubled import Relay, relay

QUERY = "numbered"
LONG = {"extensions_interval": "1", "ping_lag": "0.1"}


@contextmanager
def lines_to(directory: Path, **more: str) -> Iterator[tuple[Device, Relay, CountingServer]]:
    """A device, and a server that counts, with a relay between them."""
    with (
        counting_server() as server,
        relay(server.port) as between,
        device(directory, f"http://127.0.0.1:{between.port}", "made-up", flags=LONG, told=more) as made,
    ):
        yield made, between, server


def log(made: Device, numbers: Iterable[int], filler: str = "") -> None:
    """Log numbered lines, each a run of its own; osqueryd must never hear anything but yes."""
    for number in numbers:
        about = About(QUERY, "stand-in", int(time.time()), 0, {})
        line = {**about.fields(number), "columns": {"n": str(number), "filler": filler}, "action": "added"}
        assert made.core.log(QUERY, {"string": json.dumps(line)}) == [[0, "OK"]], made.said()


def arrived(server: CountingServer) -> Counter[int]:
    counts: Counter[int] = Counter()
    for line, count in server.lines.items():
        counts[int(json.loads(line)["columns"]["n"])] += count
    return counts


def once(numbers: Iterable[int]) -> dict[int, int]:
    return dict.fromkeys(numbers, 1)


def it_has(server: CountingServer, numbers: Iterable[int], made: Device) -> None:
    """Wait until these have arrived."""
    expected = set(numbers)
    wait_until(lambda: expected <= set(arrived(server)), made.said)


def begin_anew(made: Device) -> None:
    """The uplink begins again: nothing waits long for a server that was away."""
    made.kill_uplink()
    made.start_uplink()


def test_a_server_in_every_mood(tmp_path: Path) -> None:
    groups = [
        [says(503, error="busy", retry_after=0.5), Mood(500, b"<html>"), Mood(HANG_UP, stored=True)],
        [says(429, error="too many", retry_after=0.5), Mood(200, b"not json"), Mood(200, b"", stored=True)],
        [says(409, diverged=True), says(413, error="too large"), Mood(HANG_UP)],
        [Mood(500, b"{}", stored=True), says(401, node_invalid=True), says(200, taken=-1)],
    ]
    with lines_to(tmp_path) as (made, _, server):
        for number, moods in enumerate(groups):  # after each of them all goes well, so that no wait becomes long
            server.moods.extend(moods)
            log(made, range(40 * number, 40 * number + 40))
            wait_until(lambda: not server.moods, made.said)
            all_delivered(made)
        assert server.met == [mood.status for moods in groups for mood in moods]
        assert arrived(server) == once(range(160))
        assert server.gaps == [] and server.enrolled == 2


def test_a_line_that_the_server_never_takes_is_counted_and_holds_up_nothing(tmp_path: Path) -> None:
    with lines_to(tmp_path) as (made, between, server):
        server.poison = '"n": "13"'
        between.down = True
        log(made, range(30))
        between.down = False
        begin_anew(made)
        wait_until(lambda: server.gaps, made.said)
        all_delivered(made)
        assert arrived(server) == once(set(range(30)) - {13})
        ((gap),) = server.gaps
        assert (gap["name"], gap["lines"]) == (QUERY, 1) and gap["reason"].startswith("refused")


def test_a_full_disk(tmp_path: Path) -> None:
    directory = tmp_path / "small"
    directory.mkdir()
    with small_disk(directory, 32) as disk:
        if disk is None:
            pytest.skip("mounting is not allowed here")
        with lines_to(directory, spool_bytes=str(8 * 2**20)) as (made, between, server):
            log(made, range(10))
            all_delivered(made)
            between.down = True
            log(made, range(10, 20))
            disk.fill(0)
            log(made, range(20, 60), filler="x" * 5000)
            between.down = False
            begin_anew(made)
            log(made, range(60, 70))
            it_has(server, range(20), made)  # what is spooled leaves a full disk
            disk.empty(0)
            log(made, range(70, 80))
            it_has(server, range(80), made)
            all_delivered(made)
            assert arrived(server) == once(range(80)) and server.gaps == []


def test_what_a_full_disk_and_the_memory_cannot_hold_is_counted(tmp_path: Path) -> None:
    directory = tmp_path / "small"
    directory.mkdir()
    with small_disk(directory, 32) as disk:
        if disk is None:
            pytest.skip("mounting is not allowed here")
        with lines_to(directory, spool_bytes=str(8 * 2**20)) as (made, between, server):
            between.down = True
            disk.fill(0)
            log(made, range(100), filler="x" * 100_000)
            disk.empty(0)
            between.down = False
            begin_anew(made)
            log(made, [100])
            everything_is_there_or_counted(made, server, 101)
            assert {gap["reason"] for gap in server.gaps} == {"unwritable"}


def everything_is_there_or_counted(made: Device, server: CountingServer, lines: int) -> None:
    """What arrived and what the gaps count are together what was logged; neither is counted twice."""
    wait_until(lambda: len(arrived(server)) + lost(server) >= lines, made.said)
    all_delivered(made)
    assert set(arrived(server).values()) == {1}
    assert lost(server) > 0 and len(arrived(server)) + lost(server) == lines


def lost(server: CountingServer) -> int:
    """Of what was logged: status lines are counted apart."""
    return sum(int(gap["lines"]) for gap in server.gaps if gap["name"] == QUERY)


def test_a_spool_that_runs_over_counts_what_it_drops(tmp_path: Path) -> None:
    with lines_to(tmp_path, spool_bytes=str(2 * 2**20)) as (made, between, server):
        between.down = True
        log(made, range(200), filler="x" * 20_000)
        made.kill_extension()
        wait_until(lambda: len(extension_pids(made.core)) > 0)
        between.down = False
        begin_anew(made)
        everything_is_there_or_counted(made, server, 200)
        assert {gap["reason"] for gap in server.gaps} == {"full"}
        assert 199 in arrived(server) and 0 not in arrived(server), "the oldest goes first"


@pytest.mark.parametrize("while_it_runs", [False, True], ids=["at rest", "in use"])
def test_a_corrupt_spool_is_set_aside(while_it_runs: bool, tmp_path: Path) -> None:
    with lines_to(tmp_path) as (made, between, server):
        log(made, range(5))
        all_delivered(made)
        between.down = True
        log(made, range(5, 50), filler="x" * 3000)
        if not while_it_runs:
            made.kill_uplink()
            made.core.kill()
            for pid in extension_pids(made.core):
                os.kill(pid, 9)
            wait_until(lambda: extension_pids(made.core) == [])
        damage(tmp_path / "state" / "spool.db")
        if not while_it_runs:
            made.core.start()
            made.core.await_ready()
            made.start_uplink()
        log(made, range(50, 100))
        between.down = False
        begin_anew(made)
        if while_it_runs:
            # What went into the damaged file before anybody noticed is lost with it.
            wait_until(lambda: server.gaps, made.said)
            log(made, range(100, 150))
        it_has(server, range(100, 150) if while_it_runs else range(50, 100), made)
        all_delivered(made)
        assert set(arrived(server)) <= set(range(150)) and set(arrived(server).values()) == {1}
        wait_until(lambda: "corrupt" in {gap["reason"] for gap in server.gaps}, made.said)
        assert list((tmp_path / "state").glob("spool.db.corrupt-*"))


def damage(path: Path) -> None:
    """Overwrite most of a file and of its log, as a bad disk might."""
    chance = random.Random(1)
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists():
            with file.open("r+b") as opened:
                size = file.stat().st_size
                for start in range(100, size, 1500):
                    opened.seek(start)
                    opened.write(chance.randbytes(700)[: size - start])


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    skew = tmp_path / "skew"
    skew.write_text("0")
    environment = {"PYTHONPATH": str(ROOT / "tests" / "support" / "skewed"), "TESTS_SKEW_FILE": str(skew)}
    with (
        counting_server() as server,
        device(tmp_path, f"http://127.0.0.1:{server.port}", "made-up", flags=LONG, environment=environment) as made,
    ):
        number = 0
        for skewed in (0, -20 * 86400, 400 * 86400, -1_700_000_000, 5):
            skew.write_text(str(skewed))
            log(made, range(number, number + 5))
            number += 5
            it_has(server, range(number), made)
        all_delivered(made)
        assert arrived(server) == once(range(number)) and server.gaps == []
        assert "Traceback" not in made.said()
