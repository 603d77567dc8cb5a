"""What a demo remembers from one run to the next: which fleet it is, and up to when its history was delivered."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from server.simulate.presence import Span

FILE = "demo.json"


@dataclass(slots=True, kw_only=True)
class Memory:
    """A demo's fleet. ``first_day`` counts days since 1970; ``delivered_until`` is in unix seconds."""

    devices: int
    days: int
    seed: int
    first_day: int
    secret: str
    delivered_until: float = 0.0
    node_keys: dict[str, str] = field(default_factory=dict)

    @property
    def span(self) -> Span:
        """The days over which the devices' parts are played; they stay when the demo is started again later."""
        return Span(self.first_day, self.days)


def recall(directory: Path) -> Memory | None:
    """The memory kept in a folder; None where there is none."""
    path = directory / FILE
    return Memory(**orjson.loads(path.read_bytes())) if path.is_file() else None


def keep(directory: Path, memory: Memory) -> None:
    """Write the memory, readable by its owner only: node keys and the enrol secret are in it."""
    path = directory / FILE
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(asdict(memory), option=orjson.OPT_INDENT_2))
    new.replace(path)
