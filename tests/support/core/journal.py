"""What the stand-in did, one JSON object a line, written so that it outlives a SIGKILL of the stand-in."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

LONGEST = 9000
"""Longer texts are cut: their length and first characters stay."""


class Journal:
    """Appends entries; each is in the file when ``write`` returns."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab", buffering=0) if path else None
        self._lock = threading.Lock()

    def write(self, event: str, **values: Any) -> None:
        if self._file is None:
            return
        entry = {"at": time.time(), "event": event, **{name: _cut(value) for name, value in values.items()}}
        line = (json.dumps(entry) + "\n").encode()
        with self._lock:
            self._file.write(line)


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner) for inner in value[:100]]
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:200]}...<CUT {len(value)} chars>..."
    return value
