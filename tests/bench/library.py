"""What devices answer to the shipped library, taken from the simulated fleet, and packs with more controls."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from server.app import shipped_packs
from server.catalog.catalog import Catalog
from server.catalog.config import config_body
from server.normalize.names import scheduled_name
from server.simulate.answers import AnswerBook
from server.simulate.device import make_device
from server.simulate.fleet import span_of
from server.simulate.runner import Runner
from server.wire.log import parse_log
from server.wire.messages import LogBody
from tests.support.stores import shipped_catalog

NOON = 1_795_348_800
"""The instant the answers are taken at; which one it is plays no part."""
CONTROLS_FILE, POSTURE = "control.yaml", "posture.yaml"
CHANGING = "no-cleartext-remote-access"
"""The control whose verdict a listener on a port of old changes."""

Answers = Mapping[str, Sequence[Mapping[str, str]]]


@cache
def answers_of(platform: str) -> Answers:
    """The rows of every scheduled query on a device of a platform with nothing odd about it."""
    catalog = shipped_catalog()
    index = next(n for n in range(10_000) if _plain(n, platform))
    runner = Runner(make_device(1, index), span_of(0, NOON), AnswerBook(catalog.schema))
    runner.configure(config_body(catalog, platform), NOON)
    assert runner.config is not None
    return {query.query: runner.ask(query.sql, NOON).rows for query in runner.config.queries}


def _plain(index: int, platform: str) -> bool:
    device = make_device(1, index)
    return device.part.startswith("plain") and device.platform == platform


@dataclass(frozen=True, slots=True)
class Speaker:
    """Makes the lines of one device's answers."""

    catalog: Catalog
    platform: str

    def line(self, query: str, at: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One snapshot as osqueryd writes it."""
        return {
            "snapshot": rows,
            "action": "snapshot",
            "name": scheduled_name(query, self.catalog.queries[query, self.platform].version),
            "hostIdentifier": "bench",
            "calendarTime": "Mon Jan  1 00:00:00 2024 UTC",
            "unixTime": at,
            "epoch": 0,
            "counter": 0,
            "numerics": False,
        }


def read(lines: Sequence[Mapping[str, Any]]) -> LogBody:
    """Lines as the server reads them."""
    return parse_log(orjson.dumps({"node_key": "bench", "log_type": "result", "data": lines}))


def some_controls(directory: Path, count: int) -> Path:
    """The shipped packs with one pack of so many of their controls, spread over all there are; their folder."""
    packs = directory / "packs"
    shutil.copytree(shipped_packs(), packs)
    shipped = sorted(path.parent.name for path in packs.glob(f"controls/*/*/{CONTROLS_FILE}"))
    names = {shipped[number * len(shipped) // count] for number in range(count - 1)} | {CHANGING}
    names |= set([name for name in shipped if name not in names][: count - len(names)])
    for pack in packs.glob("*.yaml"):
        if "controls:" in pack.read_text(encoding="utf-8"):
            pack.unlink()
    listed = "".join(f"  - {name}\n" for name in sorted(names))
    (packs / POSTURE).write_text(f"title: Some controls\ninterval: 3600\ncontrols:\n{listed}", encoding="utf-8")
    return packs
