"""What the collector costs osqueryd, which waits for it: a line logged to the extension, and one put into the spool."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from collector.spool import Line as Spooled
from collector.spool import Spool
from tests.bench.measure import Line, Paired, Sample, paired
from tests.bench.places import SCRATCH
from tests.bench.scale import Scale
from tests.support.collector import settings
from tests.support.core import wire
from tests.support.core.running import COLLECTOR, ROOT, core

LINE_BYTES = 1000
BUDGET = 256 * 2**20


def log_calls(kind: str, scale: Scale) -> Iterator[Line]:
    """Lines logged one after the other, to the extension and to nothing."""
    count = scale.of(500)
    with _scratch() as directory, _bare_logger() as bare, core(
        autoload=COLLECTOR, begin=False, logger_plugin="muster", extensions_require="muster"
    ) as osqueryd:  # fmt: skip
        nowhere = "http://127.0.0.1:9"  # no uplink runs
        osqueryd.environment = settings(directory, nowhere, "none", osqueryd.socket, log_level="info")
        osqueryd.start()
        osqueryd.await_ready()
        (attached,) = osqueryd.query("SELECT path FROM osquery_extensions WHERE name = 'muster'")
        taken = paired(scale.rounds, lambda _: _logged(attached["path"], count), lambda _: _logged(bare, count))
    yield _line(kind, "lines logged to the extension, one after the other", "calls/s", taken, count)


def spooled_lines(kind: str, scale: Scale) -> Iterator[Line]:
    """Lines put into the spool one at a time."""
    count = scale.of(500)
    with _scratch() as directory:
        spool = Spool(directory / "spool.db", BUDGET)
        with (directory / "appended").open("ab", buffering=0) as file:

            def put(text: bytes) -> None:
                spool.put([Spooled("result", "processes", int(time.time()), text)])

            def append(text: bytes) -> None:
                file.write(text)
                os.fdatasync(file.fileno())

            taken = paired(scale.rounds, lambda _: _rate(put, count), lambda _: _rate(append, count))
        spool.close()
    yield _line(kind, "lines put into the spool, each on the disk", "lines/s", taken, count)


def _line(kind: str, name: str, unit: str, taken: Paired, count: int) -> Line:
    return Line(
        name=name,
        database=kind,
        value=taken.value,
        unit=unit,
        limit=taken.limit,
        ratio=taken.ratio,
        facts={
            "lines": count,
            "line_bytes": len(_text()),
            "ms_each": round(1000 / taken.value, 3),
            "limit_ms_each": round(1000 / taken.limit, 3),
            **taken.facts(),
        },
    )


def _logged(path: str, count: int) -> Sample:
    def log(text: bytes) -> None:
        answer = wire.call(path, 10, "logger", "muster", {"string": text.decode(), "category": "event"})
        assert answer.answered and answer.code == 0, answer

    return _rate(log, count)


def _rate(take: Callable[[bytes], None], count: int) -> Sample:
    text = _text()
    began = time.perf_counter()
    for _ in range(count):
        take(text)
    return Sample(count / (time.perf_counter() - began))


def _text() -> bytes:
    """A result line as osquery writes it."""
    columns = {"pid": "4711", "name": "made-up", "cmdline": "x" * (LINE_BYTES - 231)}
    line = {"name": "processes", "hostIdentifier": "bench", "calendarTime": "Mon Jan  1 00:00:00 2024 UTC"}
    counted = {"unixTime": int(time.time()), "epoch": 0, "counter": 7, "numerics": False, "decorations": {}}
    return orjson.dumps({**line, **counted, "columns": columns, "action": "added"})


@contextmanager
def _bare_logger() -> Iterator[str]:
    """A process that listens as an extension does, and does nothing with what it is told; the path of its socket."""
    with TemporaryDirectory(prefix="bare-", dir="/tmp") as name:  # a socket's path has 107 bytes
        path = f"{name}/s"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bare_logger", path], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "listens\n"
            yield path
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder on the disk that the checkout is on."""
    SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        yield Path(name)
