"""Recorded traffic of a real osqueryd, and what a reader with no knowledge of the store makes of it.

``tests/data/transcripts`` holds the requests of osqueryd 5.23 one by one. Bodies that the recorder had to cut are left
out here; those that are not UTF-8 are kept as base64.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parent.parent / "data" / "transcripts"
ENDPOINTS = {
    "/enroll": "enroll",
    "/config": "config",
    "/log": "log",
    "/log-moved": "log",
    "/distributed/read": "distributed/read",
    "/distributed/write": "distributed/write",
    "/carve/start": "carve/begin",
    "/carve/continue": "carve/block",
}
RECORDED_SECRET = b"made-up-enroll-secret"


@dataclass(frozen=True)
class Recorded:
    """One request: the endpoint, the body before compression, whether it was compressed, and its headers."""

    endpoint: str
    body: bytes
    gzip: bool
    headers: dict[str, str]
    unix: int


def names() -> list[str]:
    """Every recorded session."""
    return sorted(path.stem for path in TRANSCRIPTS.glob("*.jsonl"))


@lru_cache
def requests(name: str) -> tuple[Recorded, ...]:
    """The whole requests of a session, in order."""
    return tuple(_requests(name))


def _requests(name: str) -> Iterator[Recorded]:
    for line in (TRANSCRIPTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        request = entry.get("request")
        if request is None:
            continue
        endpoint = ENDPOINTS.get(request.get("path", "").split("?")[0])
        text = request.get("body") or ""
        if endpoint is None or "<CUT " in text:
            continue
        raw = base64.b64decode(request["body_base64"]) if request.get("body_base64") else text.encode()
        yield Recorded(endpoint, raw, bool(request.get("gzip")), dict(request["headers"]), int(entry.get("unix", 0)))


def log_lines(name: str) -> list[dict[str, Any]]:
    """Every result line of a session's /log bodies. Lines that came again in a later body are given once; equal lines
    within one body are as many lines.
    """
    most: Counter[str] = Counter()
    for request in requests(name):
        if request.endpoint != "log":
            continue
        try:
            body = json.loads(request.body)
        except ValueError:
            body = json.loads(request.body.decode("utf-8", "replace"), strict=False)
        if body.get("log_type") != "result":
            continue
        most |= Counter(json.dumps(line, sort_keys=True) for line in body["data"])
    return [json.loads(line) for line in most.elements()]


def final_snapshot(name: str, query: str) -> list[dict[str, str]]:
    """The rows of the newest snapshot of a query."""
    lines = [line for line in log_lines(name) if line["name"] == query and "snapshot" in line]
    rows: list[dict[str, str]] = max(lines, key=lambda line: int(line["unixTime"]))["snapshot"]
    return rows
