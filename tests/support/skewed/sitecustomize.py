"""Found on PYTHONPATH by every Python process below: its clock is as wrong as a file says."""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path(os.environ.get("TESTS_SKEW_FILE", "/nowhere"))
_true_time = time.time


def _skewed() -> float:
    try:
        return _true_time() + float(_FILE.read_text())
    except (OSError, ValueError):  # it is being written
        return _true_time()


if _FILE.exists():
    time.time = _skewed
