"""Requests as osqueryd sends them, made before the clock starts, but for gzip: bodies are not compressed."""

from __future__ import annotations

from typing import Any

import orjson

PREFIX = "/api/osquery/"


def request(path: str, body: bytes, *, close: bool = False) -> bytes:
    """A whole POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: osquery/5.23.0\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{'Connection: close' if close else ''}"
    )
    return f"{head.rstrip()}\r\n\r\n".encode() + body


def key_body(node_key: str) -> bytes:
    """The body of a request for a config or for live queries."""
    return orjson.dumps({"node_key": node_key})


def log_body(node_key: str, name: str, unix_time: int, rows: list[dict[str, str]]) -> bytes:
    """A /log body with one snapshot."""
    line: dict[str, Any] = {
        "snapshot": rows,
        "action": "snapshot",
        "name": name,
        "hostIdentifier": "bench",
        "calendarTime": "Mon Jan  1 00:00:00 2024 UTC",
        "unixTime": unix_time,
        "epoch": 0,
        "counter": 0,
        "numerics": False,
        "decorations": {"host_uuid": "ec2a1c51-31b5-4a38-9bb5-1b55e3a4f6c1", "hostname": "bench"},
    }
    return orjson.dumps({"node_key": node_key, "log_type": "result", "data": [line]})


def accounts(device: int, count: int) -> list[dict[str, str]]:
    """Rows of the shipped query ``users``."""
    return [
        {
            "uid": str(1000 + number),
            "gid": str(1000 + number % 7),
            "username": f"account-{device}-{number}",
            "description": f"Account number {number} of device {device}",
            "directory": f"/home/account-{device}-{number}",
            "shell": "/bin/bash" if number % 3 else "/usr/sbin/nologin",
        }
        for number in range(count)
    ]
