"""A device as the owner's commands see it, without processes: its spool, its policy, and a made-up osqueryd."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from collector.openness.sources import Sources
from collector.policy import Policy
from collector.policy.tables import GivenTables
from collector.settings import Settings
from collector.spool import Spool
from tests.support.osquery_tables import osquery_tables

NOW = 1_764_000_000.0


@dataclass
class Standing:
    started_at: float = NOW - 7200
    enrolled: bool = True
    enrolment_problem: str = ""
    delivery_problem: str = ""
    delivered_at: dict[str, float] = field(default_factory=dict)
    heard_at: float | None = NOW - 30
    channel: str = "connected"


@dataclass
class Answer:
    rows: list[dict[str, str]]
    code: int = 0
    message: str = ""


class Osqueryd:
    """Answers what is asked of its flags, version and schedule."""

    def __init__(self, flags: dict[str, str] | None = None, schedule: list[dict[str, str]] | None = None) -> None:
        self.flags, self.schedule, self.asked = flags or {}, schedule or [], 0

    def __call__(self, seconds: float) -> Osqueryd:
        return self

    def query(self, sql: str) -> Answer:
        self.asked += 1
        if "osquery_flags" in sql:
            return Answer([{"name": name, "value": value} for name, value in self.flags.items()])
        return Answer(self.schedule if "osquery_schedule" in sql else [{"version": "5.23.0"}])

    def close(self) -> None: ...


@contextmanager
def device() -> Iterator[Sources]:
    """A device that is well."""
    folder = Path(tempfile.mkdtemp(prefix="own-", dir="/tmp"))  # a socket's path has 107 bytes
    settings = Settings(
        server="https://muster.example.org",
        state_dir=folder,
        control_socket=folder / "control.sock",
        policy_file=folder / "policy.toml",
    )
    (folder / "node_key").write_text("key")
    try:
        with closing(Spool(folder / "spool.db", 1 << 26)) as spool:
            policy = Policy.load(settings.policy_file, GivenTables(osquery_tables()), owner=os.getuid())
            yield Sources(settings, spool, policy, Osqueryd(), Standing(), clock=lambda: NOW)
    finally:
        shutil.rmtree(folder)
