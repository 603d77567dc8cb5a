"""The processes that are measured: real ``muster serve``, and bare handlers beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.client import Load, send
from tests.bench.measure import Sample, cpu_seconds
from tests.support.server import ROOT, Server

OLDEST_DAYS = "36500"


class Target(NamedTuple):
    """A server under load: where it listens, and the process to watch."""

    port: int
    pid: int

    def load(
        self, requests: Sequence[bytes], answer: bytes, connections: int, *, units: int = 1, tls_each: bool = False
    ) -> Sample:
        """Send requests, each worth so many units. Raises ``LoadError`` if any answer is not ``answer``."""
        before = cpu_seconds(self.pid)
        sent = send(Load(port=self.port, requests=requests, answer=answer, connections=connections, tls_each=tls_each))
        after = cpu_seconds(self.pid)
        used = None if before is None or after is None else (after - before) * 1e6 / (len(requests) * units)
        return Sample(sent.rate * units, used)


@contextmanager
def muster_serving(url: str, *options: str) -> Iterator[Target]:
    """``muster serve`` on a database that was made before."""
    server = Server(url, "--max-age-days", OLDEST_DAYS, *options)
    try:
        yield Target(server.port, server.pid)
    finally:
        server.stop()


@contextmanager
def bare_serving(
    directory: Path, fixed: Mapping[str, bytes] | None = None, tls: Sequence[Path] = ()
) -> Iterator[Target]:
    """The bare handlers; ``/fixed/NAME`` answers with what ``fixed`` has under that name."""
    path = directory / "fixed"
    path.mkdir(exist_ok=True)
    for name, body in (fixed or {}).items():
        (path / name).write_bytes(body)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare", str(path), *map(str, tls)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Target(int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
