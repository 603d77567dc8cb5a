"""What was measured, kept in ``docs/benchmarks.json``, and ``docs/benchmarks.md`` made from it.

A run replaces the results of the benchmarks it ran, on the databases it ran them on; all others keep their date.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any

import orjson

from tests.bench.measure import Line
from tests.bench.places import cluster
from tests.bench.registry import BENCHES
from tests.bench.scale import Scale
from tests.support import postgres
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = PAGE.with_suffix(".json")
PACKAGES = ("aiohttp", "uvloop", "orjson", "asyncpg")
FIRST_COLUMNS = ("name", "database", "value", "unit", "limit", "ratio", "aim", "reached")

HEAD = """# Benchmarks

Made by `make bench` (and `make bench-load`) from `benchmarks.json` beside it; nothing here is written by hand.

How to read it. Each figure stands beside a limit that was measured in the same run, in turns with it: value, limit,
limit, value, and so on, after a warm-up; both are medians over the rounds, and the ratio is value to limit. Machines
differ, so the ratio is what can be compared, and what the aims of the design are about. `ratios` has the lowest and
highest ratio of neighbouring rounds: where they are far apart, the machine was busy with other work. `cpu_us` and
`limit_cpu_us` are the processor microseconds a unit cost (of the server's process alone, without the database's
own processes), and `cpu_ratio` is their ratio; other work on the machine disturbs it less.

The servers are `muster serve` processes, the databases real, everything on one machine over loopback. The load comes
from one process without an event loop, with requests made beforehand and not compressed, and the limits over HTTP get
the same load from it. SQLite commits with `synchronous=FULL`, Postgres with its default `fsync` and
`synchronous_commit`.
"""


def record(bench: str, scale: Scale, kind: str, lines: Sequence[Line], load: float) -> dict[str, Any]:
    """The result of one benchmark on one database; ``load`` is the machine's load average before it began."""
    return {
        "bench": bench,
        "full": scale.full,
        "database": kind,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "code": _code(),
        "machine": _machine(),
        "versions": _versions(kind),
        "load_before": round(load, 1),
        "lines": [line.as_dict() for line in lines],
    }


def merged(known: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Old results with the new ones in their places; results of what is no benchmark any more go."""
    order = [bench.name for bench in BENCHES]
    found = {_key(result): result for result in [*known, *new] if result["bench"] in order}
    return sorted(found.values(), key=lambda result: (order.index(result["bench"]), result["full"], result["database"]))


def write(new: Sequence[Mapping[str, Any]], page: Path = PAGE) -> None:
    """Add results to those kept, and make the page of them."""
    kept = page.with_suffix(".json")
    results = merged(orjson.loads(kept.read_bytes()) if kept.exists() else [], new)
    kept.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    page.write_text(text(results), encoding="utf-8")


def text(results: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    lines = [line for result in results for line in result["lines"] if line["aim"] is not None]
    parts = [HEAD, "## At a glance\n", _table(lines)]
    for bench in BENCHES:
        own = [result for result in results if result["bench"] == bench.name]
        if own:
            parts += [f"## {bench.name}\n", f"{fill(' '.join(bench.reading.split()), 120, break_on_hyphens=False)}\n"]
            parts += [_section(result) for result in own]
    return "\n".join(parts)


def _section(result: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    facts = "\n".join(
        f"- {line['name']}: " + ", ".join(f"`{name}` {_shown(value)}" for name, value in _facts(line).items())
        for line in result["lines"]
        if _facts(line)
    )
    code = f", code {result['code']}" if result["code"] else ""
    title = f"### {result['database']}{' (full scale)' if result['full'] else ''}, {result['date']}{code}\n"
    where = f"{machine}; load average before: {result['load_before']}. {versions}."
    return "\n".join([title, fill(where, 120), "", _table(result["lines"]), facts, ""])


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    head = ["what", "database", "value", "limit", "ratio", "aim", "reached"]
    rows = [head, ["---", "---", "---:", "---:", "---:", "---", "---"]]
    for line in lines:
        limit = "" if line["limit"] is None else f"{_shown(line['limit'])} {line['unit']}"
        ratio = "" if line["ratio"] is None else str(line["ratio"])
        reached = {True: "yes", False: "**no**", None: ""}[line["reached"]]
        rows.append(
            [
                line["name"],
                line["database"],
                f"{_shown(line['value'])} {line['unit']}",
                limit,
                ratio,
                line["aim"] or "",
                reached,
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _facts(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in FIRST_COLUMNS}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and abs(value) >= 1000:
        return f"{value:,.0f}"
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(count)}" for name, count in value.items()) or "none"
    return str(value)


def _key(result: Mapping[str, Any]) -> tuple[str, bool, str]:
    return result["bench"], result["full"], result["database"]


def _code() -> str | None:
    """The commit the code is at, with a plus for changes; None outside a checkout."""
    try:
        head, changed = (
            subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "server"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _machine() -> dict[str, Any]:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": found[1].strip() if found else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _versions(kind: str) -> dict[str, str]:
    versions = {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    if kind == "postgres":
        return versions | {"Postgres": str(asyncio.run(postgres.run("SHOW server_version", cluster()))[0][0])}
    return versions | {"SQLite": sqlite3.sqlite_version}


def load_average() -> float:
    """How busy the machine is without us."""
    return os.getloadavg()[0]
