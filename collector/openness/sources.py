"""Where the answers come from: the spool and its notes, the policy, osqueryd, and the uplink if it runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from collector.policy import Policy
from collector.settings import Settings
from collector.spool import SpoolStats

log = logging.getLogger(__name__)

OSQUERY_SECONDS = 5.0


class Rows(Protocol):
    """An answer of osqueryd."""

    @property
    def code(self) -> int:
        """0 is good."""
        ...

    @property
    def message(self) -> str:
        """What osqueryd says where it is not."""
        ...

    @property
    def rows(self) -> Sequence[Mapping[str, str]]:
        """Its rows."""
        ...


class Connection(Protocol):
    """A connection to osqueryd."""

    def query(self, sql: str) -> Rows:
        """Run one statement."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Kept(Protocol):
    """The spool, as far as it is read here."""

    def get(self, key: str) -> bytes | None:
        """A note."""
        ...

    def keep(self, key: str, value: bytes) -> None:
        """Keep a note."""
        ...

    def stats(self) -> SpoolStats:
        """What waits."""
        ...


class Standing(Protocol):
    """How the uplink fares; times are unix times."""

    started_at: float
    enrolled: bool
    enrolment_problem: str
    delivery_problem: str
    delivered_at: dict[str, float]
    heard_at: float | None
    channel: str


@dataclass(frozen=True, slots=True)
class Sources:
    """All of it; ``standing`` is None where the uplink does not run, or is not this process."""

    settings: Settings
    spool: Kept
    policy: Policy
    osquery: Callable[[float], Connection]
    standing: Standing | None = None
    sent: Callable[[], Mapping[str, Sequence[int]]] | None = None
    """What the uplink knows of when it sent each query's answer; a minute later it is in the spool's note."""
    clock: Callable[[], float] = time.time

    def note(self, key: str) -> Any:
        """A note of the spool, read; None if there is none or it is unreadable."""
        try:
            return json.loads(self.spool.get(key) or b"null")
        except ValueError:
            log.warning("the spool's note %s cannot be read", key)
            return None

    def listed(self, note: str, key: str) -> list[dict[str, Any]]:
        """The objects of a list in a note."""
        found = self.note(note)
        value = found.get(key) if isinstance(found, dict) else None
        return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

    def moment(self, key: str) -> float | None:
        """A unix time that a note holds."""
        value = self.note(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def heard_at(sources: Sources) -> float | None:
    """When the server last answered, as far as is known after a restart."""
    standing = sources.standing
    times = [sources.moment("sent_log"), sources.moment("sent_live")]
    if standing is not None:
        times += [standing.heard_at, *standing.delivered_at.values()]
    return max((one for one in times if one is not None), default=None)
