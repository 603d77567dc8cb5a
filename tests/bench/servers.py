"""The processes that are measured: real ``muster serve``, and bare handlers beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.server import ROOT, Server

OLDEST_DAYS = "36500"


@contextmanager
def muster_serving(url: str, *options: str) -> Iterator[Server]:
    """``muster serve`` on a database that was made before."""
    server = Server(url, "--max-age-days", OLDEST_DAYS, *options)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def bare_serving(directory: Path, fixed: bytes = b"{}", tls: Sequence[Path] = ()) -> Iterator[int]:
    """The bare handlers; gives their port."""
    path = directory / "fixed"
    path.write_bytes(fixed)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare", str(path), *map(str, tls)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
