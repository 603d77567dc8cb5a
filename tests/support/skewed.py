"""Run a module by a clock that is as wrong as a file says: ``python -m tests.support.skewed FILE MODULE ARGUMENT…``."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

_true_time = time.time


def _skewed(file: Path) -> float:
    try:
        return _true_time() + float(file.read_text())
    except (OSError, ValueError):  # it is being written
        return _true_time()


if __name__ == "__main__":
    file, module = Path(sys.argv[1]), sys.argv[2]
    time.time = lambda: _skewed(file)
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
