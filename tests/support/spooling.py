"""Processes that write to a spool and read from it, to be killed: each says on its output what it was told.

``python -m tests.support.spooling write PATH BUDGET NAME SIZE [LINES]`` or ``… read PATH BUDGET``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from collector.spool import Line, Spool, SpoolFullError

BUDGET = 64 * 2**20
ROOT = Path(__file__).parent.parent.parent


def said(*words: object) -> None:
    """One write, so that a kill leaves a whole line or none."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def write(spool: Spool, name: str, size: int, lines: int) -> None:
    """Put lines of rising numbers; each is said when it was answered for."""
    for n in range(lines):
        while True:
            try:
                spool.put([Line("result", name, n, b"%s %d " % (name.encode(), n) + b"x" * size)])
                break
            except SpoolFullError:
                said("full", name, n)
                time.sleep(0.01)
        said("put", name, n)


def read(spool: Spool) -> None:
    """Take batches for ever, as a server that counts a batch once by its id."""
    while True:
        batch = spool.batch("log", 50_000, 20)
        if batch is None:
            time.sleep(0.002)
            continue
        texts = ",".join(line.text.decode().rstrip("x").strip().replace(" ", ":") for line in batch.lines)
        said("took", batch.id, batch.spool, batch.after, batch.through, texts)
        spool.settle(batch)


def started(log: Path, *words: object) -> subprocess.Popen[bytes]:
    """A process of this module; what it says is added to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.spooling", *map(str, words)], cwd=ROOT, stdout=output
        )


if __name__ == "__main__":
    what, path, budget, *rest = sys.argv[1:]
    opened = Spool(Path(path), int(budget))
    said("ready")
    if what == "write":
        write(opened, rest[0], int(rest[1]), int(rest[2]) if rest[2:] else 10**9)
    else:
        read(opened)
