"""The bodies of an enrolment and of answers to distributed queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from server.simulate.models import PLATFORM_TYPES
from server.simulate.runner import DENYLISTED, Runner

_STATS = {"wall_time_ms": 1, "user_time": 1, "system_time": 0, "memory": 4096}
HOST_TABLES = ("os_version", "osquery_info", "system_info", "platform_info")


def enrollment(runner: Runner, secret: str, now: float) -> bytes:
    """An enrolment. A table without rows is left out, and so are empty columns."""
    details = {}
    for table in HOST_TABLES:
        for row in runner.ask(f"SELECT * FROM {table}", now).rows[:1]:
            details[table] = {column: value for column, value in row.items() if value != ""}
    return orjson.dumps(
        {
            "enroll_secret": secret,
            "host_identifier": runner.host,
            "platform_type": PLATFORM_TYPES[runner.device.platform],
            "host_details": details,
        }
    )


def answers(
    runner: Runner, node_key: str, queries: Mapping[str, str], discovery: Mapping[str, str], now: float
) -> bytes:
    """The answers to the queries that have no discovery, or one with rows, in the order of their ids."""
    written: dict[str, Any] = {"queries": {}, "statuses": {}, "messages": {}, "stats": {}, "node_key": node_key}
    for name, sql in sorted(queries.items()):
        if name in discovery and not runner.ask(discovery[name], now).rows:
            continue
        answer = runner.answer(name, sql, now)
        written["queries"][name] = [dict(row) for row in answer.rows]
        written["statuses"][name] = int(answer.failure is not None)
        written["messages"][name] = answer.failure or ""
        refused = answer.failure == DENYLISTED
        written["stats"][name] = {} if refused else dict(_STATS)
    return orjson.dumps(written)
